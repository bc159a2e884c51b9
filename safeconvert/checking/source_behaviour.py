"""What the Source's own answers say: what each output is, its scale, its noise, and whether it contradicts itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from ..comparison.output_kinds import KindChoices
from ..comparison.output_rules import OutputRule, rules_from_meters, with_max_errors
from ..comparison.source_noise import NUDGE, is_ill_conditioned, moved, nudged, slice_noise
from ..comparison.tolerance import ScaleMeter
from ..errors import BadInput, CallRaised, WorkerFailed
from ..inputs.base import ProbeInputs
from ..models.input_mapping import match_outputs
from ..models.loaded_model import LoadedModel
from ..options import Options
from ..records import TensorSpec
from ..workers.runtime_functions import CHANGING_OPERATORS, RUN_SINGLE_THREADED
from .probe_ranges import ranges_tried
from .source_outputs import SourceOutputs, batches

Array = np.ndarray[Any, Any]
SCALE_ROWS = 128  # inputs that scales are measured on, calibration inputs first
NOISE_ROWS = 3  # inputs on which the Source's own noise is measured
REPEATED_ROWS = 2  # inputs that are run twice
BATCH_NOISE_FACTOR = 10.0  # of what nudged inputs change: what another batch may change by rounding
IN_ANOTHER_BATCH = "when other inputs share its batch"


class SourceBehaviour:
    """Measured when it is first asked for, and once. Every method may raise :class:`WorkerFailed` of the Source."""

    def __init__(
        self,
        source_outputs: SourceOutputs,
        specs: Sequence[TensorSpec],
        options: Options,
        rows: Callable[[], tuple[tuple[int, ...], tuple[int, ...]]],
    ) -> None:
        """``specs`` are the Source's inputs in this run, ``rows`` returns the calibration and the held-out rows."""
        self._source_outputs, self._specs, self._options, self._rows = source_outputs, specs, options, rows
        self._noise: list[Array] | None = None

    @property
    def source(self) -> LoadedModel:
        return self._source_outputs.source

    @cached_property
    def rules(self) -> tuple[OutputRule, ...]:
        """The rule of each output, without noise. Raises :class:`BadInput` for options that name no output."""
        options = self._options
        names = self.source.output_names
        choices = KindChoices(options.output_kind, options.class_axis)
        meters: list[ScaleMeter] = []
        few: list[Array] = []
        labels: list[set[int]] = []
        calibration, heldout = self._rows()
        for _, _, outputs in self._source_outputs.each((*calibration, *heldout)[:SCALE_ROWS]):
            if not meters:
                meters, few = [ScaleMeter() for _ in outputs], outputs
                labels = [set() for _ in outputs]
            for meter, output in zip(meters, outputs, strict=True):
                meter.add(output)
            for seen, output in zip(labels, outputs, strict=True):
                _add_labels(seen, output)
        rules = rules_from_meters(
            names, few, meters, options.tolerance, channels_last=self.source.format.default_layout == "nhwc",
            choices=choices,
        )  # fmt: skip
        rules = tuple(
            replace(rule, has_one_label=rule.kind.kind == "labels" and not rule.kind.is_binary and len(seen) < 2)
            for rule, seen in zip(rules, labels, strict=True)
        )
        return with_max_errors(rules, options.max_error)

    def rules_for(self, target: LoadedModel) -> tuple[OutputRule, ...]:
        """The rules for this Target: which of its outputs are judged as quantised ones; with noise, once measured."""
        flags = [np.asarray(flag) for flag in _quantized(target)]
        in_order = match_outputs(self.source.output_names, target.output_names, flags)
        source_flags = _quantized(self.source)
        rules = []
        for index, rule in enumerate(self.rules):
            target_flag = bool(in_order[index]) if index < len(in_order) else target.signature.quantized
            noise = None if self._noise is None else self._noise[index]
            source_flag = source_flags[index] if index < len(source_flags) else self.source.signature.quantized
            rules.append(replace(rule, is_quantized=target_flag or source_flag, noise=noise))
        return tuple(rules)

    # -- noise

    @property
    def has_noise(self) -> bool:
        """Was the noise measured?"""
        return self._noise is not None

    def measure_noise(self) -> None:
        """Measure how far the Source's answers move by themselves, on a few calibration inputs."""
        if self._noise is None:
            rows = self._rows()[0][:NOISE_ROWS]
            arrays = self._source_outputs.inputs.read(rows)
            base = [output[: len(rows)] for output in self._first_outputs(rows)]
            self._noise = self.noise_on(arrays, base)

    def _first_outputs(self, rows: Sequence[int]) -> list[Array]:
        first = batches(self._rows()[0])[0]
        return self._source_outputs.outputs(first)[1]

    def noise_on(self, arrays: Mapping[str, Array], base: Sequence[Array]) -> list[Array]:
        """The noise of each output on these inputs; ``base`` are the Source's outputs for them."""
        return measured_noise(self.source, arrays, base, self.rules, self._options.seed)

    def ill_conditioned(self) -> tuple[str, ...]:
        """Outputs whose noise is a large part of what they say of the inputs, each in a sentence."""
        if self._noise is None:
            return ()
        return tuple(
            f"output {rule.name!r} of the Source is ill-conditioned: its values move by up to {noise.max():.3g} when "
            f"the inputs change by {NUDGE:g} of themselves, or in another batch, and by {rule.scales.spread.max():.3g} "
            "between inputs; a difference of that size shows nothing"
            for rule, noise in zip(self.rules, self._noise, strict=True)
            if is_ill_conditioned(noise, rule.scales)
        )

    def ill_outputs(self) -> frozenset[str]:
        """The names of the outputs that are ill-conditioned."""
        if self._noise is None:
            return frozenset()
        return frozenset(
            rule.name
            for rule, noise in zip(self.rules, self._noise, strict=True)
            if is_ill_conditioned(noise, rule.scales)
        )

    # -- what makes a Source unfit to judge by

    @cached_property
    def contradiction(self) -> str | None:
        """Why the Source cannot be compared with: it answers otherwise when asked again, or in another batch."""
        rows = self._rows()[0][:REPEATED_ROWS]
        arrays = self._source_outputs.inputs.read(rows)
        return contradiction_on(self.source, arrays, self.rules) or self._batch_dependence(arrays)

    def _batch_dependence(self, arrays: Mapping[str, Array]) -> str | None:
        """Why the Source cannot be compared with: its answer to an input depends on the others in its batch.

        Rounding, which moves an ill-conditioned output further than its tolerance, moves it as far when the input is
        nudged. Integers and quantised outputs jump by rounding alone, so they are left out.
        """
        single = {name: array[:1] for name, array in arrays.items()}
        alone = self.source.run(single)
        together = [output[:1] for output in self._first_outputs(self._rows()[0][:1])]
        change = _change(self.source, together, alone, self.rules)
        if change is None:
            return None
        nudge = self.source.run(nudged(single, self._options.seed))
        flags, is_dependent = _quantized(self.source), False
        for index, (rule, *outputs) in enumerate(zip(self.rules, together, alone, nudge, strict=True)):
            if rule.kind.kind == "ids" or (flags[index] if index < len(flags) else self.source.signature.quantized):
                continue
            distance, rounding = moved(*outputs[:2]), moved(*outputs[1:])
            is_dependent |= bool((distance > rule.allowed_without_noise() + BATCH_NOISE_FACTOR * rounding.max()).any())
        return _contradiction(self.source, change, IN_ANOTHER_BATCH) if is_dependent else None

    def contradiction_on_probes(self) -> str | None:
        """The same on a few synthetic inputs, before anything is converted; None where they cannot be run."""
        try:
            ranges = ranges_tried(self.source, self._specs, self._options.seed)
            probes = ProbeInputs.make(self._specs, self._options.seed, REPEATED_ROWS, ranges)
            return contradiction_on(self.source, probes.read(range(REPEATED_ROWS)))
        except (BadInput, WorkerFailed):
            return None

    def nothing_tested(self) -> tuple[str, ...]:
        """Why agreement with this Source on these inputs would prove nothing; empty where it proves something."""
        reasons = []
        count = len(self._rows()[0]) + len(self._rows()[1])
        if count < 2:
            reasons.append(f"only {count} distinct input was compared; give at least two")
        for rule in self.rules:
            if not rule.scales.has_elements:
                reasons.append(f"output {rule.name!r} of the Source has no elements, so nothing of it was compared")
        if not reasons and self._is_constant():
            reasons.append("the Source gives the same outputs for all inputs, so agreement shows nothing; give others")
        return tuple(reasons)

    def _is_constant(self) -> bool:
        """Does no output move over all inputs? Those that scales were measured on mostly tell."""
        if not all(rule.scales.is_constant for rule in self.rules):
            return False
        meters = [ScaleMeter() for _ in self.rules]
        for rows in self._rows():
            for _, _, outputs in self._source_outputs.each(rows):
                for meter, output in zip(meters, outputs, strict=True):
                    meter.add(output)
        return all(meter.scales(None).is_constant for meter in meters)


