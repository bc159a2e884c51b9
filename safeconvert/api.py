"""The front door: :func:`convert` and :func:`check`, of which the command line is a thin caller."""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safeconvert import engines, loading, publish
from safeconvert.children import Workshop, remove
from safeconvert.compare import impossible
from safeconvert.errors import BadInput
from safeconvert.feeding import Mismatch, plan_feed
from safeconvert.given import Given
from safeconvert.hopping import SUFFIX, Settings, Stage
from safeconvert.judge import Judgement, judge, judge_repaired, over
from safeconvert.material import Material
from safeconvert.mending import Finding, faults, localisation, refusals
from safeconvert.model import Attempt, Fault, Hop, Localisation, Recognised, Refusal, Verdict
from safeconvert.options import Observer, Options, Silent
from safeconvert.pipeline import Pipeline
from safeconvert.precision import restored
from safeconvert.ranking import Ranker, check_core_layers
from safeconvert.recognise import recognise
from safeconvert.repairing import Outcome, Repairer
from safeconvert.report import build, render
from safeconvert.reproduce import Reproducer, stale
from safeconvert.router import Router
from safeconvert.routes import frameworks, routes
from safeconvert.sides import Side
from safeconvert.straying import explain, settled

ALONE = 64  # calibration inputs on which each of several faults is measured alone


@dataclass(frozen=True)
class Result:
    """The outcome. ``target`` is the file that now stands at the output path: only where it was verified or
    repaired; ``unverified`` is where a diverged one was kept. ``report`` is the report as in its JSON file.
    ``reasons`` say why the verdict is not ``verified``."""

    verdict: Verdict
    target: Path | None
    unverified: Path | None
    report: Mapping[str, Any]
    reasons: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        return self.verdict.exit_code


def convert(
    source: str | Path, to: str, *, output: str | Path | None = None, observer: Observer | None = None, **options: Any
) -> Result:
    """Convert a model to the format ``to`` and hand it over only where it agrees with its Source.

    ``to`` is one of ``torch``, ``keras``, ``tf``, ``tflite``, ``onnx``. ``options`` are the fields of :class:`Options`.
    Writes the Target at ``output`` (default: beside the Source) if it is verified, and the report beside it.
    Raises :class:`BadInput` where the input or an option cannot be used.
    """
    chosen = Options.of(options)
    engines.require(chosen.engine)
    if to not in SUFFIX:
        raise BadInput(f"{to!r} is no format. Known: {', '.join(SUFFIX)}.")
    recognised = recognise(Path(source))
    if chosen.embed_preprocessing and (chosen.quantize != "none" or chosen.input_layout != "keep"):
        other = "--quantize" if chosen.quantize != "none" else "--input-layout"
        raise BadInput(f"--embed-preprocessing does not go with {other}. Leave one of them out.")
    if to == recognised.format:
        raise BadInput(f"{source} is a {to} model already. There is nothing to convert.")
    if chosen.quantize != "none" and to != "tflite":
        raise BadInput(f"--quantize {chosen.quantize} is for TFLite Targets; the Target here is {to}.")
    if chosen.signature is not None and recognised.format != "tf":
        raise BadInput(f"--signature is for SavedModels; {source} is a {recognised.format} model.")
    if chosen.quantize == "int8" and chosen.images is None and chosen.inputs is None:
        raise BadInput("--quantize int8 is calibrated on real inputs. Pass --images or --inputs.")
    final = Path(output) if output is not None else default_output(recognised, to)
    if final.resolve() == recognised.path.resolve():
        raise BadInput(f"--output {final} is the Source itself. Choose another path with -o.")
    publish.check_output(final, force=chosen.force)
    with publish.sole_writer(final), Workshop() as workshop:
        return _Run(workshop, recognised, chosen, observer or Silent()).convert(to, final)


