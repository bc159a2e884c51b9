"""One run, whatever it is for: its Source, its inputs and its clock, and what it hands over at its end."""

from __future__ import annotations

import contextlib
import shlex
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..checking import second_runtime, tvm_check
from ..checking.evaluation_set import EvaluationSet
from ..checking.verdict import Judgement, judge
from ..comparison.compare import all_rows_differ
from ..errors import BadInput, SourceFailed, WorkerFailed
from ..formats import ModelFile
from ..models import loading
from ..models.input_mapping import Mismatch, map_inputs
from ..models.loaded import LoadedModel, shorten
from ..options import Observer, Options
from ..records import Attempt, Fault, Localisation, Refusal, Verdict
from ..repair.layer_ranking import Ranker, check_core_layers
from ..reporting import output_files
from ..reporting.document import build, render
from ..reporting.reproduction import stale
from ..workers.pool import WorkerPool, remove
from .repair import RepairRun


@dataclass(frozen=True)
class Result:
    """The outcome. ``target`` is the file that now stands at the output path: only where it was verified or
    repaired; ``unverified`` is where a diverged one was kept. ``report`` is the report as in its JSON file.
    ``reasons`` say why the verdict is not ``verified``. ``files`` are all files that the run wrote, with
    what each is for."""

    verdict: Verdict
    target: Path | None
    unverified: Path | None
    report: Mapping[str, Any]
    reasons: tuple[str, ...] = ()
    files: tuple[tuple[Path, str], ...] = ()
    traceback: str = ""  # of what stopped the run, if anything did

    @property
    def exit_code(self) -> int:
        return self.verdict.exit_code


def _stopped_judgement(error: Exception) -> Judgement:
    """The verdict of a run that could not go on: nothing is known of the Target."""
    if isinstance(error, SourceFailed):
        return Judgement(Verdict.UNDECIDED, (f"the Source does not run on these inputs: {error}",))
    words = f"the run stopped: {type(error).__name__}: {shorten(str(error))}"
    if isinstance(error, WorkerFailed):
        words = f"the run stopped, as a worker failed: {shorten(str(error))}"
    return Judgement(Verdict.UNDECIDED, (f"{words} (-v shows the traceback)",))


