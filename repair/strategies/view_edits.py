"""Locate the Target's faults beside the Source, and repair them in the Target or in its ONNX view.

Both models are looked at as ONNX views (``conversion/onnx_view.py``), in which the faults are found by walking the
Target on the Source's activations (``repair/alignment/walk.py``). The gate keeps the repairs that are needed. They are
set in the Target's own file where that can be done; else the repaired view is converted back to the Target's format.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...checking.evaluation_set import Sample
from ...comparison.comparison import Comparison
from ...conversion.onnx_view import Pair, View, ordered
from ...errors import WorkerFailed
from ...formats import ONNX
from ...models.input_mapping import InputMapping, Mismatch, apply_mapping, map_inputs, sizes
from ...models.loaded_model import LoadedModel, shorten
from ...records import Diagnosis, Localisation, Refusal
from ..acceptance import Candidate, Decision, Gate, NeededRepairs
from ..context import Findings, Proposal, RepairContext, RepairState
from ..localization.finding import FaultSummary
from ..located_target import LocatedTarget
from ..native_format.fault_names import Names
from ..native_format.fault_types import merged, natively_typed
from ..remote_functions import LOCATE
from ..surroundings import neighbours
from ..tvm_exemptions import TvmExemptions
from . import float_weights
from .native_edits import diagnosed_in_own_file, in_own_format

Array = np.ndarray[Any, Any]
NAME = "edit the Target"
SHOWN = 3  # inputs that the walk is made on
MAX_UNRELATED_SHARE = 0.5  # of weighted layers with unrelated weights; above it the Target is another model


def applies(context: RepairContext, state: RepairState) -> bool:
    """The Target runs on the Source's inputs and differs, by more than rounding."""
    return state.model_differs(float_weights.NAME)


def propose(context: RepairContext, state: RepairState) -> Proposal:
    """Propose the Target with its faults repaired; without a stage, name them as far as they were found."""
    assert state.stage is not None
    search = _Search(context, state.stage.mapping, state.comparison)
    try:
        views = search.views()
        if isinstance(views, str):
            return Proposal(findings=Findings(reasons=(views,)))
        located = search.locate(*views)
        proposal = _Repair(context, search, located, context.gate(state.compared_stage, state.comparison)).propose()
    except WorkerFailed as error:
        return Proposal(findings=Findings(reasons=(f"the search for a repair ended early: {shorten(str(error))}",)))
    exemptions, findings = search.exemptions, proposal.findings
    findings = dataclasses.replace(
        findings,
        refused=(*findings.refused, *exemptions.refused),
        opinions=tuple(exemptions.opinions),
        has_runtime_differences=bool(exemptions.refused),
        pair=located.pair,
        located=located.target,
    )
    return dataclasses.replace(proposal, findings=findings)


@dataclass(frozen=True)
class _Located:
    """The located faults and the pair of views they were located in; ``stop_reason`` is "" where the search ended."""

    target: LocatedTarget
    pair: Pair
    stop_reason: str