def check(
    source: str | Path,
    target: str | Path,
    *,
    output: str | Path | None = None,
    observer: Observer | None = None,
    **options: Any,
) -> Result:
    """Compare two models on the same inputs; nothing is converted or changed.

    ``output``: where to put ``<output>.report.json`` and ``.html``; without it no file is written.
    Raises :class:`BadInput` where the input or an option cannot be used.
    """
    chosen = Options.of(options)
    engines.require(chosen.engine)
    if chosen.embed_preprocessing:
        raise BadInput("--embed-preprocessing changes the Target, and check changes nothing. Use repair.")
    models = recognise(Path(source)), recognise(Path(target))
    report = None if output is None else Path(output)
    if report is not None:
        publish.check_output(report.with_name(report.name + ".report.json"), force=True)
    if chosen.signature is not None and all(model.format != "tf" for model in models):
        raise BadInput("--signature is for SavedModels; neither of these is one.")
    with Workshop() as workshop:
        return _Run(workshop, models[0], chosen, observer or Silent()).check(models[1], report)


def repair(
    source: str | Path,
    target: str | Path,
    *,
    output: str | Path,
    observer: Observer | None = None,
    **options: Any,
) -> Result:
    """Find what is wrong with a Target that came from anywhere, mend it, and write it at ``output`` in its own format.

    Written only where it then agrees with the Source; a Target that agrees already is copied. The report stands
    beside ``output``. Raises :class:`BadInput` where the input or an option cannot be used.
    """
    chosen = Options.of(options)
    engines.require(chosen.engine)
    models = recognise(Path(source)), recognise(Path(target))
    final = Path(output)
    for model in models:
        if final.resolve() == model.path.resolve():
            raise BadInput(f"--output {final} is the model {model.path} itself. Choose another path with -o.")
    if chosen.signature is not None and all(model.format != "tf" for model in models):
        raise BadInput("--signature is for SavedModels; neither of these is one.")
    publish.check_output(final, force=chosen.force)
    with publish.sole_writer(final), Workshop() as workshop:
        return _Run(workshop, models[0], chosen, observer or Silent()).repair(models[1], final)


def default_output(source: Recognised, to: str) -> Path:
    """Beside the Source: ``model.pt`` -> ``model.keras``; a SavedModel folder is ``model_savedmodel``."""
    stem = source.path.name if source.format == "tf" else source.path.stem
    return source.path.parent / (f"{stem}_savedmodel" if to == "tf" else stem + SUFFIX[to])


