"""A TFLite Target whose labels differ by the rounding of its weights alone: which of them to hold in float32 again.

Its weights are paired with those of the Source's own float32 conversion (``runtimes/litert/float_weights.py``).
Where the
file agrees with all of them restored, rounding is what was wrong with it. Between all in float32 and the file as it
was there are the mixed ones: each weight's rounding has a cost, the change of the outputs by itself, and the dearest
for their size come first. ``--max-size`` says how large the file may be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...comparison.comparison import Comparison
from ...conversion.stage import ConvertedModel
from ...errors import WorkerFailed
from ...formats import TFLITE
from ...models.input_mapping import InputMapping, apply_mapping
from ...models.loaded_model import LoadedModel
from ...records import Diagnosis, Localisation
from ...runtimes.litert.float_weights import RoundedWeight
from ...workers.pool import Worker
from ...workers.runtime_functions import MATCH_ROUNDINGS, RESTORE_FLOAT_WEIGHTS, ROUNDED_WEIGHTS, ROUNDING_COSTS
from ..acceptance import Candidate, Decision, Gate
from ..context import Findings, Proposal, RepairContext, RepairState
from ..native_format.names import origins

Array = np.ndarray[Any, Any]
MAX_ROWS_COSTED = 8  # calibration inputs on which the cost of each weight's rounding is measured
MAX_ROWS_COMPARED = 512  # calibration inputs on which a file with some weights in float32 is compared
NAME = "restore float weights"
BYTES_PER_MB = 1e6


@dataclass(frozen=True)
class Mixed:
    """The file with the ``restored`` weights in float32, its ``size`` in bytes, and what the gate says of it."""

    stage: ConvertedModel
    restored: tuple[str, ...]
    size: int
    decision: Decision

    def words(self, weights: int) -> str:
        """Describe the file for the report; ``weights`` is the number of rounded ones in the given file."""
        compared = self.decision.comparison
        summary = f"{len(self.restored)} of {weights} rounded weights in float32: {self.size / BYTES_PER_MB:.2f} MB"
        return f"{summary}, {compared.labels_differ} of {compared.count} calibration inputs differ"


def applies(context: RepairContext, state: RepairState) -> bool:
    """The Target is a quantised TFLite file of a float Source, which differs."""
    quantized = context.target.signature.quantized and not context.source.signature.quantized
    is_candidate = context.target.format == TFLITE and quantized and not context.options.no_repair
    return is_candidate and state.model_differs()


def applies_after(*strategies: str) -> Callable[[RepairContext, RepairState], bool]:
    """Return ``applies`` for a Target that one of these strategies changed, and that was never looked at before."""

    def applies_to_changed(context: RepairContext, state: RepairState) -> bool:
        is_changed = bool(set(strategies) & set(state.changed_by)) and NAME not in state.changed_by
        return is_changed and applies(context, state)

    return applies_to_changed


def propose(context: RepairContext, state: RepairState) -> Proposal | None:
    """Propose the Target with weights in float32 again; None where rounding is not what is wrong with it, or not all.

    All of them are, so that values too can be compared with the Source's, or as many as ``--max-size`` leaves room for.
    """
    assert state.stage is not None
    target, options, before = context.target, context.options, state.comparison
    try:
        rounded_weights = ROUNDED_WEIGHTS(_worker(context), _seconds(context), path=target.location)
        weights = {weight.name: weight for weight in rounded_weights}
        twin = _float32_twin(context) if weights else None
        if twin is None:
            return None
        rounding = MATCH_ROUNDINGS(_worker(context), _seconds(context), path=target.location, twin=twin.location)
        if not rounding:
            return None
        gate = context.gate(state.stage, before, MAX_ROWS_COMPARED)
        search = _Search(context, gate, state.stage.mapping, twin, list(rounding))
        whole = search.with_float(search.names)
        if not whole.decision.agrees:
            return None
        context.observer.say("measuring what the rounding of each weight costs")
        costs = search.costs(weights)
        few = search.fewest(whole)
        chosen = whole if options.max_size is None else search.within(options.max_size * BYTES_PER_MB)
        diagnoses = _diagnoses(context, before, weights, rounding, costs, whole, chosen)
    except WorkerFailed:
        return None  # the search in the view looks for what is wrong then
    rounded = f"all rounded: {target.path.stat().st_size / BYTES_PER_MB:.2f} MB, "
    rounded += f"{before.labels_differ} of {before.count} calibration inputs differ"
    sizes = f"{rounded}; {few.words(len(weights))}; {whole.words(len(weights))}. "
    advice = "--max-size chooses one that fits a size"
    if options.max_size is not None:
        advice = f"Chosen: {chosen.size / BYTES_PER_MB:.2f} MB"
    note = f"the Target's weights are the Source's, rounded. {sizes}{advice}"
    ranking = tuple((each.source_node, each.target_node, each.evidence["cost"] or 0.0) for each in diagnoses)
    localisation = Localisation("replay", "native", search.runs, ranking)
    return Proposal(chosen.stage, findings=Findings(diagnoses, localisation, notes=(note,)))


class _Search:
    """Files with some weights in float32, each made and compared once."""

    def __init__(
        self, context: RepairContext, gate: Gate, mapping: Sequence[InputMapping], twin: LoadedModel, names: list[str]
    ) -> None:
        self.context, self.gate, self.mapping, self.twin, self.names = context, gate, mapping, twin, names
        self.order = names
        self.runs = 0
        self._made: dict[int, Mixed] = {}

    def with_float(self, names: Sequence[str]) -> Mixed:
        """Write and compare the file with these weights in float32. Raises :class:`WorkerFailed`."""
        context = self.context
        path = context.workers.scratch("mixed.tflite")
        size = RESTORE_FLOAT_WEIGHTS(
            _worker(context), _seconds(context), path=context.target.location, twin=self.twin.location,
            names=list(names), target=str(path),
        )  # fmt: skip
        model = LoadedModel(context.workers, "repaired target", TFLITE.written_at(path))
        decision = self.gate.consider(Candidate(model, words=f"{len(names)} weights in float32"))
        if decision.stage is None:
            raise WorkerFailed(decision.refusal)
        self.runs += 1
        return Mixed(decision.stage, tuple(names), int(size), decision)

    def costs(self, weights: Mapping[str, RoundedWeight]) -> dict[str, float]:
        """Return the cost of each weight's rounding; from now on the dearest for their size come first."""
        context = self.context
        rows = tuple(context.evaluation_set.rows[0][:MAX_ROWS_COSTED])
        arrays = apply_mapping(self.mapping, context.evaluation_set.inputs.read(rows))
        measured = ROUNDING_COSTS(
            _worker(context), _seconds(context), path=context.target.location, twin=self.twin.location,
            names=self.names, arrays=arrays, seconds=context.budget.left / 3,
        )  # fmt: skip
        self.runs += len(measured) + 1
        # What was not reached is large, and goes last.
        self.order = sorted(self.names, key=lambda name: -measured.get(name, 0.0) / max(1, weights[name].extra_bytes))
        return measured

    def first(self, count: int) -> Mixed:
        """Return the file with the first ``count`` weights of the order in float32."""
        if count not in self._made:
            self._made[count] = self.with_float(self.order[:count])
        return self._made[count]

    def fewest(self, whole: Mixed) -> Mixed:
        """The shortest beginning of the order that leaves as few inputs differing as were allowed, found by halving."""
        self._made[len(self.order)] = replace(whole, restored=tuple(self.order))
        low, high = 0, len(self.order)
        while low < high and self.context.budget.allows():
            middle = (low + high) // 2
            if self.first(middle).decision.labels_agree:
                high = middle
            else:
                low = middle + 1
        return self._made[high]

    def within(self, size: float) -> Mixed:
        """The longest beginning of the order with which the file is no larger; none restored where none fits."""
        low, high = 0, len(self.order)
        while low < high:
            middle = (low + high + 1) // 2
            if self.first(middle).size <= size:
                low = middle
            else:
                high = middle - 1
        return self.first(low)