class _Search:
    """The search for faults: two views, the walk, and the names of what it found in the models themselves.

    ``mapping`` says how the Source's inputs become the Target's; ``before`` compares the two over the calibration set.
    """

    def __init__(self, context: RepairContext, mapping: Sequence[InputMapping], before: Comparison) -> None:
        self.context, self.mapping, self.before = context, tuple(mapping), before
        self.source, self.target = context.source, context.target
        self.names = Names(context.workers, self.source, self.target, context.is_unquantized)
        self.exemptions = TvmExemptions(context.workers, context.options)

    def views(self) -> tuple[View, View] | str:
        """Return the views of Source and Target, or why there are none."""
        context, sample = self.context, self.context.evaluation_set.sample()
        source_view = context.view(self.source, context.shapes, sample)
        arrays = apply_mapping(self.mapping, sample.arrays)
        target_sample = Sample(arrays, self.target.run(arrays))
        target_view = context.view(self.target, sizes(self.mapping, context.shapes), target_sample)
        for view, model in ((source_view, self.source), (target_view, self.target)):
            if view is None:
                return f"no converter gives an ONNX view that agrees with {model.path.name}: faults were not searched"
        assert source_view is not None
        assert target_view is not None
        return source_view, target_view

    def locate(self, source_view: View, target_view: View) -> _Located:
        """Walk the Target's view on the Source's activations, and find the native names of the faults."""
        context = self.context
        context.workers.restart("target")  # the views that were checked are files now; their sessions hold memory
        context.observer.say("looking for the nodes at fault")
        with context.clock("localise"):
            arrays = context.evaluation_set.inputs.read(self._rows(source_view, target_view))
            source_arrays = apply_mapping(source_view.mapping, arrays)
            target_arrays = apply_mapping(target_view.mapping, apply_mapping(self.mapping, arrays))
            order = tuple(ordered(source_view, self.source.output_names, self.target.output_names))
            located = self._located(source_view, target_view, source_arrays, target_arrays, order)
            stop_reason = self.exemptions.after(located)
            row = {name: array[:1] for name, array in arrays.items()}
            if located.faults:
                context.observer.say("finding the names of the layers at fault")
                self.names.look(located, row, apply_mapping(self.mapping, row))
        source_mapping = map_inputs(self.source.signature, context.shapes, self.source.signature)
        assert not isinstance(source_mapping, Mismatch)
        pair = Pair(
            self.source, self.target, source_view, target_view, source_mapping, self.mapping, order, row,
            context.is_unquantized,
        )  # fmt: skip
        return _Located(located, pair, stop_reason)

    def _located(
        self,
        source_view: View,
        target_view: View,
        source_arrays: Mapping[str, Array],
        target_arrays: Mapping[str, Array],
        order: tuple[str, ...],
    ) -> LocatedTarget:
        source, activations = self.exemptions.before(source_view.path, source_arrays, target_view.path, target_arrays)
        seconds, is_unquantized = self.context.budget.left, self.context.is_unquantized
        return LocatedTarget(
            self.context.workers,
            lambda worker: LOCATE(
                worker,
                None,
                source=str(source),
                target=str(target_view.path),
                arrays=source_arrays,
                target_inputs=target_arrays,
                order=order,
                is_unquantized=is_unquantized,
                seconds=seconds,
                activations=None if activations is None else str(activations),
            ),
        )

    def _rows(self, *views: View) -> tuple[int, ...]:
        """The inputs to walk on: those that differ first, as many as the views' batches allow."""
        rows = self.context.evaluation_set.rows[0]
        chosen = [row for row in self.before.differing if row in set(rows)]
        chosen += [row for row in rows if row not in set(chosen)]
        count = min((view.batch for view in views if view.batch), default=SHOWN)
        return tuple((chosen * count)[:count] if count > len(chosen) else chosen[:count])


