"""Run the Target at other batch sizes than the check did, and the same call twice: its answers must stay the same.

A converter can bake a batch into a graph (a Reshape, a Squeeze without axes) so that the file is right at one batch and
wrong at another. A few inputs are therefore run in batches of 16, of 3 and of 1 where the Target declares a free
batch, and 3 of them once more; then in batches of other sizes that files are deployed at, as far as that takes few
seconds. Where the Target declares one batch size, two calls are made with that.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..comparison.compare import compare
from ..comparison.output_rules import OutputRule
from ..errors import WorkerFailed
from ..models.input_mapping import InputMapping, apply_mapping, match_outputs
from ..models.loaded_model import LoadedModel, shorten
from ..workers.runtime_functions import RUN_AT
from .evaluation_set import EvaluationSet
from .further_check import CheckResult
from .source_outputs import batches

Array = np.ndarray[Any, Any]
BATCH_SIZES = (16, 3, 1)
FURTHER_SIZES = (2, 4, 8, 32, 5, 64)  # of a free batch, each where it fits in FURTHER_SECONDS
FURTHER_SECONDS = 2.0  # that all calls with further sizes may take
SAME_RTOL = 1e-5  # a Target's answers to the same rows in two batches: rounding of float arithmetic
NAME = "batches"
NOTHING_COMPARED = "no output has a batch axis"


def check_batches(evaluation_set: EvaluationSet, target: LoadedModel, mapping: Sequence[InputMapping]) -> CheckResult:
    """Compare the Target at every batch size that it declares with the Source's answers, and with itself when repeated.

    A size that the Target declares and does not run at is a difference where it is 1, as files are deployed so, and
    else a note. A TFLite file whose batch is fixed can be resized all the same; what it then answers is a note.
    """
    source = evaluation_set.source
    first = batches(evaluation_set.rows[0])[0]
    arrays, expected = evaluation_set.source_outputs.outputs(first)
    if evaluation_set.target_inputs is not None:
        arrays = evaluation_set.target_inputs.read(first)
    target_arrays = apply_mapping(mapping, arrays)
    ranks = {spec.name: None if spec.shape is None else len(spec.shape) for spec in target.signature.inputs}
    if any(ranks[name] not in (None, array.ndim) for name, array in target_arrays.items()):
        return CheckResult(NAME, "not run", "the inputs have no batch axis")
    if lost := sorted(target.unbatched - source.unbatched):
        return CheckResult(NAME, "differs", _lost_axis(target, lost[0], 1))
    fixed = declared_batch(target)
    rules = evaluation_set.behaviour.rules_for(target)
    notes: list[str] = []
    is_compared = False
    agreed: list[Array] = []
    pace = _Pace()
    for size in pace.affordable(_sizes(target, fixed), FURTHER_SIZES if fixed is None else ()):
        index = np.arange(size) % len(first)
        outputs = _run_at(target, {name: array[index] for name, array in target_arrays.items()}, size)
        if isinstance(outputs, str):
            reason = f"the Target does not run at a batch of {size}: {outputs}"
            if size == (fixed or 1):
                return CheckResult(NAME, "differs", reason)
            notes.append(reason)
            continue
        ordered = match_outputs(source.output_names, target.output_names, outputs)
        difference = _difference(evaluation_set, target, [output[index] for output in expected], ordered, rules, size)
        if difference and _gives_the_same(ordered, agreed, rules, index):
            difference = ""
        if difference == "" and not agreed:
            agreed = ordered
        if difference and (fixed is None or size == fixed):
            return CheckResult(NAME, "differs", difference)
        notes += [difference] if difference else []
        is_compared |= difference is not None
    if notes and fixed is None:
        evaluation_set.notes.extend(notes)
    elif notes:
        evaluation_set.notes.append(f"the Target is for batches of {fixed} only: {notes[0]}")
    if not is_compared:
        return CheckResult(NAME, "not run", NOTHING_COMPARED)
    return CheckResult(NAME, "agrees", figures={"sizes": list(dict.fromkeys(pace.sizes))})


class _Pace:
    """Chooses batch sizes by the time that calls take; ``sizes`` are those chosen so far."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def affordable(self, needed: Sequence[int], further: Sequence[int]) -> Iterator[int]:
        """Yield all sizes needed, then those of the further ones whose calls should end within the time for them."""
        begun = time.monotonic()
        for size in needed:
            self.sizes.append(size)
            yield size
        now = time.monotonic()
        seconds_per_row, end = (now - begun) / max(sum(self.sizes), 1), now + FURTHER_SECONDS
        for size in further:
            if time.monotonic() + size * seconds_per_row <= end:
                self.sizes.append(size)
                yield size


