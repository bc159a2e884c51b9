"""The verdict on what the converters gave, and what they did wrong on the way to it."""

from __future__ import annotations

from dataclasses import replace

from ..checking.evaluation_set import EvaluationSet
from ..checking.verdict import Judgement, compare_rows, judge
from ..conversion.findings import diagnose, localisation
from ..conversion.route_search import RouteSearch
from ..conversion.stage import ConvertedModel
from ..conversion.time_budget import RepairTime
from ..models.input_mapping import Mismatch
from ..quantization.engine import quantizes_float_target
from ..records import Diagnosis, Verdict
from ..repair.acceptance import MAX_ROWS_COMPARED, repaired, repaired_on_the_way
from ..repair.context import RepairContext, RepairState
from ..repair.exporter_faults import explain
from ..repair.strategies import float_weights
from ..repair.strategies.preprocessing import Deployment
from .base import Run
from .conversion import Conversion
from .outcome import mismatched


class ConversionCheck:
    """Checks what one run's route search gave on the run's inputs."""

    def __init__(self, run: Run, evaluation_set: EvaluationSet, search: RouteSearch) -> None:
        self.run, self.options = run, run.options
        self.evaluation_set, self.search = evaluation_set, search

    def check(self, stage: ConvertedModel) -> Conversion:
        """Judge the Target of ``stage``, with each fault on the way to it; repaired further where that is asked for."""
        conversion = self._judged(stage)
        conversion = self._with_repaired_hops(conversion)
        conversion = self._with_float_weights(conversion)
        conversion = self._with_source_faults(conversion)
        conversion = self._with_reasons(conversion)
        return replace(conversion, diagnoses=(*conversion.diagnoses, *self._hop_diagnoses(conversion)))

    def _judged(self, stage: ConvertedModel) -> Conversion:
        """The verdict on the Target, with the deployment's preprocessing built in where that was asked for."""
        deployed = self.evaluation_set.as_deployed()
        target, reasons = self._with_preprocessing(deployed, stage)
        judgement = judged(deployed, target)
        if judgement.verdict is Verdict.DIVERGED:
            judgement = replace(judgement, reasons=(*judgement.reasons, *reasons))
        else:
            judgement = self._on_sample(judgement, stage)
        # With the preprocessing built in, only the Target takes what the deployment prepares: what the converters gave
        # takes what the Source takes.
        unrepaired_inputs = self.evaluation_set if self.options.embed_preprocessing else deployed
        findings = tuple(self.search.findings(stage))
        return Conversion(
            self.search, stage, target, judgement, deployed, unrepaired_inputs, findings, (), localisation(findings)
        )

    def _on_sample(self, judgement: Judgement, stage: ConvertedModel) -> Judgement:
        """The judgement of a quantised Target whose inputs agree: on the sample, most labels must do so too.

        Other Targets are judged on probes by :func:`judge`, which knows the Source's noise.
        """
        is_quantized = self.run.source.signature.quantized or stage.model.signature.quantized
        if not is_quantized or stage.comparison is None or self.search.attempt_runner.agrees(stage):
            return judgement
        differences = "; ".join(stage.comparison.differences(values=False))
        reason = f"among a few inputs and a few random ones: {differences}"
        if self.options.own_inputs_only or judgement.verdict is not Verdict.VERIFIED:
            self.run.notes.append(reason)
            return judgement
        return replace(judgement, verdict=Verdict.DIVERGED, reasons=(reason,))

    def _with_preprocessing(
        self, deployed: EvaluationSet, stage: ConvertedModel
    ) -> tuple[ConvertedModel, tuple[str, ...]]:
        """The Target so changed that it takes what the deployment prepares, or as it is and why."""
        if not self.options.embed_preprocessing:
            return stage, ()
        context = self._context(self.evaluation_set, deployed, stage)
        deployment = Deployment(context)
        target = deployment.embedded(stage)
        self.search.attempts += context.attempts
        if target is None:
            return stage, (f"no converter gives the Target back as {stage.format} with the preprocessing built in",)
        self.run.notes.append(f"built into the Target: {deployment.change().words}")
        return target, ()

    def _with_repaired_hops(self, conversion: Conversion) -> Conversion:
        """The verdict where a hop was repaired: what the converter gave before is measured too."""
        finding = next((finding for finding in conversion.findings if finding.after is not None), None)
        if finding is None:
            return conversion
        before, inputs = finding.before, conversion.unrepaired_inputs
        judgement = repaired_on_the_way(conversion.judgement, inputs, before.model, before.mapping)
        return replace(conversion, judgement=judgement)

    def _with_float_weights(self, conversion: Conversion) -> Conversion:
        """A Target whose rounded weights change labels, with some of them in float32, where a size was given for it."""
        options, judgement = self.options, conversion.judgement
        is_converter = not quantizes_float_target(options.quantize, options.quantizer)
        is_rounded = is_converter and options.quantize in ("dynamic", "float16") and not options.no_repair
        if not is_rounded or judgement.verdict is not Verdict.DIVERGED or judgement.compared is None:
            return conversion
        if options.max_size is None:
            advice = "--max-size MB holds those weights in float32 that cost most, as far as the size allows"
            return replace(conversion, judgement=replace(judgement, reasons=(*judgement.reasons, advice)))
        context = self._context(conversion.unrepaired_inputs, conversion.deployed, conversion.target)
        state = RepairState(conversion.target, judgement, judgement, conversion.deployed)
        with context.budget.running():
            proposal = float_weights.propose(context, state)
        self.search.attempts += context.attempts
        if proposal is None or proposal.stage is None:
            return conversion
        self.run.notes += proposal.findings.notes
        target = proposal.stage
        return replace(
            conversion,
            target=target,
            judgement=repaired(judge(conversion.deployed, target.model, target.mapping), judgement.compared),
            diagnoses=(*conversion.diagnoses, *proposal.findings.diagnoses),
            localisation=conversion.localisation or proposal.findings.localisation,
        )

    def _with_source_faults(self, conversion: Conversion) -> Conversion:
        """The faults of a converter that went wrong on the Source itself, and that a way around was found for."""
        search, judgement = self.search, conversion.judgement
        diverged = search.diverged_at_source(conversion.stage)
        if diverged is None or not conversion.stage.attempts:
            return conversion
        self.run.observer.say("looking for what the first converter got wrong")
        used = search.attempts[conversion.stage.attempts[0]]
        is_verified = judgement.verdict is Verdict.VERIFIED
        sample, inputs = conversion.deployed.sample(), conversion.unrepaired_inputs
        diagnoses, ranking = explain(
            self.run.workers,
            self.run.source,
            sample,
            diverged,
            search.attempts[diverged.attempts[0]],
            used if is_verified else None,
            search.settings,
        )
        assert diverged.comparison is not None
        before = diverged.comparison.percent
        if is_verified and diagnoses and used.form:
            judgement = repaired_on_the_way(judgement, inputs, diverged.model, diverged.mapping)
            before = None if judgement.before is None else judgement.before[0].percent
        measured = tuple(replace(diagnosis, percent_before=before) for diagnosis in diagnoses)
        return replace(
            conversion,
            judgement=judgement,
            diagnoses=(*conversion.diagnoses, *measured),
            localisation=conversion.localisation or ranking,
        )

    def _with_reasons(self, conversion: Conversion) -> Conversion:
        """The verdict, with the reasons why repair was not tried to its end."""
        judgement = conversion.judgement
        if judgement.verdict is not Verdict.DIVERGED:
            return conversion
        reasons = (*judgement.reasons, *self.search.reasons_repair_ended)
        return replace(conversion, judgement=replace(judgement, reasons=reasons))

    def _hop_diagnoses(self, conversion: Conversion) -> list[Diagnosis]:
        """The faults of hops that read ONNX, each measured alone where a hop has several."""
        evaluation_set = conversion.unrepaired_inputs
        alone = {
            (finding.hop.label, node): compare_rows(
                evaluation_set,
                stage.model,
                stage.mapping,
                evaluation_set.rows[0][:MAX_ROWS_COMPARED],
                "measuring each fault",
            ).percent
            for finding in conversion.findings
            for node, stage in finding.alone.items()
            if conversion.judgement.compared is not None
        }
        return diagnose(conversion.findings, conversion.judgement, alone)

    def _context(self, evaluation_set: EvaluationSet, deployed: EvaluationSet, stage: ConvertedModel) -> RepairContext:
        run, budget = self.run, RepairTime(self.options.repair_time)
        return RepairContext(run.workers, evaluation_set, deployed, stage.model, run.shapes, budget, run.clock)


def judged(evaluation_set: EvaluationSet, target: ConvertedModel) -> Judgement:
    """The judgement of what the converters gave; a Target that does not take the Source's inputs cannot be run."""
    problems = () if target.comparison is None else target.comparison.problems
    if evaluation_set.source.signature.inputs and not target.mapping and problems:
        return mismatched(evaluation_set, Mismatch(problems[0]))
    return judge(evaluation_set, target.model, target.mapping)