class _Repair:
    """The repair of located faults."""

    def __init__(self, context: RepairContext, search: _Search, located: _Located, gate: Gate) -> None:
        self.context, self.search, self.gate = context, search, gate
        self.located, self.stop_reason = located.target, located.stop_reason
        self.faults, self.names = located.target.faults, search.names

        self.around = neighbours(context.workers, located.pair, self.faults)

    def propose(self) -> Proposal:
        share = self.located.result.unrelated_weights
        is_another_model = share > MAX_UNRELATED_SHARE
        reasons = [self.stop_reason] if self.stop_reason else []
        if is_another_model:
            layers = f"{share:.0%} of the weighted layers looked at"
            reasons = [f"the Target is another model: the weights of {layers} have nothing to do with the Source's"]
        repairable = [index for index, fault in enumerate(self.faults) if fault.is_repairable]
        if not self.context.is_unquantized and not repairable and (self.faults or not reasons):
            return self._explained_by_quantisation()
        if is_another_model or not repairable or self.context.options.no_repair:
            return self._unrepaired(reasons, has_unrelated_weights=is_another_model)
        needed = self.gate.fewest_repairs(repairable, self._with_repairs, self.context.budget.allows)
        if isinstance(needed, Decision):
            return self._unrepaired([*reasons, f"no repair helps: {needed.refusal}"])
        return self._repaired(needed, repairable, reasons)

    def _with_repairs(self, chosen: Sequence[int]) -> Candidate:
        """The Target's view with the repairs of these faults made."""
        workers = self.context.workers
        path = workers.scratch("repaired.onnx")
        self.located.write(path, chosen)
        model = LoadedModel(workers, "onnx_tflite", ONNX.written_at(path))
        return Candidate(model, tuple(chosen), "the ONNX view of the Target, edited")

    def _unrepaired(self, reasons: Sequence[str], *, has_unrelated_weights: bool = False) -> Proposal:
        diagnoses = tuple(self._diagnose(index, is_repaired=False) for index in range(len(self.faults)))
        findings = Findings(
            diagnoses, self._localisation, reasons=tuple(reasons), has_unrelated_weights=has_unrelated_weights
        )
        return Proposal(findings=findings)

    def _explained_by_quantisation(self) -> Proposal:
        """A quantised model that differs by nothing that can be told from its rounding."""
        reason = (
            "no layer differs by more than its quantisation explains: quantise again on more inputs, or allow for it "
            "with --max-discrepancy"
        )
        refused = tuple(
            Refusal(fault.type, self.names.pairs[index][1], "differs by no more than quantisation may explain")
            for index, fault in enumerate(self.faults)
        )
        return Proposal(findings=Findings(localisation=self._localisation, refused=refused, reasons=(reason,)))

    def _repaired(self, needed: NeededRepairs, repairable: Sequence[int], reasons: Sequence[str]) -> Proposal:
        """The Target with the needed repairs, in its own format."""
        target, chosen = self.context.target, needed.decision.candidate.faults
        own_format = in_own_format(self.context, self.gate, self.located, self.names, needed.decision)
        stage, notes = own_format.stage, []
        if stage is not None and target.signature.quantized and not stage.model.signature.quantized:
            notes.append("the repaired Target is float32: its quantisation could not be kept; quantise it again")
        if stage is None:
            reasons = [*reasons, f"no converter gives the repaired model back as {target.format}"]
        diagnoses = []
        for index in range(len(self.faults)):
            if index in chosen or index not in repairable:
                is_repaired = index in chosen and stage is not None
                percent = needed.percents.get(index, self.search.before.percent)
                diagnosis = self._diagnose(index, is_repaired=is_repaired, percent=percent)
                change = own_format.changes.get(index)
                diagnoses.append(diagnosis if change is None else diagnosed_in_own_file(diagnosis, change))
        refused = tuple(
            Refusal(
                fault.type,
                self.names.pairs[index][1],
                f"differs, and the Target agrees all the same: {fault.description}",
            )
            for index, fault in enumerate(self.faults)
            if index in repairable and index not in chosen
        )
        findings = Findings(
            tuple(merged(natively_typed(diagnoses, self.names))),
            self._localisation,
            refused,
            tuple(reasons),
            tuple(notes),
        )
        return Proposal(stage, findings=findings)

    @property
    def _localisation(self) -> Localisation:
        ranking = tuple((*names, _score(fault)) for names, fault in zip(self.names.pairs, self.faults, strict=True))
        return Localisation("replay", self.search.exemptions.engine, self.located.result.model_runs, ranking)

    def _diagnose(self, index: int, *, is_repaired: bool, percent: float | None = None) -> Diagnosis:
        """``percent`` is the discrepancy with this fault alone, None: with all."""
        fault, (source_node, target_node) = self.faults[index], self.names.pairs[index]
        return Diagnosis(
            type=fault.type,
            hop=self.context.hop,
            source_node=source_node,
            target_node=target_node,
            evidence={**fault.evidence, **self.names.operations(index, fault), "neighbours": self.around[index]},
            repair=fault.description,
            percent_before=self.search.before.percent if percent is None else percent,
            is_repaired=is_repaired,
        )


def _score(fault: FaultSummary) -> float:
    return float("inf") if fault.local_difference is None else fault.local_difference
