"""Repair a Target that came from anywhere: find its faults beside the Source, mend them, hand it back in its format.

Both models are looked at as ONNX views (``views``), in which the faults are found by walking the Target on the
Source's activations (``repair/alignment/walk.py``). A repair is kept only where the Target then agrees, and what
turns out
unneeded is dropped. The mended view goes back into the Target's own format by the real converters; whatever comes
of it is judged natively, from its bytes on disk, by the caller.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...checking.evaluation_set import EvaluationSet, Sample
from ...checking.tvm_check import RuntimeComparison
from ...comparison.compare import Comparison
from ...conversion.onnx_view import Pair, View, convert_verified, ordered, view
from ...conversion.stage import ConversionOptions, ConvertedModel
from ...conversion.time_budget import RepairTime
from ...errors import WorkerFailed
from ...formats import ONNX
from ...models.input_mapping import InputMapping, Mismatch, apply_mapping, map_inputs, sizes
from ...models.loaded import LoadedModel, shorten
from ...options import Observer, Options
from ...records import Attempt, Fault, Localisation, Refusal
from ...workers.pool import WorkerPool
from ..acceptance import MAX_ROWS_COMPARED, Candidate, Decision, Gate
from ..localization.finding import FaultSummary
from ..located_target import LocatedTarget
from ..native_format.fault_names import Names
from ..native_format.fault_types import merged, natively_typed
from ..remote_functions import LOCATE
from ..tvm_exemptions import TvmExemptions
from .native_edits import in_own_file, in_own_format

Array = np.ndarray[Any, Any]
SHOWN = 3  # inputs that the walk is made on
ALIEN = 0.5  # share of weighted layers with unrelated weights above which a Target is another model


@dataclass(frozen=True)
class Outcome:
    """What repair came to. ``stage`` is the Target to judge (None: none better than the one given).

    ``faults`` have no percentages after the whole repair yet: the final check gives them. ``pair`` is what they were
    looked for on, ``located`` what was found there, ``opinions`` what a second engine says of the views.
    """

    stage: ConvertedModel | None = None
    faults: tuple[Fault, ...] = ()
    localisation: Localisation | None = None
    refused: tuple[Refusal, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    unrelated_weights: bool = False
    pair: Pair | None = None
    located: LocatedTarget | None = None
    opinions: tuple[RuntimeComparison, ...] = ()


@dataclass
class Repairer:
    """One Target beside its Source; ``evaluation_set`` holds the inputs and the Source's answers."""

    workers: WorkerPool
    evaluation_set: EvaluationSet
    target: LoadedModel
    shapes: Mapping[str, Sequence[int | None]]
    options: Options
    observer: Observer
    attempts: list[Attempt] = field(default_factory=list)
    compared_target: LoadedModel | None = None  # the Target in its second runtime, where that is what differs

    def __post_init__(self) -> None:
        self.source = self.evaluation_set.source
        self.names = Names(self.workers, self.source, self.target, self.is_unquantized)
        self.beside = TvmExemptions(self.workers, self.options)
        self.localising = 0.0  # seconds from the views to the names of the faults
        self.budget = RepairTime(self.options.repair_time)
        options = self.options
        self.settings = ConversionOptions(
            options.tolerance, options.timeout, "keep", "none", None, options.signature, True, options.repair_time
        )

    @property
    def is_unquantized(self) -> bool:
        """Are both models free of quantisation?"""
        return not (self.source.signature.quantized or self.target.signature.quantized)

    def gate(self, mapping: Sequence[InputMapping], before: Comparison, max_rows: int = MAX_ROWS_COMPARED) -> Gate:
        """The gate for changes of this Target; an empty ``mapping``: it does not take the Source's inputs."""
        target = ConvertedModel(self.compared_target or self.target, tuple(mapping)) if mapping else None
        return Gate(
            self.evaluation_set, self.shapes, target, before, is_unquantized=self.is_unquantized, max_rows=max_rows
        )

    def repair(self, mapping: Sequence[InputMapping], before: Comparison) -> Outcome:
        """Locate the Target's faults and repair them; an outcome that says so where a worker fails for good.

        ``before`` compares Source and Target over the calibration set, on which they differ.
        """
        try:
            return self._repair(mapping, before)
        except WorkerFailed as error:
            reason = f"the search for a repair ended early: {shorten(str(error))}"
            return Outcome(attempts=tuple(self.attempts), reasons=(reason,))

    def _repair(self, mapping: Sequence[InputMapping], before: Comparison) -> Outcome:
        sample = self.evaluation_set.sample()
        theirs = self._view(self.source, self.shapes, sample)
        ours = self._view(self.target, sizes(mapping, self.shapes), self._target_sample(mapping, sample))
        for one, side in ((theirs, self.source), (ours, self.target)):
            if one is None:
                reason = f"no converter gives an ONNX view that agrees with {side.path.name}: no look for faults"
                return Outcome(attempts=tuple(self.attempts), reasons=(reason,))
        assert theirs is not None
        assert ours is not None
        self.workers.restart("target")  # the views that were checked there are files now; their sessions hold memory
        self.observer.say("looking for the nodes at fault")
        begun = time.monotonic()
        rows = self._rows(before, theirs, ours)
        arrays = self.evaluation_set.inputs.read(rows)
        taken, given = (
            apply_mapping(theirs.mapping, arrays),
            apply_mapping(ours.mapping, apply_mapping(mapping, arrays)),
        )
        source, activations = self.beside.before(theirs.path, taken, ours.path, given)
        order, seconds = tuple(self._order(theirs)), self.budget.left
        located = LocatedTarget(
            self.workers,
            lambda worker: LOCATE(
                worker,
                None,
                source=str(source),
                target=str(ours.path),
                arrays=taken,
                given=given,
                order=order,
                is_unquantized=self.is_unquantized,
                seconds=seconds,
                activations=None if activations is None else str(activations),
            ),
        )
        stop_reason = self.beside.after(located)
        row = {name: array[:1] for name, array in arrays.items()}
        if located.faults:
            self.observer.say("naming what was found")
            self.names.look(located, row, apply_mapping(mapping, row))
        self.localising = time.monotonic() - begun
        plain = map_inputs(self.source.signature, self.shapes, self.source.signature)
        assert not isinstance(plain, Mismatch)
        pair = Pair(self.source, self.target, theirs, ours, plain, tuple(mapping), order, row, self.is_unquantized)
        made = self._mend(self.gate(mapping, before), before, located, stop_reason)
        refused, opinions = (*made.refused, *self.beside.refused), tuple(self.beside.opinions)
        return dataclasses.replace(made, pair=pair, located=located, refused=refused, opinions=opinions)

    def _target_sample(self, mapping: Sequence[InputMapping], sample: Sample) -> Sample:
        """The sample as the Target takes and answers it."""
        arrays = apply_mapping(mapping, sample.arrays)
        return Sample(arrays, self.target.run(arrays))

    def view_of(
        self, side: LoadedModel, shapes: Mapping[str, Sequence[int | None]], arrays: Mapping[str, Array]
    ) -> View | None:
        """The ONNX view of a model, held against the model itself on these inputs of its own."""
        return self._view(side, shapes, Sample(arrays, side.run(arrays)))

    def _view(self, side: LoadedModel, shapes: Mapping[str, Sequence[int | None]], sample: Sample) -> View | None:
        self.observer.say(f"making the ONNX view of {side.path.name}")
        own = {name: list(shape) for name, shape in shapes.items()}
        made = view(self.workers, side, own, sample, self.settings, self.observer.say)
        if made is not None:
            self.attempts += made.attempts
        return made

    def _rows(self, before: Comparison, *views: View) -> tuple[int, ...]:
        """The inputs to walk on: those that differ first, as many as the views' batches allow."""
        rows = self.evaluation_set.rows[0]
        chosen = [row for row in before.differing if row in set(rows)]
        chosen += [row for row in rows if row not in set(chosen)]
        fixed = min((one.batch for one in views if one.batch), default=SHOWN)
        return tuple((chosen * fixed)[:fixed] if fixed > len(chosen) else chosen[:fixed])

    def _order(self, theirs: View) -> list[str]:
        """The Source view's outputs in the order in which the Target gives them."""
        return ordered(theirs, self.source.output_names, self.target.output_names)

    # -- mending

    def _with_repairs(self, located: LocatedTarget, chosen: Sequence[int]) -> Candidate:
        """The Target's view with the repairs of these faults made."""
        path = self.workers.scratch("repaired.onnx")
        located.write(path, chosen)
        model = LoadedModel(self.workers, "onnx_tflite", ONNX.written_at(path))
        return Candidate(model, tuple(chosen), "the ONNX view of the Target, edited")

    def _mend(self, gate: Gate, before: Comparison, located: LocatedTarget, stop_reason: str) -> Outcome:
        faults, unrelated_weights = located.faults, located.result.unrelated_weights
        ranking = tuple((*names, _score(one)) for names, one in zip(self.names.pairs, faults, strict=True))
        looked = Localisation("replay", self.beside.engine, located.result.model_runs, ranking)
        reasons = [stop_reason] if stop_reason else []
        if unrelated_weights > ALIEN:
            share = f"{unrelated_weights:.0%} of the weighted layers looked at"
            reasons = [f"the Target is another model: the weights of {share} have nothing to do with the Source's"]
        usable = [index for index, one in enumerate(faults) if one.is_repairable]
        if not self.is_unquantized and not usable and (faults or not reasons):
            return self._quantised(faults, looked)
        if unrelated_weights > ALIEN or not usable or self.options.no_repair:
            left = tuple(self._fault(i, one, "unrepaired", before.percent) for i, one in enumerate(faults))
            is_unrelated = unrelated_weights > ALIEN
            return Outcome(None, left, looked, (), tuple(self.attempts), tuple(reasons), unrelated_weights=is_unrelated)
        needed = gate.fewest_repairs(usable, lambda faults: self._with_repairs(located, faults), self.budget.allows)
        if isinstance(needed, Decision):
            left = tuple(self._fault(i, one, "unrepaired", before.percent) for i, one in enumerate(faults))
            return Outcome(
                None, left, looked, (), tuple(self.attempts), (*reasons, f"no repair helps: {needed.refusal}")
            )
        mended, chosen, percents = needed.decision, needed.decision.candidate.faults, needed.percents
        refused = tuple(
            Refusal(
                one.type, self.names.pairs[index][1], f"differs, and the Target agrees all the same: {one.description}"
            )
            for index, one in enumerate(faults)
            if index in usable and index not in chosen
        )
        notes: list[str] = []
        stage, set_in = in_own_format(self, located, gate, mended, self.names.pairs)
        if stage is not None and self.target.signature.quantized and not stage.side.signature.quantized:
            notes.append("the repaired Target is float32: its quantisation could not be kept; quantise it again")
        if stage is None:
            reasons.append(f"no converter gives the repaired model back as {self.target.format}")
        told = []
        for index, one in enumerate(faults):
            if index in chosen or index not in usable:
                status = "repaired" if index in chosen and stage is not None else "unrepaired"
                fault = self._fault(index, one, status, percents.get(index, before.percent))
                told.append(in_own_file(fault, set_in[index]) if index in set_in else fault)
        told = natively_typed(told, self.names)
        return Outcome(stage, tuple(merged(told)), looked, refused, tuple(self.attempts), tuple(reasons), tuple(notes))

    def _quantised(self, faults: Sequence[FaultSummary], looked: Localisation) -> Outcome:
        """A quantised model that differs, and not by anything that can be told from its rounding."""
        refused = tuple(
            Refusal(one.type, self.names.pairs[index][1], "differs by no more than quantisation may explain")
            for index, one in enumerate(faults)
        )
        reason = (
            "no layer differs by more than its quantisation explains: quantise again on more inputs, or allow for it "
            "with --max-discrepancy"
        )
        return Outcome(None, (), looked, refused, tuple(self.attempts), (reason,))

    # -- back into the Target's format

    def back(self, side: LoadedModel, sample: Sample | None = None) -> ConvertedModel | None:
        """The repaired view as a model of the Target's format. ``sample`` has inputs in the Source's names and layout,
        and what the view gives for them: the Source's own, where none is given."""
        planned = map_inputs(self.source.signature, self.shapes, side.signature)
        assert not isinstance(planned, Mismatch)
        if self.target.format.is_view:
            return ConvertedModel(side, planned)
        sample = sample or self.evaluation_set.sample()
        taken = Sample(apply_mapping(planned, sample.arrays), sample.outputs)
        self.observer.say(f"bringing the repaired model back to {self.target.format}")
        stage, attempts = convert_verified(
            self.workers,
            side,
            self.target.format.name,
            sizes(planned, self.shapes),
            taken,
            self.settings,
            self.observer.say,
        )
        self.attempts += attempts
        if stage is None:
            return None
        again = map_inputs(self.source.signature, self.shapes, stage.side.signature)
        return None if isinstance(again, Mismatch) else ConvertedModel(stage.side, again)

    # -- telling

    def _fault(self, index: int, one: FaultSummary, status: str, percent: float | None) -> Fault:
        return Fault(
            one.type,
            f"{self.source.format}->{self.target.format}",
            *self.names.pairs[index],
            {**one.evidence, **self.names.operations(index, one)},
            status,
            percent,
            None,
            one.description,
        )


def apart(stage: ConvertedModel) -> ConvertedModel:
    """The model in a child that no conversion uses: the one called ``target`` is stopped for another framework."""
    if stage.side.worker_name != "target":
        return stage
    side = LoadedModel(stage.side.workers, "mended", stage.side.file, stage.side.options)
    side.worker()
    return dataclasses.replace(stage, side=side)


def _score(one: FaultSummary) -> float:
    return float("inf") if one.local_difference is None else one.local_difference
