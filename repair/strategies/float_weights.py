"""A TFLite Target whose labels differ by the rounding of its weights alone: which of them to hold in float32 again.

Its weights are paired with those of the Source's own float32 conversion (``runtimes/litert/float_weights.py``).
Where the
file agrees with all of them restored, rounding is what was wrong with it. Between all in float32 and the file as it
was there are the mixed ones: each weight's rounding has a cost, the change of the outputs by itself, and the dearest
for their size come first. ``--max-size`` says how large the file may be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...comparison.compare import Comparison
from ...conversion.onnx_view import convert_verified
from ...conversion.stage import ConvertedModel
from ...errors import WorkerFailed
from ...formats import TFLITE
from ...models.input_mapping import InputMapping, apply_mapping
from ...models.loaded import LoadedModel
from ...records import Fault, Localisation
from ...runtimes.litert.float_weights import RoundedWeight
from ...workers.pool import Worker
from ...workers.runtime_functions import MATCH_ROUNDINGS, RESTORE_FLOAT_WEIGHTS, ROUNDED_WEIGHTS, ROUNDING_COSTS
from ..acceptance import Candidate, Decision, Gate
from ..native_format.names import origins
from .view_edits import Outcome, Repairer

Array = np.ndarray[Any, Any]
COSTED = 8  # calibration inputs on which each weight's cost is measured
MAX_ROWS_COMPARED = 512  # calibration inputs on which a file with some weights in float32 is compared
MB = 1e6  # bytes


@dataclass(frozen=True)
class Mixed:
    """The file with some weights in float32: which, its size in bytes, and how it compares over calibration inputs."""

    stage: ConvertedModel
    restored: tuple[str, ...]
    size: int
    decision: Decision

    def words(self, weights: int) -> str:
        one = self.decision.comparison
        what = f"{len(self.restored)} of {weights} rounded weights in float32"
        return f"{what}: {self.size / MB:.2f} MB, {one.labels_differ} of {one.count} calibration inputs differ"


def restored(repairer: Repairer, mapping: Sequence[InputMapping], before: Comparison) -> Outcome | None:
    """The Target with weights in float32 again; None where rounding is not what is wrong with it, or not all.

    All of them are, so that values too can be held against the Source's, or as many as ``--max-size`` leaves room for.
    """
    target, options = repairer.target, repairer.options
    if target.format != TFLITE or not target.signature.quantized or repairer.source.signature.quantized:
        return None
    try:
        worker, seconds = _worker(repairer), _seconds(repairer)
        weights = {weight.name: weight for weight in ROUNDED_WEIGHTS(worker, seconds, path=target.location)}
        twin = _twin(repairer) if weights else None
        if twin is None:
            return None
        rounding = MATCH_ROUNDINGS(worker, _seconds(repairer), path=target.location, twin=twin.location)
        if not rounding:
            return None
        gate = repairer.gate(mapping, before, MAX_ROWS_COMPARED)
        search = _Search(repairer, gate, mapping, twin, list(rounding))
        whole = search.with_float(search.names)
        if not whole.decision.agrees:
            return None
        repairer.observer.say("measuring what the rounding of each weight costs")
        costs = search.costs(weights)
        few = search.fewest(whole)
        chosen = whole if options.max_size is None else search.within(options.max_size * MB)
        faults = _faults(repairer, before, weights, rounding, costs, whole, chosen)
    except WorkerFailed:
        return None  # the walk looks for what is wrong then
    given = f"all rounded: {target.path.stat().st_size / MB:.2f} MB, "
    given += f"{before.labels_differ} of {before.count} calibration inputs differ"
    notes = (
        f"the Target's weights are the Source's, rounded. {given}; {few.words(len(weights))}; "
        f"{whole.words(len(weights))}. "
        + ("--max-size takes one within a size" if options.max_size is None else f"Taken: {chosen.size / MB:.2f} MB"),
    )
    ranking = tuple((fault.source_node, fault.target_node, fault.evidence["cost"] or 0.0) for fault in faults)
    looked = Localisation("replay", "native", search.runs, ranking)
    return Outcome(chosen.stage, tuple(faults), looked, attempts=tuple(repairer.attempts), notes=notes)


class _Search:
    """Files with some weights in float32, each made and compared once."""

    def __init__(
        self, repairer: Repairer, gate: Gate, mapping: Sequence[InputMapping], twin: LoadedModel, names: list[str]
    ) -> None:
        self.repairer, self.gate, self.mapping, self.twin, self.names = repairer, gate, mapping, twin, names
        self.order = names
        self.runs = 0
        self._made: dict[int, Mixed] = {}

    def with_float(self, names: Sequence[str]) -> Mixed:
        repairer = self.repairer
        path = repairer.workers.scratch("mixed.tflite")
        size = RESTORE_FLOAT_WEIGHTS(
            _worker(repairer), _seconds(repairer), path=repairer.target.location, twin=self.twin.location,
            names=list(names), target=str(path),
        )  # fmt: skip
        side = LoadedModel(repairer.workers, "mended", TFLITE.written_at(path))
        decision = self.gate.consider(Candidate(side, words=f"{len(names)} weights in float32"))
        if decision.stage is None:
            raise WorkerFailed(decision.refusal)
        self.runs += 1
        return Mixed(decision.stage, tuple(names), int(size), decision)

    def costs(self, weights: Mapping[str, RoundedWeight]) -> dict[str, float]:
        """Each weight's cost; from now on the dearest for their size come first."""
        repairer = self.repairer
        rows = tuple(repairer.evaluation_set.rows[0][:COSTED])
        arrays = apply_mapping(self.mapping, repairer.evaluation_set.inputs.read(rows))
        found = ROUNDING_COSTS(
            _worker(repairer), _seconds(repairer), path=repairer.target.location, twin=self.twin.location,
            names=self.names, arrays=arrays, seconds=repairer.budget.left / 3,
        )  # fmt: skip
        self.runs += len(found) + 1
        # What was not reached is large, and goes last.
        self.order = sorted(self.names, key=lambda name: -found.get(name, 0.0) / max(1, weights[name].extra_bytes))
        return found

    def first(self, count: int) -> Mixed:
        if count not in self._made:
            self._made[count] = self.with_float(self.order[:count])
        return self._made[count]

    def fewest(self, whole: Mixed) -> Mixed:
        """The shortest beginning of the order that leaves as few inputs differing as were allowed, found by halving."""
        self._made[len(self.order)] = replace(whole, restored=tuple(self.order))
        low, high = 0, len(self.order)
        while low < high and self.repairer.budget.allows():
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


