"""``safeconvert SRC2DST``: search a route, check the Target, and name what converters did wrong on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..checking import second_runtime
from ..checking.evaluation_set import EvaluationSet
from ..checking.tvm_check import RuntimeComparison
from ..checking.verdict import Judgement, compare_rows, judge
from ..conversion.crash_nodes import crashes
from ..conversion.findings import HopFinding, diagnose, localisation, refusals
from ..conversion.hop_runner import HopRunner
from ..conversion.route_search import RouteSearch
from ..conversion.routes import frameworks, routes
from ..conversion.stage import ConversionOptions, ConvertedModel
from ..conversion.time_budget import RepairTime
from ..converters.hop import Hop
from ..errors import WorkerFailed
from ..formats import format_named
from ..models.input_mapping import Mismatch
from ..models.loaded_model import LoadedModel, shorten
from ..options import Options
from ..quantization.engine import quantizes_float_target
from ..quantization.quantize import quantize
from ..quantization.step import Quantization
from ..records import Diagnosis, Fault, Localisation, Verdict
from ..repair.acceptance import MAX_ROWS_COMPARED, repaired, repaired_on_the_way
from ..repair.context import RepairContext, RepairState
from ..repair.exporter_faults import explain
from ..repair.layer_ranking import LayerRanker, check_core_layers
from ..repair.strategies import float_weights
from ..repair.strategies.preprocessing import Deployment
from ..reporting.reproduction import Reproducer
from .base import Run
from .outcome import RunOutcome, mismatched
from .result import Result


@dataclass(frozen=True)
class _Conversion:
    """A conversion as far as it was checked.

    ``stage`` is what the converters gave, ``target`` the Target that was made of it. ``judgement`` holds for
    ``deployed``; what the converters gave is compared on ``unrepaired_inputs``. ``findings`` are about hops that read
    ONNX, ``diagnoses`` about everything else. Where the Target was quantised, ``float_judgement`` is the verdict on the
    float Target before; ``is_kept`` is false where the quantised one is not to be written.
    """

    search: RouteSearch
    stage: ConvertedModel
    target: ConvertedModel
    judgement: Judgement
    deployed: EvaluationSet
    unrepaired_inputs: EvaluationSet
    findings: tuple[HopFinding, ...] = ()
    diagnoses: tuple[Diagnosis, ...] = ()
    localisation: Localisation | None = None
    float_judgement: Judgement | None = None
    quantization: Quantization | None = None
    is_kept: bool = True

    @property
    def conversion_judgement(self) -> Judgement:
        """What faults of the conversion are measured by: the float Target's verdict, where it was quantised."""
        return self.float_judgement or self.judgement

    @property
    def is_good(self) -> bool:
        """Is the conversion good? What quantisation costs is not the converter's fault."""
        return self.conversion_judgement.verdict in (Verdict.VERIFIED, Verdict.REPAIRED)

    @property
    def percent(self) -> float | None:
        """The discrepancy of the Target over the calibration inputs, in percent."""
        compared = self.conversion_judgement.compared
        return None if compared is None else compared[0].percent