class Run:
    """One run: its workshop, its Source and its clock."""

    def __init__(self, workers: WorkerPool, source: ModelFile, options: Options, observer: Observer) -> None:
        self.workers, self.options, self.observer = workers, options, observer
        self.source = loading.model_of(workers, "source", source, options)
        self.timings: dict[str, float] = {}
        self.notes: list[str] = []
        self.attempts: list[Attempt] = []  # conversions so far
        self._begun = time.monotonic()

    def check(self, file: ModelFile, report: Path | None) -> Result:
        target = loading.model_of(self.workers, "target", file, self.options)
        second_runtime.warm(self.source, target.format)
        with self.evaluation_set() as evaluation_set:
            return self.reported(lambda: self._check(evaluation_set, target, report), evaluation_set, report=report)

    def _check(self, evaluation_set: EvaluationSet, target: LoadedModel, report: Path | None) -> Result:
        evaluation_set.ahead()
        with self.clock("load"):
            loading.load(target)
        mapping = map_inputs(self.source.signature, self.shapes, target.signature)
        if isinstance(mapping, Mismatch):
            compared = tuple(all_rows_differ(len(rows), mapping.reason) for rows in evaluation_set.rows)
            judgement = Judgement(Verdict.DIVERGED, (mapping.reason,), (compared[0], compared[1]))
        else:
            with self.clock("check"):
                judgement = judge(evaluation_set, target, mapping)
        return self.finish(judgement, evaluation_set, target, [], report=report)

    def repair(self, file: ModelFile, final: Path) -> Result:
        check_core_layers(self.workers, self.options)
        target = loading.model_of(self.workers, "given", file, self.options)
        second_runtime.warm(self.source, target.format)
        with self.evaluation_set() as evaluation_set:
            return self.reported(lambda: self._repair(evaluation_set, file, target, final), evaluation_set, final=final)

    def _repair(self, evaluation_set: EvaluationSet, file: ModelFile, target: LoadedModel, final: Path) -> Result:
        evaluation_set.ahead()
        with self.clock("load"):
            loading.load(target)
        command = ["safeconvert", "repair", str(self.source.path), str(file.path), "-o", str(final)]
        command += self.options.arguments()
        options, observer = self.options, self.observer
        given = RepairRun(
            self.workers, evaluation_set, target, self.shapes, options, observer, self.clock, self.timings
        )
        settled = given.settle()
        outcome = settled.outcome
        looked = outcome.localisation
        if self.options.ranking == "kruskal":
            ranker = Ranker(self.workers, evaluation_set, self.shapes, self.options, self.observer)
            with self.clock("rank"):
                looked, notes = ranker.repaired(outcome.pair, outcome.located, looked)
            self.notes += notes
        return self.finish(
            settled.judgement,
            settled.evaluation_set,
            settled.side,
            outcome.attempts,
            [replace(fault, reproduce={"run": shlex.join(command)}) for fault in outcome.faults],
            looked,
            refused=outcome.refused,
            opinions=outcome.opinions,
            final=final,
            notes=outcome.notes,
        )

    def reported(
        self,
        work: Callable[[], Result],
        evaluation_set: EvaluationSet,
        *,
        final: Path | None = None,
        report: Path | None = None,
    ) -> Result:
        """Do the work; where it stops, give the run a verdict and a report all the same.

        What a person can mend (:class:`BadInput`, a full disk) is raised on.
        """
        try:
            return work()
        except (BadInput, OSError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever a model does, its run has a report
            details = traceback.format_exc() + (getattr(error, "details", "") or "")
            judgement = _stopped_judgement(error)
            result = self.finish(judgement, evaluation_set, None, self.attempts, final=final, report=report)
            return replace(result, traceback=details)

    @contextlib.contextmanager
    def evaluation_set(self) -> Iterator[EvaluationSet]:
        """Load the Source and begin to read the inputs."""
        self.observer.say(f"loading {self.source.path.name}")
        with self.clock("load"):
            loading.load(self.source)
        self.shapes = loading.resolve_shapes(self.source.path, self.source.signature, self.options)
        with ThreadPoolExecutor(1) as pool:
            evaluation_set = EvaluationSet(self.workers, self.source, self.shapes, self.options, pool, self.observer)
            try:
                yield evaluation_set
            finally:
                evaluation_set.reference.close()

    def finish(
        self,
        judgement: Judgement,
        evaluation_set: EvaluationSet,
        target: LoadedModel | None,
        attempts: Sequence[Attempt],
        faults: Sequence[Fault] = (),
        localisation: Localisation | None = None,
        *,
        refused: Sequence[Refusal] = (),
        opinions: Sequence[tvm_check.RuntimeComparison] = (),
        final: Path | None = None,
        report: Path | None = None,
        files: Sequence[tuple[Path, Path]] = (),
        notes: Sequence[str] = (),
    ) -> Result:
        """Put the Target where its verdict lets it stand, and the report beside it; the Target comes last."""
        good = judgement.verdict in (Verdict.VERIFIED, Verdict.REPAIRED)
        placed = final if good and target is not None else None
        kept = (
            output_files.named(final, "unverified") if final is not None and target is not None and not good else None
        )
        notes = [
            *notes,
            *evaluation_set.notes,
            *self.source.signature.notes,
            *self.source.notes,
            *(target.notes if target else []),
        ]
        notes += [*_fixed_sizes(self.source, target), *_too_large(target, self.options), *self.notes]
        if judgement.verdict is not Verdict.REPAIRED:
            notes += _unquantised(target, self.options)
        with self.clock("engines") if self.options.engine != "onnxruntime" else contextlib.nullcontext():
            opinions = tvm_check.of_files(self.workers, evaluation_set, target, self.shapes, opinions)
        notes += [one.words for one in opinions if one.agrees is not True]
        if final is not None and not good and (previous := output_files.set_aside(final)) is not None:
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
            evaluation_set=evaluation_set,
            options=self.options,
            notes=notes,
            timings=self.timings,
        )
        with output_files.together() as written:
            base = final or report
            for form in output_files.REPORTS if base is not None else ():
                assert base is not None
                beside = base.with_name(f"{base.name}.report.{form}")
                output_files.put_text(self.workers, render(document, form), beside)
                written.append(beside)
            for made, beside in files:
                output_files.put(self.workers, made, beside)
                written.append(beside)
            for path in stale(final, written, self.source.path, self.options) if final is not None else ():
                remove(path)
            if target is not None and placed is not None and (contract := evaluation_set.contract(target.signature)):
                beside = placed.with_name(f"{placed.name}.input.json")
                output_files.put_text(self.workers, contract + "\n", beside)
                written.append(beside)
            if target is not None and (chosen := placed or kept) is not None:
                output_files.put(self.workers, target.path, chosen)
        models = [path for path in (placed, kept) if path is not None]
        listed = tuple((path, output_files.purpose(path, judgement.verdict)) for path in (*models, *written))
        return Result(judgement.verdict, placed, kept, document, judgement.reasons, listed)

    @contextlib.contextmanager
    def clock(self, what: str) -> Iterator[None]:
        begun = time.monotonic()
        try:
            yield
        finally:
            self.timings[what] = self.timings.get(what, 0.0) + time.monotonic() - begun


def _unquantised(target: LoadedModel | None, options: Options) -> list[str]:
    """A note where TFLiteConverter found nothing to quantise."""
    if target is None or options.quantize != "dynamic" or target.signature.quantized:
        return []
    return ["--quantize dynamic: nothing is quantised: TFLiteConverter leaves weights below 1024 elements as they are"]


def _too_large(target: LoadedModel | None, options: Options) -> list[str]:
    """A note where the Target, which needed nothing more in float32, is larger than was asked for all the same."""
    if target is None or options.max_size is None or not target.path.is_file():
        return []
    size = target.path.stat().st_size / 1e6
    if size <= options.max_size:
        return []
    return [f"the Target takes {size:.2f} MB, more than --max-size {options.max_size:g}, with no weight restored"]


def _fixed_sizes(source: LoadedModel, target: LoadedModel | None) -> list[str]:
    """A note where sizes that the Source leaves open are fixed in the Target."""
    theirs = [] if target is None else [spec for spec in target.signature.inputs if spec.shape is not None]
    open_sizes = [spec for spec in source.signature.inputs if spec.shape and None in spec.shape[1:]]
    if open_sizes and theirs and not any(None in (spec.shape or ())[1:] for spec in theirs):
        return [f"the Source takes other sizes too ({open_sizes[0]}); the Target takes only {theirs[0]}"]
    return []