class _Run:
    """One run: its workshop, its Source and its clock."""

    def __init__(self, workshop: Workshop, source: Recognised, options: Options, observer: Observer) -> None:
        self.workshop, self.options, self.observer = workshop, options, observer
        self.source = loading.side(workshop, "source", source, options)
        self.timings: dict[str, float] = {}
        self.notes: list[str] = []
        self._begun = time.monotonic()

    def convert(self, to: str, final: Path) -> Result:
        check_core_layers(self.workshop, self.options)
        ways = routes(self.source.format, to)
        self._warm(ways[0], to)
        with self._material() as material:
            router = self._router(material)
            with self._clock("convert"):
                stage = router.find(ways)
            if stage is None:
                nothing = Judgement(Verdict.FAILED, ("no route produced a model", *router.left_undone))
                return self._finish(nothing, material, None, router.attempts, final=final)
            with self._clock("check"):
                target, reasons = self._built_in(material, stage, router)
                judgement = judge(material, target.side, target.feeds, self.options, self.observer)
                if judgement.verdict is Verdict.DIVERGED:
                    judgement = replace(judgement, reasons=(*judgement.reasons, *reasons))
                deploying = material.deploying
                if self.options.embed_preprocessing:
                    material.deploying = None  # what the converters gave takes what the Source takes
                findings = router.findings(stage)
                for finding in [one for one in findings if one.after is not None][:1]:
                    before = finding.before
                    judgement = judge_repaired(
                        judgement, material, before.side, before.feeds, self.options, self.observer
                    )
                judgement, target, finer = self._finer(judgement, target, material)
                router.attempts += finer.attempts
                judgement, around, looked = self._around(judgement, router, stage, material)
                around, looked = [*finer.faults, *around], looked or finer.localisation
                if judgement.verdict is Verdict.DIVERGED:
                    judgement = replace(judgement, reasons=(*judgement.reasons, *router.left_undone))
                alone = {} if judgement.compared is None else self._alone(findings, material)
            looked = self._ranked(material, router, stage, findings, localisation(findings) or looked)
            command = ["safeconvert", f"{self.source.format}2{to}", str(self.source.path), "-o", str(final)]
            reproducer = Reproducer(router.hopper, self.options, [*command, *self.options.arguments()], final)
            with self._clock("reproduce"):
                found = reproducer(faults(findings, judgement, alone), findings)
            material.deploying = deploying
            return self._finish(
                judgement,
                material,
                target.side,
                router.attempts,
                [*(replace(fault, reproduce={"run": reproducer.run}) for fault in around), *found],
                looked,
                refused=refusals(findings, judgement),
                final=final,
                files=reproducer.files,
            )

    def _finer(self, judgement: Judgement, target: Stage, material: Material) -> tuple[Judgement, Stage, Outcome]:
        """A Target whose rounded weights change labels, with some of them in float32, where a size was given for it."""
        options, nothing = self.options, Outcome()
        rounded = options.quantize in ("dynamic", "float16") and not options.no_repair
        if not rounded or judgement.verdict is not Verdict.DIVERGED or judgement.compared is None:
            return judgement, target, nothing
        if options.max_size is None:
            advice = "--max-size MB holds those weights in float32 that cost most, as far as the size allows"
            return replace(judgement, reasons=(*judgement.reasons, advice)), target, nothing
        repairer = Repairer(self.workshop, material, target.side, self.shapes, options, self.observer)
        with repairer.budget.running():
            outcome = restored(repairer, target.feeds, judgement.compared[0]) or nothing
        if outcome.stage is None:
            return judgement, target, nothing
        self.notes += outcome.notes
        finer = judge_repaired(
            judge(material, outcome.stage.side, outcome.stage.feeds, options, self.observer),
            material, target.side, target.feeds, options, self.observer,
        )  # fmt: skip
        after = None if finer.compared is None else finer.compared[0].percent
        faults = tuple(replace(fault, percent_after=after) for fault in outcome.faults)
        return finer, outcome.stage, replace(outcome, faults=faults)

    def _around(
        self, judgement: Judgement, router: Router, stage: Stage, material: Material
    ) -> tuple[Judgement, list[Fault], Localisation | None]:
        """The faults of a converter that went wrong on the Source itself, and that a way around was found for."""
        strayed = router.strayed_at_source(stage)
        if strayed is None or not stage.attempts:
            return judgement, [], None
        self.observer.say("looking for what the first converter got wrong")
        used = router.attempts[stage.attempts[0]]
        good = judgement.verdict is Verdict.VERIFIED
        found, looked = explain(
            self.workshop,
            self.source,
            material.sample(),
            strayed,
            router.attempts[strayed.attempts[0]],
            used if good else None,
            router.settings,
        )
        assert strayed.comparison is not None
        before = strayed.comparison.percent
        if good and found and used.form:
            judgement = judge_repaired(judgement, material, strayed.side, strayed.feeds, self.options, self.observer)
            before = None if judgement.before is None else judgement.before[0].percent
        after = None if judgement.compared is None else judgement.compared[0].percent
        return judgement, settled(found, before, after), looked

    def _ranked(
        self,
        material: Material,
        router: Router,
        stage: Stage,
        findings: Sequence[Finding],
        looked: Localisation | None,
    ) -> Localisation | None:
        """The localisation with layers ranked as was asked for."""
        if self.options.ranking != "kruskal" or looked is None:
            return looked
        ranker = Ranker(self.workshop, material, self.shapes, self.options, self.observer)
        with self._clock("rank"):
            strayed = router.strayed_at_source(stage)
            if findings or strayed is None:
                looked, notes = ranker.of_hops(findings, looked, router.settings)
            else:
                looked, notes = ranker.of_source(strayed, looked, router.settings)
        self.notes += notes
        return looked

    def _built_in(self, material: Material, stage: Stage, router: Router) -> tuple[Stage, tuple[str, ...]]:
        """The Target so changed that it takes what the deployment prepares, where that was asked for; else as it is,
        and why where it could not be changed."""
        if not self.options.embed_preprocessing:
            return stage, ()
        repairer = Repairer(self.workshop, material, stage.side, self.shapes, self.options, self.observer)
        made = Pipeline(repairer).embedded(stage)
        router.attempts += repairer.attempts
        if made is None:
            return stage, (f"no converter gives the Target back as {stage.format} with the preprocessing built in",)
        self.notes.append(f"built into the Target: {Pipeline(repairer).change().words}")
        return made, ()

    def _alone(self, findings: Sequence[Finding], material: Material) -> dict[tuple[str, str], float | None]:
        """Discrepancy with each of several faults of a hop left as it is and the others repaired, by hop and node."""
        rows = material.rows[0][:ALONE]
        deployed = material.deployed() if any(finding.alone for finding in findings) else None
        return {
            (finding.hop.label, node): over(
                material, stage.side, stage.feeds, rows, deployed, self.options, self.observer, "measuring each fault"
            ).percent
            for finding in findings
            for node, stage in finding.alone.items()
        }

    def check(self, recognised: Recognised, report: Path | None) -> Result:
        target = loading.side(self.workshop, "target", recognised, self.options)
        with self._material() as material:
            material.ahead()
            with self._clock("load"):
                loading.load(target)
            feeds = plan_feed(self.source.signature, self.shapes, target.signature)
            if isinstance(feeds, Mismatch):
                compared = tuple(impossible(len(rows), feeds.reason) for rows in material.rows)
                judgement = Judgement(Verdict.DIVERGED, (feeds.reason,), (compared[0], compared[1]))
            else:
                with self._clock("check"):
                    judgement = judge(material, target, feeds, self.options, self.observer)
            return self._finish(judgement, material, target, [], report=report)

    def repair(self, recognised: Recognised, final: Path) -> Result:
        check_core_layers(self.workshop, self.options)
        target = loading.side(self.workshop, "given", recognised, self.options)
        with self._material() as material:
            material.ahead()
            with self._clock("load"):
                loading.load(target)
            command = ["safeconvert", "repair", str(self.source.path), str(recognised.path), "-o", str(final)]
            command += self.options.arguments()
            options, observer = self.options, self.observer
            given = Given(
                self.workshop, material, target, self.shapes, options, observer, self._clock, self.timings
            )
            settled = given.settle()
            outcome = settled.outcome
            looked = outcome.localisation
            if self.options.ranking == "kruskal":
                ranker = Ranker(self.workshop, material, self.shapes, self.options, self.observer)
                with self._clock("rank"):
                    looked, notes = ranker.repaired(outcome.pair, looked)
                self.notes += notes
            return self._finish(
                settled.judgement,
                material,
                settled.side,
                outcome.attempts,
                [replace(fault, reproduce={"run": shlex.join(command)}) for fault in outcome.faults],
                looked,
                refused=outcome.refused,
                opinions=outcome.opinions,
                final=final,
                notes=outcome.notes,
            )

    @contextlib.contextmanager
    def _material(self) -> Iterator[Material]:
        """Load the Source and begin to read the inputs."""
        self.observer.say(f"loading {self.source.path.name}")
        with self._clock("load"):
            loading.load(self.source)
        self.shapes = loading.resolve_shapes(self.source.path, self.source.signature, self.options)
        with ThreadPoolExecutor(1) as pool:
            material = Material(self.workshop, self.source, self.shapes, self.options, pool, self.observer)
            try:
                yield material
            finally:
                material.reference.close()

    def _warm(self, way: tuple[str, ...], to: str) -> None:
        """Start the children of the likeliest route at once: their frameworks load while the Source does."""
        for framework in dict.fromkeys(frameworks(way)):
            if framework != self.source.framework:
                self.workshop.child(f"convert-{framework}", framework)
        Side(self.workshop, "target", Recognised(Path(), to, "")).start()

    def _router(self, material: Material) -> Router:
        options = self.options

        def before(hop: Hop) -> None:
            if hop.framework == self.source.framework:
                material.reference.pause()  # the converter needs the Source's child

        return Router(
            self.workshop,
            self.source,
            self.shapes,
            material.sample,
            material.quantising,
            Settings(
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
            after=lambda hop: material.ahead(),
            say=self.observer.say,
        )

    def _finish(
        self,
        judgement: Judgement,
        material: Material,
        target: Side | None,
        attempts: Sequence[Attempt],
        faults: Sequence[Fault] = (),
        localisation: Localisation | None = None,
        *,
        refused: Sequence[Refusal] = (),
        opinions: Sequence[engines.Opinion] = (),
        final: Path | None = None,
        report: Path | None = None,
        files: Sequence[tuple[Path, Path]] = (),
        notes: Sequence[str] = (),
    ) -> Result:
        """Put the Target where its verdict lets it stand, and the report beside it; the Target comes last."""
        good = judgement.verdict in (Verdict.VERIFIED, Verdict.REPAIRED)
        placed = final if good and target is not None else None
        kept = publish.named(final, "unverified") if final is not None and target is not None and not good else None
        notes = [
            *notes,
            *material.notes,
            *self.source.signature.notes,
            *self.source.notes,
            *(target.notes if target else []),
        ]
        notes += [*_fixed_sizes(self.source, target), *self.notes]
        with self._clock("engines") if self.options.engine != "onnxruntime" else contextlib.nullcontext():
            opinions = engines.of_files(self.workshop, material, target, self.shapes, opinions)
        notes += [one.words for one in opinions if one.agrees is not True]
        if final is not None and not good and (previous := publish.set_aside(final)) is not None:
            notes.append(f"what stood at {final} is now {previous}")
        self.timings["total"] = time.monotonic() - self._begun
        document = build(
            judgement=judgement,
            source=self.source,
            target=target,
            target_path=placed or kept or (None if target is None else target.path),
            attempts=attempts,
            faults=faults,
            localisation=localisation,
            refused=refused,
            engines=opinions,
            material=material,
            options=self.options,
            notes=notes,
            timings=self.timings,
        )
        with publish.together() as written:
            base = final or report
            for form in ("json", "html") if base is not None else ():
                assert base is not None
                beside = base.with_name(f"{base.name}.report.{form}")
                publish.put_text(self.workshop, render(document, form), beside)
                written.append(beside)
            for made, beside in files:
                publish.put(self.workshop, made, beside)
                written.append(beside)
            for path in stale(final, written, self.source.path, self.options) if final is not None else ():
                remove(path)
            if target is not None and placed is not None and (contract := material.contract(target.signature)):
                beside = placed.with_name(f"{placed.name}.input.json")
                publish.put_text(self.workshop, contract + "\n", beside)
                written.append(beside)
            if target is not None and (chosen := placed or kept) is not None:
                publish.put(self.workshop, target.path, chosen)
        return Result(judgement.verdict, placed, kept, document, judgement.reasons)

    @contextlib.contextmanager
    def _clock(self, what: str) -> Iterator[None]:
        begun = time.monotonic()
        try:
            yield
        finally:
            self.timings[what] = self.timings.get(what, 0.0) + time.monotonic() - begun


def _fixed_sizes(source: Side, target: Side | None) -> list[str]:
    """A note where sizes that the Source leaves open are fixed in the Target."""
    theirs = [] if target is None else [spec for spec in target.signature.inputs if spec.shape is not None]
    open_sizes = [spec for spec in source.signature.inputs if spec.shape and None in spec.shape[1:]]
    if open_sizes and theirs and not any(None in (spec.shape or ())[1:] for spec in theirs):
        return [f"the Source takes other sizes too ({open_sizes[0]}); the Target takes only {theirs[0]}"]
    return []


__all__ = ["Observer", "Options", "Result", "Silent", "check", "convert", "repair"]
