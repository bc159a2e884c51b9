"""``safeconvert repair``: find what is wrong with a Target that came from anywhere, repair it, and hand it over.

The strategies (``repair/strategies/__init__.py``) are tried one after another, each on what the ones before it left.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ..checking.evaluation_set import EvaluationSet
from ..conversion.stage import ConvertedModel
from ..conversion.time_budget import RepairTime
from ..formats import ModelFile
from ..models.loaded_model import LoadedModel
from ..quantization.range_notes import range_notes
from ..records import Diagnosis, Fault, Localisation
from ..repair.acceptance import repaired
from ..repair.context import Proposal, RepairContext, RepairState, Strategy, in_own_worker
from ..repair.layer_ranking import LayerRanker, check_core_layers
from ..repair.strategies import STRATEGIES
from .base import Run
from .outcome import RunOutcome, mismatched
from .result import Result

REPORT_ORDER = {"ID": 0, "PP": 1}  # faults of the inputs come before those of the model


class RepairRun(Run):
    """One run that repairs a Target."""

    def run(self, file: ModelFile, final: Path) -> Result:
        """Repair the Target and put it at ``final``, where it then agrees with the Source."""
        command = ["safeconvert", "repair", str(self.source.path), str(file.path), "-o", str(final)]
        self.command = [*command, *self.options.arguments()]
        check_core_layers(self.workers, self.options)
        target = self.start_target("target to repair", file)
        with self.evaluation_set() as evaluation_set:
            return self.reported(lambda: self._repair(evaluation_set, target, final), evaluation_set, final=final)

    def _repair(self, evaluation_set: EvaluationSet, target: LoadedModel, final: Path) -> Result:
        self.load_target(target, evaluation_set)
        context = self._context(evaluation_set, target)
        state = self._first_state(context)
        for strategy in STRATEGIES:
            state = self._try(strategy, context, state)
        return self._hand_over(context, state, final)

    def _context(self, evaluation_set: EvaluationSet, target: LoadedModel) -> RepairContext:
        budget = RepairTime(self.options.repair_time)
        deployed = evaluation_set.as_deployed()
        return RepairContext(
            self.workers, evaluation_set, deployed, target, self.shapes, budget, self.clock, self.attempts
        )

    def _first_state(self, context: RepairContext) -> RepairState:
        """The Target as it was given."""
        mapping = self.map_inputs(context.target)
        if not isinstance(mapping, tuple):
            judgement = mismatched(context.deployed, mapping)
            return RepairState(None, judgement, judgement, context.deployed)
        stage = ConvertedModel(context.target, mapping)
        judgement = context.judge(stage, context.deployed)
        return RepairState(stage, judgement, judgement, context.deployed).noting_second_runtime()

    def _try(self, strategy: Strategy, context: RepairContext, state: RepairState) -> RepairState:
        """Return the state after a strategy; the same where it does not apply or proposes nothing."""
        if state.stage is not None:
            context = replace(context, target=state.stage.model)
        if not strategy.applies(context, state):
            return state
        if state.stage is not None:
            stage = in_own_worker(state.stage)
            context, state = replace(context, target=stage.model), replace(state, stage=stage)
        with self.clock("repair"), context.budget.running():
            proposal = strategy.propose(context, state)
        return state if proposal is None else self._take(strategy, context, state, proposal)

    def _take(self, strategy: Strategy, context: RepairContext, state: RepairState, proposal: Proposal) -> RepairState:
        """Note what was found, and judge what was changed, natively and from its bytes on disk."""
        state = state.with_findings(proposal)
        if proposal.stage is None and proposal.evaluation_set is None:
            return state
        stage, evaluation_set = proposal.stage or state.stage, proposal.evaluation_set or state.evaluation_set
        assert stage is not None
        assert state.first.compared is not None
        judgement = proposal.judgement or context.judge(stage, evaluation_set)
        return replace(
            state,
            stage=stage,
            evaluation_set=evaluation_set,
            judgement=repaired(judgement, state.first.compared),
            changed_by=(*state.changed_by, strategy.name),
        ).noting_second_runtime()

    def _hand_over(self, context: RepairContext, state: RepairState, final: Path) -> Result:
        """Write the Target and the report."""
        findings, judgement = state.findings, state.judgement
        if not state.is_good:
            cut = (context.budget.cut,) if context.budget.cut else ()
            judgement = replace(judgement, reasons=(*judgement.reasons, *findings.reasons, *cut))
        localisation = _with_layer_names(findings.localisation, findings.layer_names)
        if self.options.ranking == "kruskal":
            ranker = LayerRanker(self.workers, context.evaluation_set, self.shapes, self.options, self.observer)
            with self.clock("rank"):
                localisation, notes = ranker.repaired(findings.pair, findings.located, localisation)
            self.notes += notes
        outcome = RunOutcome(
            judgement,
            state.evaluation_set,
            context.target if state.stage is None else state.stage.model,
            tuple(context.attempts),
            self._faults(state),
            localisation,
            findings.refused,
            findings.opinions,
            (*findings.notes, *self._range_notes(state)),
        )
        return self.finish(outcome, final=final)

    def _range_notes(self, state: RepairState) -> tuple[str, ...]:
        """Activations of a quantised Target that differs still whose ranges are too narrow."""
        if state.stage is None or state.is_good:
            return ()
        return range_notes(state.evaluation_set, state.stage)

    def _faults(self, state: RepairState) -> tuple[Fault, ...]:
        """The report's faults: those of the inputs first, by the names that layers had in the given Target."""
        reproduce = {"run": shlex.join(self.command)}
        compared, layer_names = state.judgement.compared, state.findings.layer_names

        def position(diagnosis: Diagnosis) -> int:
            return REPORT_ORDER.get(diagnosis.type, len(REPORT_ORDER))

        return tuple(
            diagnosis.as_fault(
                is_good=state.is_good,
                percent_after=None if compared is None else compared[0].percent,
                reproduce=reproduce,
                target_node=layer_names.get(diagnosis.target_node, ""),
            )
            for diagnosis in sorted(state.findings.diagnoses, key=position)
        )


def _with_layer_names(localisation: Localisation | None, names: Mapping[str, str]) -> Localisation | None:
    if localisation is None or not names:
        return localisation
    ranking = tuple((source, names.get(target, target), score) for source, target, score in localisation.ranking)
    return replace(localisation, ranking=ranking)
