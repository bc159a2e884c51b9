"""The last proposal: another route. A Target that cannot be mended is made anew from the Source by the real converters.

Only for a Target that is the Source's: where its weights have nothing to do with the Source's, it is another model, and
what came of the Source would be no repair of it. What was wrong with it is told as far as the two models' own
activations tell it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...comparison.compare import Comparison
from ...conversion.onnx_view import convert_verified
from ...conversion.stage import ConvertedModel
from ...errors import WorkerFailed
from ...models.input_mapping import InputMapping, apply_mapping
from ...records import Fault, Localisation
from ...runtimes.tensor_layout import arrangements
from ..acceptance import Candidate, Gate
from ..native_format.names import told, trace
from ..native_format.parameters import Parameter, parameters
from ..remote_functions import FIRST_DIVERGENCES
from .view_edits import ALIEN, Outcome, Repairer

Array = np.ndarray[Any, Any]
SMALL = 16  # values that an array must have to tell anything of where it comes from
ALIKE = 0.5  # cosine above which two arrays go together


def reconvert(repairer: Repairer, mapping: Sequence[InputMapping], before: Comparison, outcome: Outcome) -> Outcome:
    """What repair came to, with a Target made anew in place of none."""
    if repairer.options.no_repair or not repairer.budget.allows() or outcome.unrelated_weights:
        return outcome
    if repairer.target.signature.quantized:
        return outcome  # its quantisation was meant, and would be undone
    faults, looked = outcome.faults, outcome.localisation
    if not faults and not repairer.beside.refused:  # what is the runtime's is no fault of the Target's
        faults, looked = first_divergences(repairer, mapping, before)
    try:
        strange = unrelated(
            parameters(repairer.workers, repairer.target), parameters(repairer.workers, repairer.source)
        )
    except WorkerFailed:
        strange = 0.0
    if strange > ALIEN:
        reason = f"the Target is another model: {strange:.0%} of its weights have nothing to do with the Source's"
        return dataclasses.replace(outcome, faults=faults, localisation=looked, reasons=(*outcome.reasons, reason))
    stage = _converted(repairer, repairer.gate(mapping, before))
    if stage is None:
        return dataclasses.replace(outcome, faults=faults, localisation=looked, attempts=tuple(repairer.attempts))
    used = [
        attempt for attempt in repairer.attempts if attempt.used and attempt.hop.endswith(repairer.target.format.name)
    ]
    by = f" by {used[-1].converter}" if used else ""
    mended = tuple(
        dataclasses.replace(fault, status="repaired", repair=f"the Target was made anew from the Source{by}")
        for fault in faults
    )
    note = "the Target could not be mended as it is and was made anew from the Source"
    return dataclasses.replace(
        outcome,
        stage=stage,
        faults=mended,
        localisation=looked,
        attempts=tuple(repairer.attempts),
        notes=(*outcome.notes, note),
    )


def _converted(repairer: Repairer, gate: Gate) -> ConvertedModel | None:
    source, target = repairer.source, repairer.target
    if source.format == target.format:
        return None  # a copy of the Source is no repair
    repairer.observer.say(f"making the {target.format} model anew")
    shapes = {name: list(shape) for name, shape in repairer.shapes.items()}
    stage, attempts = convert_verified(
        repairer.workers,
        source,
        target.format.name,
        shapes,
        repairer.evaluation_set.sample(),
        repairer.settings,
        repairer.observer.say,
    )
    repairer.attempts += attempts
    if stage is None:
        return None
    decision = gate.consider(Candidate(stage.side, words="converted again from the Source"))
    return decision.stage if decision.agrees else None


def first_divergences(
    repairer: Repairer, mapping: Sequence[InputMapping], before: Comparison
) -> tuple[tuple[Fault, ...], Localisation | None]:
    """Where the Target leaves the Source by both models' own activations, on one input on which they differ."""
    repairer.observer.say("comparing the two models' own activations")
    rows = [
        row for row in before.differing if row in set(repairer.evaluation_set.rows[0])
    ] or repairer.evaluation_set.rows[0]
    arrays = repairer.evaluation_set.inputs.read(tuple(rows[:1]))
    try:
        sides = [
            trace(repairer.workers, repairer.source, arrays),
            trace(repairer.workers, repairer.target, apply_mapping(mapping, arrays)),
        ]
        found = FIRST_DIVERGENCES(
            repairer.workers.worker("onnx_tflite", "onnx_tflite"),
            None,
            source=sides[0],
            target=sides[1],
            is_unquantized=repairer.is_unquantized,
        )
    except WorkerFailed:
        return (), None
    hop = f"{repairer.source.format}->{repairer.target.format}"
    faults = []
    for one in found:
        origin = "" if one.source is None else told(repairer.source.format, one.source)
        own = told(repairer.target.format, one.target)
        faults.append(Fault(one.type, hop, origin, own, one.evidence, "unrepaired", before.percent, None, ""))
    ranking = tuple((fault.source_node, fault.target_node, float("inf")) for fault in faults)
    return tuple(faults), Localisation("replay", "native", 1, ranking)


def unrelated(own: Sequence[Parameter], source: Sequence[Parameter]) -> float:
    """Share of the Target's larger arrays that go with none of the Source's of their size, in any layout."""
    sizes: dict[int, list[Array]] = {}
    for one in source:
        if one.array.size >= SMALL and one.array.ndim > 1:
            sizes.setdefault(one.array.size, []).append(one.array)
    looked = [one.array for one in own if one.array.ndim > 1 and one.array.size in sizes]
    if not looked:
        return 0.0
    return sum(not any(_goes_with(one, other) for other in sizes[one.size]) for one in looked) / len(looked)


def _goes_with(a: Array, b: Array) -> bool:
    """Is the angle between the two small in some layout? Noise and a folded normalisation leave it so."""
    x = a.reshape(-1).astype(np.float64)
    for way in arrangements((1, *b.shape), (1, *a.shape)):
        y = way.of(b[None]).reshape(-1).astype(np.float64)
        scale = float(np.linalg.norm(x) * np.linalg.norm(y))
        if not scale or float(x @ y) / scale > ALIKE:
            return True
    return False
