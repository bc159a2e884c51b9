"""A Target that came from anywhere: judged, and mended where it differs.

In the order in which the faults hide one another: its input's dimensions (ID), the preparing of its images by the
deployment (PP), and the model itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from ..checking.evaluation_set import EvaluationSet
from ..checking.verdict import Judgement, judge
from ..comparison.acceptance import is_closer
from ..comparison.compare import all_rows_differ
from ..conversion.stage import ConvertedModel
from ..conversion.time_budget import RepairTime
from ..errors import WorkerFailed
from ..models.input_mapping import Mismatch, map_inputs
from ..models.loaded import LoadedModel
from ..options import Observer, Options
from ..records import Attempt, Fault, Verdict
from ..repair.acceptance import repaired
from ..repair.second_runtime_faults import differing_operators
from ..repair.strategies.float_weights import restored
from ..repair.strategies.input_shapes import Dimensions
from ..repair.strategies.preprocessing import Pipeline, differing
from ..repair.strategies.reconversion import reconvert
from ..repair.strategies.view_edits import Outcome, Repairer, apart
from ..workers.pool import WorkerPool


@dataclass(frozen=True)
class RepairResult:
    """The judgement of what became of the Target; the faults of ``outcome`` have their final percentages.

    ``evaluation_set`` is the one that the judgement holds for: it says how the Target's images must be prepared.
    """

    judgement: Judgement
    side: LoadedModel
    evaluation_set: EvaluationSet
    outcome: Outcome = field(default_factory=Outcome)


@dataclass
class RepairRun:
    """One Target beside its Source. ``clock`` measures what a step takes."""

    workers: WorkerPool
    evaluation_set: EvaluationSet
    target: LoadedModel
    shapes: Any
    options: Options
    observer: Observer
    clock: Callable[[str], AbstractContextManager[None]]
    timings: dict[str, float]

    def settle(self) -> RepairResult:
        source = self.evaluation_set.source
        mapping = map_inputs(source.signature, self.shapes, self.target.signature)
        found = (
            self._resized(mapping) if isinstance(mapping, Mismatch) else self._fed(ConvertedModel(self.target, mapping))
        )
        compared = found.judgement.compared
        percent = None if compared is None else compared[0].percent
        faults = tuple(replace(fault, percent_after=percent) for fault in found.outcome.faults)
        return replace(found, outcome=replace(found.outcome, faults=faults))

    def _repairer(self, side: LoadedModel) -> Repairer:
        return Repairer(self.workers, self.evaluation_set, side, self.shapes, self.options, self.observer)

    @cached_property
    def deployed(self) -> EvaluationSet:
        """The evaluation set with the Target's images prepared as the deployment does."""
        return self.evaluation_set.as_deployed()

    def _judge(self, stage: ConvertedModel, evaluation_set: EvaluationSet | None = None) -> Judgement:
        """The judgement on ``evaluation_set``; without one, as deployed."""
        with self.clock("check"):
            return judge(evaluation_set or self.deployed, stage.side, stage.mapping)

    def _resized(self, mismatch: Mismatch) -> RepairResult:
        """The Target with the Source's dimensions at its input, and mended in whatever else is wrong with it."""
        compared = tuple(all_rows_differ(len(rows), mismatch.reason) for rows in self.evaluation_set.rows)
        before = (compared[0], compared[1])
        repairer = self._repairer(self.target)
        look = Dimensions(repairer)
        stage, why = None, ""
        if not self.options.no_repair:
            with self.clock("repair"):
                stage, why = look.redimensioned()
        if stage is None:
            judgement = Judgement(Verdict.DIVERGED, (mismatch.reason, *([why] if why else [])), before)
            left = Outcome(None, tuple(look.faults("unrepaired")), attempts=tuple(repairer.attempts))
            anew = reconvert(repairer, (), before[0], left)
            if anew.stage is None:
                return RepairResult(judgement, self.target, self.deployed, anew)
            judgement = repaired(self._judge(anew.stage), (before[0], before[1]))
            return RepairResult(judgement, anew.stage.side, self.deployed, anew)
        stage = apart(stage)
        found = self._fed(stage)
        good = found.judgement.verdict in (Verdict.VERIFIED, Verdict.REPAIRED)
        faults = look.faults("repaired" if good else "unrepaired")
        judgement = repaired(found.judgement, before)
        outcome = look.in_own_names(found.outcome, stage)
        return RepairResult(judgement, found.side, found.evaluation_set, _with(outcome, faults, repairer.attempts))

    def _fed(self, stage: ConvertedModel) -> RepairResult:
        """A Target that takes the Source's inputs."""
        judgement = self._judge(stage)
        if judgement.verdict is not Verdict.DIVERGED or judgement.compared is None:
            return RepairResult(judgement, stage.side, self.deployed)
        right, deployed = self.evaluation_set.preprocess, self.evaluation_set.deployment
        if right is not None and deployed is not None and differing(right, deployed, self.evaluation_set.image_input()):
            return self._deployed(stage, judgement)
        return self._mended(stage, judgement, self.deployed)

    def _mended(self, stage: ConvertedModel, judgement: Judgement, evaluation_set: EvaluationSet) -> RepairResult:
        """Faults of the model itself. Both sides are fed the same."""
        assert judgement.compared is not None
        before, side = judgement.compared, stage.side
        in_second_runtime = (
            judgement.in_second_runtime
        )  # set where LiteRT is right: what the other computes otherwise is at fault
        repairer = self._repairer(side)
        repairer.compared_target = in_second_runtime
        with self.clock("repair"), repairer.budget.running():
            rounded = None if self.options.no_repair else restored(repairer, stage.mapping, before[0])
            outcome = rounded or repairer.repair(stage.mapping, before[0])
            self.timings["localise"] = self.timings.get("localise", 0.0) + repairer.localising
            if outcome.stage is None:
                outcome = reconvert(repairer, stage.mapping, before[0], outcome)
        if repairer.budget.cut:
            outcome = replace(outcome, reasons=(*outcome.reasons, repairer.budget.cut))
        if outcome.stage is not None:
            side = outcome.stage.side
            judgement = self._judge(outcome.stage, evaluation_set)
            if rounded is None:
                outcome, judgement = self._unrounded(outcome, judgement, repairer.budget, evaluation_set)
                side = outcome.stage.side if outcome.stage else side
            judgement = repaired(judgement, before)
        if judgement.verdict is not Verdict.REPAIRED:
            judgement = replace(judgement, reasons=(*judgement.reasons, *outcome.reasons))
        if in_second_runtime is not None:
            found = self._computed_otherwise(in_second_runtime, stage, before[0].percent, judgement.verdict)
            outcome = replace(outcome, faults=(*outcome.faults, *found))
        return RepairResult(judgement, side, evaluation_set, outcome)

    def _computed_otherwise(
        self, in_second_runtime: LoadedModel, stage: ConvertedModel, percent: float | None, verdict: Verdict
    ) -> list[Fault]:
        """The operators of the Target as it was that its second runtime gets wrong."""
        source, arrays = self.evaluation_set.source, self.evaluation_set.inputs.read(self.evaluation_set.rows[0][:1])
        try:
            found = differing_operators(source, in_second_runtime, stage.mapping, arrays, self.options.tolerance)
        except WorkerFailed:
            return []
        hop, status, words = f"{source.format}->{stage.format}", "unrepaired", ""
        if verdict is Verdict.REPAIRED:
            status, words = "repaired", "the Target was replaced by one that is right in both runtimes"
        return [
            Fault(
                one["type"], hop, one["source_name"], one["target_name"], one["evidence"], status, percent, None, words
            )
            for one in found
        ]

    def _unrounded(
        self, outcome: Outcome, judgement: Judgement, budget: RepairTime, evaluation_set: EvaluationSet
    ) -> tuple[Outcome, Judgement]:
        """The mended Target, where the rounding of weights is what still differs, with weights in float32 again."""
        stage, compared = outcome.stage, judgement.compared
        if stage is None or compared is None or judgement.verdict is not Verdict.DIVERGED:
            return outcome, judgement
        repairer = self._repairer(stage.side)
        repairer.budget = budget
        with self.clock("repair"), budget.running():
            rest = restored(repairer, stage.mapping, compared[0])
        if rest is None or rest.stage is None:
            return outcome, judgement
        both = replace(
            outcome,
            stage=rest.stage,
            faults=(*outcome.faults, *rest.faults),
            attempts=(*outcome.attempts, *rest.attempts),
            notes=(*outcome.notes, *rest.notes),
        )
        return both, self._judge(rest.stage, evaluation_set)

    def _deployed(self, stage: ConvertedModel, judgement: Judgement) -> RepairResult:
        """The deployment prepares images otherwise: is that the fault, the model, or are both?"""
        assert judgement.compared is not None
        evaluation_set, before = self.evaluation_set, judgement.compared
        pipeline = Pipeline(self._repairer(stage.side))
        if self.options.embed_preprocessing:
            pipeline.change()  # what cannot be done is the person's to know at once
        same = self._judge(stage, evaluation_set)
        found = RepairResult(same, stage.side, evaluation_set)
        if same.verdict is Verdict.DIVERGED and same.compared is not None:
            found = self._mended(stage, same, evaluation_set)
        stage = apart(found.outcome.stage or stage)
        if found.judgement.verdict not in (Verdict.VERIFIED, Verdict.REPAIRED):
            faults: list[Fault] = []
            if same.compared is not None and is_closer(same.compared[0], before[0]):
                faults = [pipeline.fault(stage, before[0].percent, "unrepaired", "the model must be right first")]
            return replace(found, evaluation_set=self.deployed, outcome=_with(found.outcome, faults))
        if found.outcome.stage is not None:
            judgement = self._judge(stage)
            if judgement.verdict is Verdict.VERIFIED:  # the Target was wrong, and what the deployment does is right
                return replace(found, judgement=repaired(judgement, before), evaluation_set=self.deployed)
        if judgement.compared is None:
            return replace(found, judgement=judgement, evaluation_set=self.deployed)
        percent = judgement.compared[0].percent
        if self.options.no_repair:
            fault = pipeline.fault(stage, percent, "unrepaired")
            return RepairResult(judgement, stage.side, self.deployed, _with(found.outcome, [fault]))
        if not self.options.embed_preprocessing:
            fault = pipeline.fault(stage, percent, "repaired")
            final = repaired(found.judgement, before)
            return RepairResult(final, stage.side, evaluation_set, _with(found.outcome, [fault]))
        return self._embedded(pipeline, stage, judgement, before, found.outcome)

    def _embedded(
        self, pipeline: Pipeline, stage: ConvertedModel, judgement: Judgement, before: Any, outcome: Outcome
    ) -> RepairResult:
        """The Target so changed that it takes what the deployment prepares; ``judgement`` is that of the unchanged."""
        assert judgement.compared is not None
        percent = judgement.compared[0].percent
        words = f"built into the Target: {pipeline.change().words}"
        with self.clock("repair"):
            made = pipeline.embedded(stage)
        attempts = pipeline.repairer.attempts
        if made is None:
            reason = f"no converter gives the Target back as {stage.format} with the preprocessing built in"
            fault = pipeline.fault(stage, percent, "unrepaired", reason)
            failed = replace(judgement, reasons=(*judgement.reasons, reason))
            return RepairResult(failed, stage.side, self.deployed, _with(outcome, [fault], attempts))
        final = self._judge(made)
        good = final.verdict is Verdict.VERIFIED
        fault = pipeline.fault(stage, percent, "repaired" if good else "unrepaired", words)
        final = repaired(final, before)
        return RepairResult(final, made.side, self.deployed, _with(outcome, [fault], attempts))


def _with(outcome: Outcome, faults: Sequence[Fault], attempts: Sequence[Attempt] = ()) -> Outcome:
    """The outcome with these faults found first, and these conversions made before."""
    return replace(outcome, faults=(*faults, *outcome.faults), attempts=(*attempts, *outcome.attempts))
