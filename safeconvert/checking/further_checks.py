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
from ..comparison.tolerance import ScaleMeter
from ..errors import BadInput, CallRaised, WorkerFailed
from ..models.input_mapping import InputMapping
from ..models.loaded_model import LoadedModel, shorten
from .batch_sizes import check_batches
from .evaluation_set import EvaluationSet
from .further_check import CheckResult
from .target_outputs import target_outputs

Array = np.ndarray[Any, Any]
PROBES_CHECKED = 6


def check_probes(evaluation_set: EvaluationSet, target: LoadedModel, mapping: Sequence[InputMapping]) -> CheckResult:
    """Compare Source and Target on synthetic inputs beside the person's own.

    A quantised Target is right for inputs like those it was calibrated on, which probes are not; nor are they for a
    Target whose images are prepared another way.
    """
    rules = evaluation_set.behaviour.rules_for(target)
    if evaluation_set.inputs.kind == "probes":
        return CheckResult("probes", "not run", "the inputs are probes themselves")
    if evaluation_set.target_inputs is not None or evaluation_set.options.embed_preprocessing:
        return CheckResult("probes", "not run", "the Target takes images that are prepared another way")
    if any(rule.is_quantized for rule in rules):
        return CheckResult("probes", "not run", "a quantised model is right for inputs like its calibration inputs")
    try:
        arrays, expected = _answered_probes(evaluation_set)
    except (BadInput, CallRaised) as error:
        return CheckResult("probes", "not run", f"the Source does not run on probes: {shorten(str(error))}")
    count = len(next(iter(arrays.values())))
    if not count:
        return CheckResult("probes", "not run", "the Source gives NaN or infinity on every probe")
    comparison, moves = compare_probes(evaluation_set, target, mapping, rules, arrays, expected)
    figures = {"count": count, "outputs_move": moves, "comparison": comparison.to_json()}
    differences = comparison.differences(max_discrepancy=evaluation_set.options.allowed_discrepancy)
    if differences and not evaluation_set.options.own_inputs_only:
        advice = "pass --own-inputs-only if inputs other than yours do not matter"
        return CheckResult("probes", "differs", f"on {count} probes: {'; '.join(differences)}; {advice}", figures)
    if differences:
        return CheckResult("probes", "not run", f"--own-inputs-only; on probes: {'; '.join(differences)}", figures)
    return CheckResult("probes", "agrees", "" if moves else "the probes do not move the outputs", figures)


def _answered_probes(evaluation_set: EvaluationSet) -> tuple[dict[str, Array], list[Array]]:
    """The probes that the Source answers with finite numbers, and its answers."""
    arrays = evaluation_set.probes(PROBES_CHECKED).read(range(PROBES_CHECKED))
    outputs = evaluation_set.source.run(arrays)
    is_finite = np.ones(PROBES_CHECKED, bool)
    for output in outputs:
        if output.dtype.kind in "fc" and len(output) == PROBES_CHECKED:
            is_finite &= (np.isfinite(output) | np.isneginf(output.real)).reshape(len(output), -1).all(axis=1)
    return {name: array[is_finite] for name, array in arrays.items()}, [output[is_finite] for output in outputs]


def compare_probes(
    evaluation_set: EvaluationSet,
    target: LoadedModel,
    mapping: Sequence[InputMapping],
    rules: Sequence[OutputRule],
    arrays: Mapping[str, Array],
    expected: Sequence[Array],
) -> tuple[Comparison, bool]:
    """The comparison on these inputs, and whether they move the Source's outputs.

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
        return all_rows_differ(count, f"the Target does not run: {shorten(str(error))}"), moves
    comparison = compare(range(count), expected, outputs, source.output_names, wide, options.comparing)
    if not comparison.agrees(max_discrepancy=options.allowed_discrepancy):
        noise = evaluation_set.behaviour.noise_on(arrays, expected)
        wide = [rule.with_noise(part) for rule, part in zip(wide, noise, strict=True)]
        comparison = compare(range(count), expected, outputs, source.output_names, wide, options.comparing)
    return comparison, moves


FurtherCheck = Callable[[EvaluationSet, LoadedModel, Sequence[InputMapping]], CheckResult]
FURTHER_CHECKS: tuple[FurtherCheck, ...] = (check_probes, check_batches)