def _worker(repairer: Repairer) -> Worker:
    return repairer.workers.worker(TFLITE.worker, TFLITE.worker)


def _seconds(repairer: Repairer) -> float:
    """What is left of --repair-time for the next call."""
    return max(repairer.budget.left, 1.0)


def _twin(repairer: Repairer) -> LoadedModel | None:
    """The Source as a float32 TFLite file that agrees with it."""
    source = repairer.source
    repairer.observer.say("making the Source's own float32 TFLite file")
    shapes = {name: list(shape) for name, shape in repairer.shapes.items()}
    stage, attempts = convert_verified(
        repairer.workers,
        source,
        "tflite",
        shapes,
        repairer.evaluation_set.sample(),
        repairer.settings,
        repairer.observer.say,
    )
    repairer.attempts += attempts
    return None if stage is None else stage.side


def _faults(
    repairer: Repairer,
    before: Comparison,
    weights: Mapping[str, RoundedWeight],
    rounding: Mapping[str, float],
    costs: Mapping[str, float],
    whole: Mixed,
    chosen: Mixed,
) -> list[Fault]:
    """One for each rounded weight, the dearest first: those restored where that is enough, else all, unrepaired."""
    # With none restored it is the file that was found to differ.
    enough = bool(chosen.restored) and chosen.decision.labels_agree
    arrays = repairer.evaluation_set.inputs.read(tuple(repairer.evaluation_set.rows[0][:1]))
    side = whole.stage.side
    found = origins(repairer.workers, repairer.source, arrays, side, apply_mapping(whole.stage.mapping, arrays))
    faults = []
    for name in sorted(rounding, key=lambda name: -costs.get(name, 0.0)):
        node = weights[name].node
        evidence = {
            "weight": name,
            "dtype": weights[name].dtype,
            "largest_rounding": rounding[name],
            "cost": costs.get(name),
            "cost_is": "mean square change of the outputs by this rounding alone",
        }
        if enough and name not in chosen.restored:
            continue
        status = "repaired" if enough else "unrepaired"
        words = "float32 instead of its rounding" if name in chosen.restored else "left as it is"
        hop = f"{repairer.source.format}->tflite"
        faults.append(Fault("WB", hop, found.get(node, ""), node, evidence, status, before.percent, None, words))
    return faults
