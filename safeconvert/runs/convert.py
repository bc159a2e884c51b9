"""``safeconvert SRC2DST``: search a route, check the Target, and name what converters did wrong on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..checking import second_runtime
from ..checking.evaluation_set import EvaluationSet
from ..checking.tvm_check import RuntimeComparison
from ..checking.verdict import Judgement
from ..conversion.crash_nodes import crashes
from ..conversion.findings import HopFinding, refusals
from ..conversion.hop_runner import HopRunner
from ..conversion.route_search import RouteSearch
from ..conversion.routes import frameworks, routes
from ..conversion.stage import ConversionOptions
from ..converters.hop import Hop
from ..errors import WorkerFailed
from ..formats import format_named
from ..models.loaded_model import LoadedModel, shorten
from ..options import Options
from ..quantization.engine import quantizes_float_target
from ..quantization.quantize import quantize
from ..records import Fault, Localisation, Verdict
from ..repair.layer_ranking import LayerRanker, check_core_layers
from ..reporting.reproduction import Reproducer
from .base import Run
from .conversion import Conversion
from .conversion_check import ConversionCheck
from .outcome import RunOutcome
from .result import Result


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
        reproducer = Reproducer(search.hop_runner, self.options, self.command, final)
        if stage is None:
            return self._without_target(evaluation_set, search, reproducer, final)
        with self.clock("check"):
            conversion = ConversionCheck(self, evaluation_set, search).check(stage)
        conversion = self._quantized(conversion, chains[0][-1], final)
        ranking = self._ranked(evaluation_set, conversion)
        return self._hand_over(conversion, ranking, reproducer, final)

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

    def _quantized(self, conversion: Conversion, to: str, final: Path) -> Conversion:
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

    def _ranked(self, evaluation_set: EvaluationSet, conversion: Conversion) -> Localisation | None:
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
        conversion: Conversion,
        ranking: Localisation | None,
        reproducer: Reproducer,
        final: Path,
    ) -> Result:
        """Write the Target and the report, with how to reproduce each fault."""
        search = conversion.search
        with self.clock("reproduce"):
            reproductions = reproducer(conversion.diagnoses, conversion.findings)
            attempts = reproducer.crashed(search.attempts, crashes(search, conversion.stage))
        faults: tuple[Fault, ...] = tuple(
            diagnosis.as_fault(is_good=conversion.is_good, percent_after=conversion.percent, reproduce=reproduce)
            for diagnosis, reproduce in zip(conversion.diagnoses, reproductions, strict=True)
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
            quantization=None if quantization is None else quantization.to_json(conversion.deployed.true_labels),
        )
        return self.finish(outcome, final=final)

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
