"""Checks of a Target beside the comparison over the person's inputs: each is a function listed in ``FURTHER_CHECKS``.

A check takes the evaluation set, the Target and its input mapping, and returns a :class:`CheckResult`. It is run where
the Target agreed on the inputs; the first one that differs decides. It may raise :class:`WorkerFailed` of the Source.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..comparison.compare import compare
from ..comparison.comparison import Comparison, all_rows_differ
from ..comparison.output_rules import OutputRule
from ..comparison.source_noise import nudged
from ..comparison.tolerance import ScaleMeter
from ..errors import BadInput, CallRaised, WorkerFailed
from ..inputs.base import dtype_of
from ..models.input_mapping import InputMapping
from ..models.loaded_model import LoadedModel, shorten
from .batch_sizes import check_batches
from .evaluation_set import EvaluationSet
from .further_check import CheckResult
from .target_outputs import target_outputs

Array = np.ndarray[Any, Any]
PROBES_CHECKED = 6
LARGE_PROBES = 3
NUDGES = 4  # times that inputs are nudged to see whether ids of the Source change by rounding
LARGE_FACTOR = 32.0  # of a probe's floating-point values, which are mostly below 10


def check_probes(evaluation_set: EvaluationSet, target: LoadedModel, mapping: Sequence[InputMapping]) -> CheckResult:
    """Compare Source and Target on synthetic inputs beside the person's own.

    A quantised Target is right for inputs like those it was calibrated on, which probes are not; nor are they for a
    Target whose images are prepared another way.
    """
    if evaluation_set.inputs.kind == "probes":
        return CheckResult("probes", "not run", "the inputs are probes themselves")
    return _check_synthetic(evaluation_set, target, mapping, lambda: _probes(evaluation_set), "probes")


def check_large_inputs(
    evaluation_set: EvaluationSet, target: LoadedModel, mapping: Sequence[InputMapping]
) -> CheckResult:
    """Compare Source and Target on probes whose floating-point values are large, as a clamp shows only on such.

    An output that is ill-conditioned there, such as a softmax of huge values, is not judged.
    """
    if not any(dtype_of(spec).kind == "f" for spec in evaluation_set.specs):
        return CheckResult("large inputs", "not run", "no input is floating-point")
    options = evaluation_set.options
    if options.tolerance.has_atol or options.comparing.judging is not None:
        return CheckResult("large inputs", "not run", "what may differ was said for values of the inputs' own size")
    return _check_synthetic(evaluation_set, target, mapping, lambda: _large_probes(evaluation_set), "large inputs")


def _probes(evaluation_set: EvaluationSet) -> dict[str, Array]:
    return evaluation_set.probes(PROBES_CHECKED).read(range(PROBES_CHECKED))


def _large_probes(evaluation_set: EvaluationSet) -> dict[str, Array]:
    count = PROBES_CHECKED + LARGE_PROBES
    probes = evaluation_set.probes(count).read(range(PROBES_CHECKED, count))
    return {
        name: (array * LARGE_FACTOR).astype(array.dtype) if array.dtype.kind == "f" else array
        for name, array in probes.items()
    }


def _check_synthetic(
    evaluation_set: EvaluationSet,
    target: LoadedModel,
    mapping: Sequence[InputMapping],
    make_inputs: Callable[[], Mapping[str, Array]],
    name: str,
) -> CheckResult:
    """Compare Source and Target on these inputs, unless they say nothing of this Target; ``name`` is the check's."""
    rules = evaluation_set.behaviour.rules_for(target)
    if evaluation_set.target_inputs is not None or evaluation_set.options.embed_preprocessing:
        return CheckResult(name, "not run", "the Target takes images that are prepared another way")
    if any(rule.is_quantized for rule in rules):
        return CheckResult(name, "not run", "a quantised model is right for inputs like its calibration inputs")
    try:
        arrays, expected = _answered(evaluation_set, make_inputs())
    except (BadInput, CallRaised) as error:
        return CheckResult(name, "not run", f"the Source does not run on them: {shorten(str(error))}")
    count = len(next(iter(arrays.values())))
    if not count:
        return CheckResult(name, "not run", "the Source gives NaN or infinity on every one")
    comparison, moves, ill = compare_probes(evaluation_set, target, mapping, rules, arrays, expected)
    if name == "large inputs" and not comparison.agrees():
        ill |= _unsteady_ids(evaluation_set, rules, arrays, expected)
    figures = {"count": count, "outputs_move": moves, "comparison": comparison.to_json()}
    differences = comparison.differences(max_discrepancy=evaluation_set.options.allowed_discrepancy)
    if differences and name == "large inputs" and _differ_only(comparison, ill):
        return CheckResult(name, "not run", f"the Source is ill-conditioned there: {', '.join(sorted(ill))}", figures)
    words = f"on {count} {name if name == 'probes' else 'probes of large values'}: {'; '.join(differences)}"
    if differences and not evaluation_set.options.own_inputs_only:
        advice = "pass --own-inputs-only if inputs other than yours do not matter"
        return CheckResult(name, "differs", f"{words}; {advice}", figures)
    if differences:
        return CheckResult(name, "not run", f"--own-inputs-only; {words}", figures)
    return CheckResult(name, "agrees", "" if moves else "the probes do not move the outputs", figures)