def _worker(context: RepairContext) -> Worker:
    return context.workers.worker(TFLITE.worker, TFLITE.worker)


def _seconds(context: RepairContext) -> float:
    """What is left of --repair-time for the next call."""
    return max(context.budget.left, 1.0)


def _float32_twin(context: RepairContext) -> LoadedModel | None:
    """The Source as a float32 TFLite file that agrees with it."""
    context.observer.say("making the Source's own float32 TFLite file")
    stage = context.convert(context.source, TFLITE, context.shapes, context.evaluation_set.sample())
    return None if stage is None else stage.model


def _diagnoses(
    context: RepairContext,
    before: Comparison,
    weights: Mapping[str, RoundedWeight],
    rounding: Mapping[str, float],
    costs: Mapping[str, float],
    whole: Mixed,
    chosen: Mixed,
) -> tuple[Diagnosis, ...]:
    """One for each rounded weight, the dearest first: those restored where that is enough, else all, unrepaired."""
    # With none restored it is the file that was found to differ.
    is_enough = bool(chosen.restored) and chosen.decision.labels_agree
    arrays = context.evaluation_set.inputs.read(tuple(context.evaluation_set.rows[0][:1]))
    target_arrays = apply_mapping(whole.stage.mapping, arrays)
    source_names = origins(context.workers, context.source, arrays, whole.stage.model, target_arrays)
    return tuple(
        Diagnosis(
            type="WB",
            hop=context.hop,
            source_node=source_names.get(weights[name].node, ""),
            target_node=weights[name].node,
            evidence={
                "weight": name,
                "dtype": weights[name].dtype,
                "largest_rounding": rounding[name],
                "cost": costs.get(name),
                "cost_is": "mean square change of the outputs by this rounding alone",
            },
            repair="float32 instead of its rounding" if name in chosen.restored else "left as it is",
            percent_before=before.percent,
            is_repaired=is_enough,
        )
        for name in sorted(rounding, key=lambda name: -costs.get(name, 0.0))
        if name in chosen.restored or not is_enough
    )