def measured_noise(
    source: LoadedModel, arrays: Mapping[str, Array], base: Sequence[Array], rules: Sequence[OutputRule], seed: int
) -> list[Array]:
    """The noise of each output of a model at each position (see ``comparison.source_noise``).

    The same inputs are run in a batch of their own, one at a time, with one thread where the runtime allows that, and
    nudged by one part in a million. ``base`` are the outputs for ``arrays``. Raises :class:`WorkerFailed`.
    """
    count = len(next(iter(arrays.values())))
    whole = [source.run(arrays), source.run(nudged(arrays, seed))]
    whole += [outputs for outputs in [_single_threaded(source, arrays)] if outputs is not None]
    rows = [source.run({name: array[row : row + 1] for name, array in arrays.items()}) for row in range(count)]
    noise = []
    for index, (rule, output) in enumerate(zip(rules, base, strict=True)):
        distances = [moved(output, other[index]) for other in whole]
        distances += [moved(output[row : row + 1], other[index]) for row, other in enumerate(rows)]
        noise.append(slice_noise(np.maximum.reduce(distances), rule.kind.class_axis))
    return noise


def _single_threaded(source: LoadedModel, arrays: Mapping[str, Array]) -> list[Array] | None:
    """The outputs computed by one thread; None where the runtime cannot be told to."""
    try:
        result = RUN_SINGLE_THREADED(source.worker(), None, path=source.location, arrays=dict(arrays))
    except CallRaised:
        return None
    return None if result is None else list(result.outputs)


