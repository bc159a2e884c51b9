"""A conversion: routes walked, the Target checked, and what was found out on the way told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..checking import second_runtime
from ..checking.evaluation_set import EvaluationSet
from ..checking.verdict import Judgement, compare_rows, judge
from ..conversion.crash_nodes import crashes
from ..conversion.findings import HopFinding, faults, localisation, refusals
from ..conversion.route_search import Router
from ..conversion.routes import frameworks, routes
from ..conversion.stage import ConversionOptions, ConvertedModel
from ..converters.hop import Hop
from ..formats import format_named
from ..models.loaded import LoadedModel
from ..records import Fault, Localisation, Verdict
from ..repair.acceptance import repaired, repaired_on_the_way
from ..repair.exporter_faults import explain, settled
from ..repair.layer_ranking import Ranker, check_core_layers
from ..repair.strategies.float_weights import restored
from ..repair.strategies.preprocessing import Pipeline
from ..repair.strategies.view_edits import Outcome, Repairer
from ..reporting.reproduction import Reproducer
from .base import Result, Run

ALONE = 64  # calibration inputs on which each of several faults is measured alone


class Conversion(Run):
    """One run that makes a Target."""

    def convert(self, to: str, final: Path) -> Result:
        check_core_layers(self.workers, self.options)
        ways = routes(self.source.format.name, to)
        self._warm(ways[0], to)
        with self.evaluation_set() as evaluation_set:
            return self.reported(lambda: self._convert(evaluation_set, ways, to, final), evaluation_set, final=final)

    def _convert(self, evaluation_set: EvaluationSet, ways: Sequence[tuple[str, ...]], to: str, final: Path) -> Result:
        if (contradiction := evaluation_set.behaviour.contradiction_on_probes()) is not None:
            undecided = Judgement(Verdict.UNDECIDED, (contradiction,))
            return self.finish(undecided, evaluation_set, None, [], final=final)
        router = self._router(evaluation_set)
        self.attempts = router.attempts
        with self.clock("convert"):
            stage = router.find(ways)
        command = ["safeconvert", f"{self.source.format}2{to}", str(self.source.path), "-o", str(final)]
        reproducer = Reproducer(router.hop_runner, self.options, [*command, *self.options.arguments()], final)
        if stage is None:
            nothing = Judgement(Verdict.FAILED, ("no route produced a model", *router.left_undone))
            with self.clock("reproduce"):
                attempts = reproducer.crashed(router.attempts, crashes(router, None))
            return self.finish(nothing, evaluation_set, None, attempts, final=final, files=reproducer.files)
        with self.clock("check"):
            target, reasons = self._with_preprocessing(evaluation_set, stage, router)
            deployed = evaluation_set.as_deployed()
            judgement = judge(deployed, target.side, target.mapping)
            if judgement.verdict is Verdict.DIVERGED:
                judgement = replace(judgement, reasons=(*judgement.reasons, *reasons))
            else:
                judgement = self._on_sample(judgement, stage, router)
            # With the preprocessing built in, only the Target takes what the deployment prepares: what the
            # converters gave takes what the Source takes.
            unrepaired_inputs = evaluation_set if self.options.embed_preprocessing else deployed
            findings = router.findings(stage)
            for finding in [one for one in findings if one.after is not None][:1]:
                before = finding.before
                judgement = repaired_on_the_way(judgement, unrepaired_inputs, before.side, before.mapping)
            judgement, target, finer = self._with_float_weights(judgement, target, unrepaired_inputs)
            router.attempts += finer.attempts
            judgement, around, looked = self._source_faults(judgement, router, stage, unrepaired_inputs)
            around, looked = [*finer.faults, *around], looked or finer.localisation
            if judgement.verdict is Verdict.DIVERGED:
                judgement = replace(judgement, reasons=(*judgement.reasons, *router.left_undone))
            alone = {} if judgement.compared is None else self._alone(findings, unrepaired_inputs)
        looked = self._ranked(evaluation_set, router, stage, findings, localisation(findings) or looked)
        with self.clock("reproduce"):
            found = reproducer(faults(findings, judgement, alone), findings)
            attempts = reproducer.crashed(router.attempts, crashes(router, stage))
        return self.finish(
            judgement,
            deployed,
            target.side,
            attempts,
            [*(replace(fault, reproduce={"run": reproducer.run}) for fault in around), *found],
            looked,
            refused=refusals(findings, judgement),
            final=final,
            files=reproducer.files,
        )

    def _on_sample(self, judgement: Judgement, stage: ConvertedModel, router: Router) -> Judgement:
        """The judgement of a quantised Target whose inputs agree: on the sample, most labels must do so too.

        Other Targets are judged on probes by :func:`judge`, which knows the Source's noise.
        """
        quantized = self.source.signature.quantized or stage.side.signature.quantized
        if not quantized or stage.comparison is None or router.attempt_runner.agrees(stage):
            return judgement
        seen = f"among a few inputs and a few random ones: {'; '.join(stage.comparison.differences(values=False))}"
        if self.options.own_inputs_only or judgement.verdict is not Verdict.VERIFIED:
            self.notes.append(seen)
            return judgement
        return replace(judgement, verdict=Verdict.DIVERGED, reasons=(seen,))

    def _with_float_weights(
        self, judgement: Judgement, target: ConvertedModel, evaluation_set: EvaluationSet
    ) -> tuple[Judgement, ConvertedModel, Outcome]:
        """A Target whose rounded weights change labels, with some of them in float32, where a size was given for it."""
        options, nothing = self.options, Outcome()
        rounded = options.quantize in ("dynamic", "float16") and not options.no_repair
        if not rounded or judgement.verdict is not Verdict.DIVERGED or judgement.compared is None:
            return judgement, target, nothing
        if options.max_size is None:
            advice = "--max-size MB holds those weights in float32 that cost most, as far as the size allows"
            return replace(judgement, reasons=(*judgement.reasons, advice)), target, nothing
        repairer = Repairer(self.workers, evaluation_set, target.side, self.shapes, options, self.observer)
        with repairer.budget.running():
            outcome = restored(repairer, target.mapping, judgement.compared[0]) or nothing
        if outcome.stage is None:
            return judgement, target, nothing
        self.notes += outcome.notes
        finer = judge(evaluation_set, outcome.stage.side, outcome.stage.mapping)
        finer = repaired(finer, judgement.compared)
        after = None if finer.compared is None else finer.compared[0].percent
        faults = tuple(replace(fault, percent_after=after) for fault in outcome.faults)
        return finer, outcome.stage, replace(outcome, faults=faults)

    def _source_faults(
        self, judgement: Judgement, router: Router, stage: ConvertedModel, evaluation_set: EvaluationSet
    ) -> tuple[Judgement, list[Fault], Localisation | None]:
        """The faults of a converter that went wrong on the Source itself, and that a way around was found for."""
        diverged = router.strayed_at_source(stage)
        if diverged is None or not stage.attempts:
            return judgement, [], None
        self.observer.say("looking for what the first converter got wrong")
        used = router.attempts[stage.attempts[0]]
        good = judgement.verdict is Verdict.VERIFIED
        found, looked = explain(
            self.workers,
            self.source,
            evaluation_set.sample(),
            diverged,
            router.attempts[diverged.attempts[0]],
            used if good else None,
            router.settings,
        )
        assert diverged.comparison is not None
        before = diverged.comparison.percent
        if good and found and used.form:
            judgement = repaired_on_the_way(judgement, evaluation_set, diverged.side, diverged.mapping)
            before = None if judgement.before is None else judgement.before[0].percent
        after = None if judgement.compared is None else judgement.compared[0].percent
        return judgement, settled(found, before, after), looked

    def _ranked(
        self,
        evaluation_set: EvaluationSet,
        router: Router,
        stage: ConvertedModel,
        findings: Sequence[HopFinding],
        looked: Localisation | None,
    ) -> Localisation | None:
        """The localisation with layers ranked as was asked for."""
        if self.options.ranking != "kruskal" or looked is None:
            return looked
        ranker = Ranker(self.workers, evaluation_set, self.shapes, self.options, self.observer)
        with self.clock("rank"):
            diverged = router.strayed_at_source(stage)
            if findings or diverged is None:
                looked, notes = ranker.of_hops(findings, looked, router.settings)
            else:
                looked, notes = ranker.of_source(diverged, looked, router.settings)
        self.notes += notes
        return looked

    def _with_preprocessing(
        self, evaluation_set: EvaluationSet, stage: ConvertedModel, router: Router
    ) -> tuple[ConvertedModel, tuple[str, ...]]:
        """The Target so changed that it takes what the deployment prepares, where that was asked for; else as it is,
        and why where it could not be changed."""
        if not self.options.embed_preprocessing:
            return stage, ()
        repairer = Repairer(self.workers, evaluation_set, stage.side, self.shapes, self.options, self.observer)
        made = Pipeline(repairer).embedded(stage)
        router.attempts += repairer.attempts
        if made is None:
            return stage, (f"no converter gives the Target back as {stage.format} with the preprocessing built in",)
        self.notes.append(f"built into the Target: {Pipeline(repairer).change().words}")
        return made, ()

    def _alone(
        self, findings: Sequence[HopFinding], evaluation_set: EvaluationSet
    ) -> dict[tuple[str, str], float | None]:
        """Discrepancy with each of several faults of a hop left as it is and the others repaired, by hop and node."""
        rows = evaluation_set.rows[0][:ALONE]
        return {
            (finding.hop.label, node): compare_rows(
                evaluation_set,
                stage.side,
                stage.mapping,
                rows,
                "measuring each fault",
            ).percent
            for finding in findings
            for node, stage in finding.alone.items()
        }

    def _warm(self, way: tuple[str, ...], to: str) -> None:
        """Start the children of the likeliest route at once: their frameworks load while the Source does."""
        for framework in dict.fromkeys(frameworks(way)):
            if framework != self.source.framework:
                self.workers.worker(f"convert-{framework}", framework)
        LoadedModel(self.workers, "target", format_named(to).written_at(Path())).start()
        second_runtime.warm(self.source, format_named(to))

    def _router(self, evaluation_set: EvaluationSet) -> Router:
        options = self.options

        def before(hop: Hop) -> None:
            if hop.framework == self.source.framework:
                evaluation_set.reference.pause()  # the converter needs the Source's child

        return Router(
            self.workers,
            self.source,
            self.shapes,
            evaluation_set.sample,
            evaluation_set.quantising,
            ConversionOptions(
                options.tolerance,
                options.timeout,
                options.input_layout,
                options.quantize,
                options.opset,
                options.signature,
                not options.no_repair,
                options.repair_time,
                options.comparing,
            ),
            before=before,
            after=lambda hop: evaluation_set.ahead(),
            say=self.observer.say,
        )
