"""Pass the Target through the inputs, compare it with the Source, and reach a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..comparison.compare import Comparison, all_rows_differ, compare
from ..errors import WorkerFailed
from ..models.input_mapping import InputMapping, apply_mapping, match_outputs
from ..models.loaded import LoadedModel, shorten
from ..records import Verdict
from .evaluation_set import SAMPLE, EvaluationSet
from .second_runtime import WORDS, in_second_runtime, unavailable_reason


@dataclass(frozen=True)
class Judgement:
    """A verdict, why it is not ``verified``, and the comparisons over calibration and held-out set (None: not made).

    ``before`` are those of the unrepaired model, where something was repaired. ``in_second_runtime`` is the Target in
    the second runtime, where that is what differs and what was compared.
    """

    verdict: Verdict
    reasons: tuple[str, ...] = ()
    compared: tuple[Comparison, Comparison] | None = None
    before: tuple[Comparison, Comparison] | None = None
    in_second_runtime: LoadedModel | None = None


def judge(
    evaluation_set: EvaluationSet,
    target: LoadedModel,
    mapping: Sequence[InputMapping],
) -> Judgement:
    """Compare over both sets; each in batches, so that memory does not grow with the number of inputs."""
    options, (calibration, heldout) = evaluation_set.options, evaluation_set.rows
    if not calibration:
        return Judgement(Verdict.UNDECIDED, ("no input could be read, so nothing was compared",))
    evaluation_set.ahead()
    try:
        compared = (
            compare_rows(evaluation_set, target, mapping, calibration, "checking"),
            compare_rows(evaluation_set, target, mapping, heldout, "confirming"),
        )
    except WorkerFailed as error:
        return Judgement(Verdict.UNDECIDED, (f"the Source does not run on these inputs: {shorten(str(error))}",))
    judged = {"calibration": compared[0]} | ({"held-out": compared[1]} if heldout else {})
    quantized = evaluation_set.source.signature.quantized or target.signature.quantized
    reasons = tuple(
        f"{name}: {reason}"
        for name, one in judged.items()
        for reason in one.differences(max_discrepancy=options.max_discrepancy, values=not quantized)
    )
    if not all(one.decidable for one in judged.values()):
        return Judgement(
            Verdict.UNDECIDED,
            ("the Source gives NaN or infinity on some inputs, which cannot be compared", *reasons),
            compared,
        )
    if reasons and evaluation_set.target_inputs is not None:
        reasons = (*reasons, "the Target's images were prepared by --target-preprocess, another way than the Source's")
    if reasons and target.other_runtime is not None:
        reasons = (WORDS, *reasons)
    if not reasons and (other := in_second_runtime(evaluation_set.source, target)) is not None:
        if why := unavailable_reason(other):
            return Judgement(Verdict.UNDECIDED, (why,), compared)
        few = compare_rows(evaluation_set, other, mapping, calibration[:SAMPLE], "running it elsewhere")
        if not few.agrees(values=not quantized):
            found = judge(evaluation_set, other, mapping)
            if found.verdict is Verdict.DIVERGED:
                return replace(found, in_second_runtime=other)
    return Judgement(Verdict.DIVERGED if reasons else Verdict.VERIFIED, reasons, compared)


def compare_rows(
    evaluation_set: EvaluationSet,
    target: LoadedModel,
    mapping: Sequence[InputMapping],
    rows: Sequence[int],
    what: str,
) -> Comparison:
    """Compare Source and Target over these rows of the evaluation set; ``what`` names the step for the observer.

    Raises :class:`WorkerFailed` only where the Source is what fails.
    """
    options, deployed = evaluation_set.options, evaluation_set.target_inputs
    total, done = Comparison(), 0
    names = evaluation_set.source.output_names
    for batch, arrays, expected in evaluation_set.reference.each(rows):
        given = arrays if deployed is None else deployed.read(batch)
        try:
            outputs = match_outputs(names, target.output_names, target.run(apply_mapping(mapping, given)))
        except WorkerFailed as error:
            total += all_rows_differ(len(batch), f"the Target does not run: {shorten(str(error))}")
        else:
            total += compare(batch, expected, outputs, names, options.tolerance, options.comparing)
        done += len(batch)
        evaluation_set.observer.progress(what, done, len(rows))
    return total