def contradiction_on(
    source: LoadedModel, arrays: Mapping[str, Array], rules: Sequence[OutputRule] | None = None
) -> str | None:
    """Why a model is in contradiction with itself; None where it is not. Its operators that make it so are named.

    It is asked the same twice; and where it has operators in training mode, in another batch too, as batch statistics
    change with the batch. Differences of rounding do not count: they are held against the outputs' tolerances
    (``rules``), or where there are none against the rounding of what the model answers.
    """
    first = source.run(arrays)
    change = _change(source, first, source.run(arrays), rules)
    when = "each time that it is asked the same"
    operators = _changing_operators(source) if change is not None or rules is None else ()
    if change is None and any("training mode" in operator for operator in operators):
        count = len(next(iter(arrays.values())))
        repeated = source.run({name: np.concatenate([array, array[::-1] * 0.5]) for name, array in arrays.items()})
        change = _change(source, first, [output[:count] for output in repeated], rules)
        when = IN_ANOTHER_BATCH
    return None if change is None else _contradiction(source, change, when)


def _contradiction(source: LoadedModel, change: tuple[str, str], when: str) -> str:
    """Say which output of the Source changes, by how much and when, which operators can do it, and what to do."""
    operators = _changing_operators(source)
    why = f" ({', '.join(operators)})" if operators else ""
    advice = "export the model in evaluation mode (torch: model.eval()), with no dropout and no random operator"
    return f"{change[0]} of the Source is another one {when}{change[1]}{why}; {advice}"


def _changing_operators(source: LoadedModel) -> tuple[str, ...]:
    """The random operators of a model and those in training mode; none where they cannot be read."""
    try:
        return CHANGING_OPERATORS(source.worker(), None, path=source.location)
    except WorkerFailed:
        return ()


def _change(
    source: LoadedModel, first: Sequence[Array], second: Sequence[Array], rules: Sequence[OutputRule] | None
) -> tuple[str, str] | None:
    """The first output that is another one in the second answer, and by how much; None where all are the same."""
    for index, (before, after) in enumerate(zip(first, second, strict=True)):
        name = source.output_names[index] if index < len(source.output_names) else f"output {index}"
        if before.shape != after.shape:
            return f"output {name!r}", f" (shape {list(before.shape)}, then {list(after.shape)})"
        if before.dtype.kind not in "fcV":
            if (before != after).any():
                return f"output {name!r}", ""
            continue
        distance = moved(before, after)
        allowed = _rounding(before) if rules is None else rules[index].allowed_without_noise()
        if (distance > np.broadcast_to(allowed, distance.shape)).any():
            return f"output {name!r}", f" (by up to {distance.max():.3g})"
    return None


def _rounding(values: Array) -> Array:
    """What another order of summation may change: a thousandth of a value's size, far below what dropout does."""
    size = np.abs(np.where(np.isfinite(values), values, 0)).astype(np.float64)
    return np.asarray(1e-3 * size.max(axis=0) + 1e-5 * (np.median(size) if size.size else 0.0))


def _add_labels(seen: set[int], output: Array) -> None:
    """The arg-max classes of an output [n, classes]; two are enough to know."""
    if len(seen) < 2 and output.ndim == 2 and output.shape[1] > 1 and output.dtype.kind in "fV":
        seen.update(np.unique(np.nan_to_num(output.astype(np.float32)).argmax(axis=1)).tolist())


def _quantized(model: LoadedModel) -> tuple[bool, ...]:
    """Whether each output of a model comes from quantised tensors."""
    signature = model.signature
    if len(signature.quantized_outputs) == len(signature.outputs):
        return signature.quantized_outputs
    return tuple(signature.quantized for _ in signature.outputs)