def _unsteady_ids(
    evaluation_set: EvaluationSet, rules: Sequence[OutputRule], arrays: Mapping[str, Array], expected: Sequence[Array]
) -> frozenset[str]:
    """Names of outputs of ids, such as an arg-max of near-ties, that change in the Source itself by rounding."""
    changed = set()
    for seed in range(NUDGES):
        outputs = evaluation_set.source.run(nudged(arrays, seed))
        for rule, before, after in zip(rules, expected, outputs, strict=True):
            if rule.kind.kind == "ids" and (before.shape != after.shape or (before != after).any()):
                changed.add(rule.name)
    return frozenset(changed)


def _differ_only(comparison: Comparison, names: frozenset[str]) -> bool:
    """Do only outputs of these names differ, and those by finite values?"""
    differing = {output.name for output in comparison.outputs if output.values_differ}
    return not comparison.problems and not comparison.target_not_finite and differing <= names


def _answered(evaluation_set: EvaluationSet, arrays: Mapping[str, Array]) -> tuple[dict[str, Array], list[Array]]:
    """Those of the inputs that the Source answers with finite numbers, and its answers."""
    outputs = evaluation_set.source.run(arrays)
    count = len(next(iter(arrays.values())))
    is_finite = np.ones(count, bool)
    for output in outputs:
        if output.dtype.kind in "fc" and len(output) == count:
            is_finite &= (np.isfinite(output) | np.isneginf(output.real)).reshape(count, -1).all(axis=1)
    return {name: array[is_finite] for name, array in arrays.items()}, [output[is_finite] for output in outputs]


def compare_probes(
    evaluation_set: EvaluationSet,
    target: LoadedModel,
    mapping: Sequence[InputMapping],
    rules: Sequence[OutputRule],
    arrays: Mapping[str, Array],
    expected: Sequence[Array],
) -> tuple[Comparison, bool, frozenset[str]]:
    """Return the comparison on these inputs, whether they move the Source's outputs, and which are ill-conditioned.

    Scales are those of the inputs and of the probes together, and noise is measured on the probes themselves.
    """
    source, options = evaluation_set.source, evaluation_set.options
    count = len(next(iter(arrays.values())))
    wide, moves = [], False
    for rule, output in zip(rules, expected, strict=True):
        meter = ScaleMeter()
        meter.add(output)
        scales = meter.scales(rule.kind.class_axis)
        moves |= not scales.is_constant
        wide.append(rule.on_other_inputs(scales))
    try:
        outputs = target_outputs(source, target, mapping, arrays, expected)
    except WorkerFailed as error:
        return all_rows_differ(count, f"the Target does not run: {shorten(str(error))}"), moves, frozenset()
    comparison = compare(range(count), expected, outputs, source.output_names, wide, options.comparing)
    if not comparison.agrees(max_discrepancy=options.allowed_discrepancy):
        noise = evaluation_set.behaviour.noise_on(arrays, expected)
        wide = [rule.with_noise(part) for rule, part in zip(wide, noise, strict=True)]
        comparison = compare(range(count), expected, outputs, source.output_names, wide, options.comparing)
    return comparison, moves, frozenset(rule.name for rule in wide if rule.ill_conditioned)


FurtherCheck = Callable[[EvaluationSet, LoadedModel, Sequence[InputMapping]], CheckResult]
FURTHER_CHECKS: tuple[FurtherCheck, ...] = (check_probes, check_batches, check_large_inputs)
