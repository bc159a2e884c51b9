"""Convert the Source again with the real converters, where the Target cannot be repaired as it is.

Only for a Target that is a version of the Source: where its weights have nothing to do with the Source's, it is another
model, and a conversion of the Source would be no repair of it. Its faults are named as far as the two models' own
activations show them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...comparison.comparison import Comparison
from ...conversion.stage import ConvertedModel
from ...errors import WorkerFailed
from ...models.input_mapping import InputMapping, apply_mapping
from ...records import Diagnosis, Localisation
from ...runtimes.tensor_layout import arrangements
from ..acceptance import Candidate, Gate
from ..context import Findings, Proposal, RepairContext, RepairState
from ..native_format.names import display_name, trace
from ..native_format.parameters import Parameter, parameters
from ..remote_functions import FIRST_DIVERGENCES
from . import float_weights, view_edits

Array = np.ndarray[Any, Any]
NAME = "convert the Source again"
MIN_VALUES_COMPARED = 16  # values that an array must have to show where it comes from
MIN_COSINE_RELATED = 0.5  # of the angle between two arrays of which one comes from the other
MAX_UNRELATED_SHARE = 0.5  # of the Target's larger arrays; above it the Target is another model


def applies(context: RepairContext, state: RepairState) -> bool:
    """No other strategy changed the Target, whose quantisation, if it has any, would be lost."""
    is_given = not {view_edits.NAME, float_weights.NAME} & set(state.changed_by)
    is_wrong = state.stage is None or state.model_differs()
    may_be_source = not state.findings.has_unrelated_weights and not context.target.signature.quantized
    return is_given and is_wrong and may_be_source and not context.options.no_repair and context.budget.allows()


def propose(context: RepairContext, state: RepairState) -> Proposal:
    """Propose the Source converted again, where the Target is a version of the Source at all."""
    diagnoses: tuple[Diagnosis, ...] = ()
    localisation = None
    is_explained = state.findings.diagnoses or state.findings.has_runtime_differences
    if not is_explained and state.stage is not None:
        diagnoses, localisation = first_divergences(context, state.stage.mapping, state.comparison)
    share = _unrelated_share(context)
    if share > MAX_UNRELATED_SHARE:
        reason = f"the Target is another model: {share:.0%} of its weights have nothing to do with the Source's"
        return Proposal(findings=Findings(diagnoses, localisation, reasons=(reason,)))
    stage = _converted(context, context.gate(state.compared_stage, state.comparison))
    if stage is None:
        return Proposal(findings=Findings(diagnoses, localisation))
    used = [
        attempt for attempt in context.attempts if attempt.used and attempt.hop.endswith(context.target.format.name)
    ]
    by = f" by {used[-1].converter}" if used else ""
    note = "the Target could not be repaired; it was converted again from the Source"
    return Proposal(
        stage,
        findings=Findings(diagnoses, localisation, notes=(note,)),
        replacement=f"the Target was converted again from the Source{by}",
    )


def _unrelated_share(context: RepairContext) -> float:
    try:
        target, source = parameters(context.workers, context.target), parameters(context.workers, context.source)
    except WorkerFailed:
        return 0.0
    return unrelated(target, source)


def _converted(context: RepairContext, gate: Gate) -> ConvertedModel | None:
    """The Source converted again, where that agrees with it."""
    source, target = context.source, context.target
    if source.format == target.format:
        return None  # a copy of the Source is no repair
    context.observer.say(f"converting the Source to {target.format} again")
    stage = context.convert(source, target.format, context.shapes, context.evaluation_set.sample())
    if stage is None:
        return None
    decision = gate.consider(Candidate(stage.model, words="converted again from the Source"))
    return decision.stage if decision.agrees else None


def first_divergences(
    context: RepairContext, mapping: Sequence[InputMapping], before: Comparison
) -> tuple[tuple[Diagnosis, ...], Localisation | None]:
    """Find where the Target leaves the Source by both models' own activations, on one input on which they differ."""
    context.observer.say("comparing the two models' own activations")
    calibration = context.evaluation_set.rows[0]
    rows = [row for row in before.differing if row in set(calibration)] or calibration
    arrays = context.evaluation_set.inputs.read(tuple(rows[:1]))
    try:
        sides = [
            trace(context.workers, context.source, arrays),
            trace(context.workers, context.target, apply_mapping(mapping, arrays)),
        ]
        divergences = FIRST_DIVERGENCES(
            context.workers.worker("onnx_tflite", "onnx_tflite"),
            None,
            source=sides[0],
            target=sides[1],
            is_unquantized=context.is_unquantized,
        )
    except WorkerFailed:
        return (), None
    diagnoses = tuple(
        Diagnosis(
            type=divergence.type,
            hop=context.hop,
            source_node="" if divergence.source is None else display_name(context.source.format, divergence.source),
            target_node=display_name(context.target.format, divergence.target),
            evidence=divergence.evidence,
            repair="",
            percent_before=before.percent,
            is_repaired=False,
        )
        for divergence in divergences
    )
    ranking = tuple((each.source_node, each.target_node, float("inf")) for each in diagnoses)
    return diagnoses, Localisation("replay", "native", 1, ranking)


def unrelated(target: Sequence[Parameter], source: Sequence[Parameter]) -> float:
    """Return the share of the Target's larger arrays that go with none of the Source's of their size, in any layout."""
    by_size: dict[int, list[Array]] = {}
    for parameter in source:
        if parameter.array.size >= MIN_VALUES_COMPARED and parameter.array.ndim > 1:
            by_size.setdefault(parameter.array.size, []).append(parameter.array)
    arrays = [each.array for each in target if each.array.ndim > 1 and each.array.size in by_size]
    if not arrays:
        return 0.0
    return sum(not any(_goes_with(array, other) for other in by_size[array.size]) for array in arrays) / len(arrays)


def _goes_with(a: Array, b: Array) -> bool:
    """Is the angle between the two small in some layout? Noise and a folded normalisation leave it so."""
    x = a.reshape(-1).astype(np.float64)
    for layout in arrangements((1, *b.shape), (1, *a.shape)):
        y = layout.of(b[None]).reshape(-1).astype(np.float64)
        scale = float(np.linalg.norm(x) * np.linalg.norm(y))
        if not scale or float(x @ y) / scale > MIN_COSINE_RELATED:
            return True
    return False