class ConvertRun(Run):
    """One run that makes a Target."""

    def run(self, to: str, final: Path) -> Result:
        """Convert the Source to the format ``to``, and put the Target at ``final`` where it agrees with the Source."""
        self.command = self._command(to, final, self.options)
        check_core_layers(self.workers, self.options)
        chains = routes(self.source.format.name, to)
        self._warm(chains[0], to)
        with self.evaluation_set() as evaluation_set:
            return self.reported(lambda: self._convert(evaluation_set, chains, final), evaluation_set, final=final)

    def _convert(self, evaluation_set: EvaluationSet, chains: Sequence[tuple[str, ...]], final: Path) -> Result:
        if (contradiction := evaluation_set.behaviour.contradiction_on_probes()) is not None:
            undecided = Judgement(Verdict.UNDECIDED, (contradiction,))
            return self.finish(RunOutcome(undecided, evaluation_set, None), final=final)
        search = self._route_search(evaluation_set)
        self.attempts = search.attempts
        with self.clock("convert"):
            stage = search.find(chains)
        reproducer = self._reproducer(search, final)
        if stage is None:
            return self._without_target(evaluation_set, search, reproducer, final)
        with self.clock("check"):
            conversion = self._checked(evaluation_set, search, stage)
            conversion = self._with_repaired_hops(conversion)
            conversion = self._with_float_weights(conversion)
            conversion = self._with_source_faults(conversion)
            conversion = self._with_reasons(conversion)
            diagnoses = (*conversion.diagnoses, *self._hop_diagnoses(conversion))
        conversion = self._quantized(conversion, chains[0][-1], final)
        ranking = self._ranked(evaluation_set, conversion)
        return self._hand_over(conversion, diagnoses, ranking, reproducer, final)

    def _reproducer(self, search: RouteSearch, final: Path) -> Reproducer:
        return Reproducer(search.hop_runner, self.options, self.command, final)

    def _command(self, to: str, final: Path, options: Options) -> list[str]:
        command = ["safeconvert", f"{self.source.format}2{to}", str(self.source.path), "-o", str(final)]
        return [*command, *options.arguments()]

    def _without_target(
        self, evaluation_set: EvaluationSet, search: RouteSearch, reproducer: Reproducer, final: Path
    ) -> Result:
        """The result where every route failed."""
        judgement = Judgement(Verdict.FAILED, ("no route produced a model", *search.reasons_repair_ended))
        with self.clock("reproduce"):
            attempts = reproducer.crashed(search.attempts, crashes(search, None))
        outcome = RunOutcome(judgement, evaluation_set, None, tuple(attempts), files=tuple(reproducer.files))
        return self.finish(outcome, final=final)

    def _checked(self, evaluation_set: EvaluationSet, search: RouteSearch, stage: ConvertedModel) -> _Conversion:
        """The verdict on the Target, with the deployment's preprocessing built in where that was asked for."""
        deployed = evaluation_set.as_deployed()
        target, reasons = self._with_preprocessing(evaluation_set, deployed, stage, search)
        judgement = judged(deployed, target)
        if judgement.verdict is Verdict.DIVERGED:
            judgement = replace(judgement, reasons=(*judgement.reasons, *reasons))
        else:
            judgement = self._on_sample(judgement, stage, search)
        # With the preprocessing built in, only the Target takes what the deployment prepares: what the converters gave
        # takes what the Source takes.
        unrepaired_inputs = evaluation_set if self.options.embed_preprocessing else deployed
        findings = tuple(search.findings(stage))
        return _Conversion(
            search, stage, target, judgement, deployed, unrepaired_inputs, findings, (), localisation(findings)
        )

    def _on_sample(self, judgement: Judgement, stage: ConvertedModel, search: RouteSearch) -> Judgement:
        """The judgement of a quantised Target whose inputs agree: on the sample, most labels must do so too.

        Other Targets are judged on probes by :func:`judge`, which knows the Source's noise.
        """
        is_quantized = self.source.signature.quantized or stage.model.signature.quantized
        if not is_quantized or stage.comparison is None or search.attempt_runner.agrees(stage):
            return judgement
        differences = "; ".join(stage.comparison.differences(values=False))
        reason = f"among a few inputs and a few random ones: {differences}"
        if self.options.own_inputs_only or judgement.verdict is not Verdict.VERIFIED:
            self.notes.append(reason)
            return judgement
        return replace(judgement, verdict=Verdict.DIVERGED, reasons=(reason,))

    def _with_preprocessing(
        self, evaluation_set: EvaluationSet, deployed: EvaluationSet, stage: ConvertedModel, search: RouteSearch
    ) -> tuple[ConvertedModel, tuple[str, ...]]:
        """The Target so changed that it takes what the deployment prepares, or as it is and why."""
        if not self.options.embed_preprocessing:
            return stage, ()
        context = self._context(evaluation_set, deployed, stage)
        deployment = Deployment(context)
        target = deployment.embedded(stage)
        search.attempts += context.attempts
        if target is None:
            return stage, (f"no converter gives the Target back as {stage.format} with the preprocessing built in",)
        self.notes.append(f"built into the Target: {deployment.change().words}")
        return target, ()

    def _with_repaired_hops(self, conversion: _Conversion) -> _Conversion:
        """The verdict where a hop was repaired: what the converter gave before is measured too."""
        finding = next((finding for finding in conversion.findings if finding.after is not None), None)
        if finding is None:
            return conversion
        before, inputs = finding.before, conversion.unrepaired_inputs
        judgement = repaired_on_the_way(conversion.judgement, inputs, before.model, before.mapping)
        return replace(conversion, judgement=judgement)

    def _with_float_weights(self, conversion: _Conversion) -> _Conversion:
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
        conversion.search.attempts += context.attempts
        if proposal is None or proposal.stage is None:
            return conversion
        self.notes += proposal.findings.notes
        target = proposal.stage
        return replace(
            conversion,
            target=target,
            judgement=repaired(judge(conversion.deployed, target.model, target.mapping), judgement.compared),
            diagnoses=(*conversion.diagnoses, *proposal.findings.diagnoses),
            localisation=conversion.localisation or proposal.findings.localisation,
        )

    def _with_source_faults(self, conversion: _Conversion) -> _Conversion:
        """The faults of a converter that went wrong on the Source itself, and that a way around was found for."""
        search, judgement = conversion.search, conversion.judgement
        diverged = search.diverged_at_source(conversion.stage)
        if diverged is None or not conversion.stage.attempts:
            return conversion
        self.observer.say("looking for what the first converter got wrong")
        used = search.attempts[conversion.stage.attempts[0]]
        is_verified = judgement.verdict is Verdict.VERIFIED
        sample, inputs = conversion.deployed.sample(), conversion.unrepaired_inputs
        diagnoses, ranking = explain(
            self.workers,
            self.source,
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

    def _with_reasons(self, conversion: _Conversion) -> _Conversion:
        """The verdict, with the reasons why repair was not tried to its end."""
        judgement = conversion.judgement
        if judgement.verdict is not Verdict.DIVERGED:
            return conversion
        reasons = (*judgement.reasons, *conversion.search.reasons_repair_ended)
        return replace(conversion, judgement=replace(judgement, reasons=reasons))

    def _quantized(self, conversion: _Conversion, to: str, final: Path) -> _Conversion:
        """The Target quantised by litert-quantizer, with the verdict on it; only a float Target that agrees is."""
        options = self.options
        if not quantizes_float_target(options.quantize, options.quantizer):
            return conversion
        if not conversion.is_good:
            reason = (
                "the float Target differs, so it was not quantised; where such values may differ, pass --atol or --rtol"
            )
            judgement = conversion.judgement
            return replace(conversion, judgement=replace(judgement, reasons=(*judgement.reasons, reason)))
        with self.clock("quantise"):
            try:
                result = quantize(
                    self.workers,
                    conversion.deployed,
                    conversion.target,
                    conversion.judgement,
                    lambda changed: self._command(to, final, changed),
                )
            except WorkerFailed as error:
                failed = Judgement(Verdict.FAILED, (f"litert-quantizer failed: {shorten(str(error))}",))
                return replace(conversion, judgement=failed, float_judgement=conversion.judgement, is_kept=False)
        self.notes += result.quantization.notes
        return replace(
            conversion,
            target=result.stage or conversion.target,
            judgement=result.judgement,
            float_judgement=conversion.judgement,
            quantization=result.quantization,
            is_kept=result.stage is not None,
        )

    def _hop_diagnoses(self, conversion: _Conversion) -> list[Diagnosis]:
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

    def _ranked(self, evaluation_set: EvaluationSet, conversion: _Conversion) -> Localisation | None:
        """The localisation with layers ranked as was asked for."""
        if self.options.ranking != "kruskal" or conversion.localisation is None:
            return conversion.localisation
        search, findings = conversion.search, conversion.findings
        ranker = LayerRanker(self.workers, evaluation_set, self.shapes, self.options, self.observer)
        with self.clock("rank"):
            diverged = search.diverged_at_source(conversion.stage)
            if findings or diverged is None:
                ranking, notes = ranker.of_hops(findings, conversion.localisation, search.settings)
            else:
                ranking, notes = ranker.of_source(diverged, conversion.localisation, search.settings)
        self.notes += notes
        return ranking

    def _hand_over(
        self,
        conversion: _Conversion,
        diagnoses: tuple[Diagnosis, ...],
        ranking: Localisation | None,
        reproducer: Reproducer,
        final: Path,
    ) -> Result:
        """Write the Target and the report, with how to reproduce each fault."""
        search = conversion.search
        with self.clock("reproduce"):
            reproductions = reproducer(diagnoses, conversion.findings)
            attempts = reproducer.crashed(search.attempts, crashes(search, conversion.stage))
        faults: tuple[Fault, ...] = tuple(
            diagnosis.as_fault(is_good=conversion.is_good, percent_after=conversion.percent, reproduce=reproduce)
            for diagnosis, reproduce in zip(diagnoses, reproductions, strict=True)
        )
        quantization = conversion.quantization
        outcome = RunOutcome(
            conversion.judgement,
            conversion.deployed,
            conversion.target.model if conversion.is_kept else None,
            (*attempts, *(() if quantization is None else quantization.attempts)),
            faults,
            ranking,
            tuple(refusals(conversion.findings, conversion.conversion_judgement)),
            self._runtime_comparisons(conversion.findings),
            files=tuple(reproducer.files),
            quantization=None if quantization is None else quantization.to_json(),
        )
        return self.finish(outcome, final=final)

    def _context(self, evaluation_set: EvaluationSet, deployed: EvaluationSet, stage: ConvertedModel) -> RepairContext:
        budget = RepairTime(self.options.repair_time)
        return RepairContext(self.workers, evaluation_set, deployed, stage.model, self.shapes, budget, self.clock)

    def _warm(self, route: tuple[str, ...], to: str) -> None:
        """Start the workers of the likeliest route at once: their frameworks load while the Source does."""
        for framework in dict.fromkeys(frameworks(route)):
            if framework != self.source.framework:
                self.workers.worker(f"convert-{framework}", framework)
        LoadedModel(self.workers, "target", format_named(to).written_at(Path())).start()
        second_runtime.warm(self.source, format_named(to))

    def _runtime_comparisons(self, findings: Sequence[HopFinding]) -> tuple[RuntimeComparison, ...]:
        """The comparisons of two runtimes on files between Source and Target; the Source's own is made at the end."""
        between = [finding for finding in findings if finding.fed.model is not self.source]
        return tuple(finding.comparison for finding in between if finding.comparison is not None)

    def _route_search(self, evaluation_set: EvaluationSet) -> RouteSearch:
        options = self.options

        def before(hop: Hop) -> None:
            if hop.framework == self.source.framework:
                evaluation_set.source_outputs.pause()  # the converter needs the Source's worker

        asked = ConversionOptions(
            options.tolerance,
            options.timeout,
            options.input_layout,
            "none" if quantizes_float_target(options.quantize, options.quantizer) else options.quantize,
            options.opset,
            options.signature,
            not options.no_repair,
            options.repair_time,
            options.comparing,
            options.engine,
            options.auto_env,
        )
        hop_runner = HopRunner(self.workers, self.source, self.shapes, evaluation_set.quantising, asked, before=before)
        return RouteSearch(
            hop_runner,
            evaluation_set.sample,
            after=lambda hop: evaluation_set.ahead(),
            say=self.observer.say,
        )


def judged(evaluation_set: EvaluationSet, target: ConvertedModel) -> Judgement:
    """The judgement of what the converters gave; a Target that does not take the Source's inputs cannot be run."""
    problems = () if target.comparison is None else target.comparison.problems
    if evaluation_set.source.signature.inputs and not target.mapping and problems:
        return mismatched(evaluation_set, Mismatch(problems[0]))
    return judge(evaluation_set, target.model, target.mapping)