def _sizes(target: LoadedModel, fixed: int | None) -> tuple[int, ...]:
    """Return the batch sizes to run at; the declared size twice, as a model may keep a state or draw random numbers."""
    if fixed is None:
        return (*BATCH_SIZES, BATCH_SIZES[1])
    others = BATCH_SIZES if target.format.can_resize_batch else ()
    return (*(size for size in others if size != fixed), fixed, fixed)


def declared_batch(model: LoadedModel) -> int | None:
    """Return the batch size that a model's inputs declare; None where it is free."""
    return next((spec.shape[0] for spec in model.signature.inputs if spec.shape and spec.shape[0] is not None), None)


def _run_at(target: LoadedModel, arrays: Mapping[str, Array], size: int) -> list[Array] | str:
    """Return the outputs of one call with all rows, or why there are none."""
    try:
        return RUN_AT(target.worker(), None, path=target.location, arrays=dict(arrays), size=size)[0].outputs
    except WorkerFailed as error:
        return shorten(str(error))


def _difference(
    evaluation_set: EvaluationSet,
    target: LoadedModel,
    expected: Sequence[Array],
    outputs: Sequence[Array],
    rules: Sequence[OutputRule],
    size: int,
) -> str | None:
    """Return how the outputs of one call differ from the Source's: empty where they do not, None if none is comparable.

    Outputs without a batch axis hold no rows to compare; a person's own function judges only all outputs together.
    """
    source, options = evaluation_set.source, evaluation_set.options
    comparable = [index for index in range(len(expected)) if index not in source.unbatched and index < len(outputs)]
    for index in comparable:
        if outputs[index].ndim == 0 or len(outputs[index]) != size:
            return _lost_axis(target, index, size, list(outputs[index].shape))
    if not comparable or (options.comparing.judging is not None and len(comparable) < len(expected)):
        return None
    compared = compare(
        range(size),
        [expected[index] for index in comparable],
        [outputs[index] for index in comparable],
        [rules[index].name for index in comparable],
        [rules[index] for index in comparable],
        options.comparing,
    )
    differences = compared.differences(max_discrepancy=options.allowed_discrepancy)
    return f"at a batch of {size}: {'; '.join(differences)}" if differences else ""


def _gives_the_same(
    outputs: Sequence[Array], agreed: Sequence[Array], rules: Sequence[OutputRule], index: Array
) -> bool:
    """Whether all outputs are quantised, and these are the Target's own answers to the same rows in another batch.

    Those agreed with the Source: what few rows of a quantised output differ in is then the rounding that was judged
    among more, and no matter of the batch. ``index`` holds the row of ``agreed`` of each of these.
    """
    if len(outputs) != len(agreed) or not all(rule.is_quantized for rule in rules):
        return False
    return all(
        output.ndim > 0
        and len(output) == len(index)
        and len(other) > index.max()
        and output.shape[1:] == other.shape[1:]
        and np.allclose(output, other[index], rtol=SAME_RTOL, atol=SAME_RTOL * np.abs(other).max(initial=0))
        for output, other in zip(outputs, agreed, strict=True)
    )


def _lost_axis(target: LoadedModel, index: int, size: int, shape: Sequence[int] | None = None) -> str:
    names = target.output_names
    name = names[index] if index < len(names) else f"output {index}"
    has = "has no batch axis" if shape is None else f"has the shape {list(shape)}"
    return f"at a batch of {size} output {name!r} of the Target {has}; the Source's has the batch first"
