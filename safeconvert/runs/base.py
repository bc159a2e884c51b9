"""One run, whatever it is for: its Source, its inputs and its clock, and what it hands over at its end."""

from __future__ import annotations

import contextlib
import json
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..checking import second_runtime, tvm_check
from ..checking.evaluation_set import EvaluationSet
from ..errors import BadInput, WorkerFailed
from ..formats import ModelFile
from ..models import loader
from ..models.input_mapping import InputMapping, Mismatch, apply_mapping, map_inputs
from ..models.loaded_model import LoadedModel
from ..options import Observer, Options
from ..records import Attempt, Verdict
from ..reporting import input_contract, output_files
from ..reporting.document import build, render
from ..reporting.reproduction import stale
from ..reporting.thumbnails import thumbnails
from ..workers.pool import WorkerPool, remove
from .notes import origin_notes, run_notes
from .outcome import RunOutcome, stopped
from .result import Result


class Run:
    """One run: its workers, its Source and its clock. Each command has a subclass."""

    def __init__(self, workers: WorkerPool, source: ModelFile, options: Options, observer: Observer) -> None:
        self.workers, self.options, self.observer = workers, options, observer
        self.source = loader.model_of(workers, "source", source, options)
        self.command: list[str] = []  # the command line's words for this run
        self.timings: dict[str, float] = {}
        self.notes = origin_notes(source)
        self.attempts: list[Attempt] = []  # conversions so far
        self.models = [self.source]  # the person's own, which must stay as they are while they are compared
        self._begun = time.monotonic()
        self._seconds_inside: list[float] = []  # of steps inside of the steps that are running

    def start_target(self, worker_name: str, file: ModelFile) -> LoadedModel:
        """Start the worker of a Target that was given. Raises :class:`BadInput` for what would run code."""
        target = loader.model_of(self.workers, worker_name, file, self.options)
        second_runtime.warm(self.source, target.format)
        return target

    def load_target(self, target: LoadedModel, evaluation_set: EvaluationSet) -> None:
        """Load a Target that was given, while the Source computes its outputs."""
        self.models.append(target)
        evaluation_set.ahead()
        with self.clock("load"):
            loader.load(target)

    def map_inputs(self, target: LoadedModel) -> tuple[InputMapping, ...] | Mismatch:
        """Return how the Source's inputs become the Target's, or why they cannot."""
        return map_inputs(self.source.signature, self.shapes, target.signature)

    @contextlib.contextmanager
    def evaluation_set(self) -> Iterator[EvaluationSet]:
        """Load the Source and begin to read the inputs."""
        self.observer.say(f"loading {self.source.path.name}")
        with self.clock("load"):
            loader.load(self.source)
        self.shapes = loader.resolve_shapes(self.source.path, self.source.signature, self.options)
        with ThreadPoolExecutor(1) as pool:
            evaluation_set = EvaluationSet(self.workers, self.source, self.shapes, self.options, pool, self.observer)
            try:
                yield evaluation_set
            finally:
                evaluation_set.source_outputs.close()

    def _of_files_unchanged(self, outcome: RunOutcome) -> RunOutcome:
        """The outcome, which holds for the files that were loaded: undecided where one of them was changed since."""
        target = [] if outcome.target is None else [outcome.target]
        models = {id(model): model for model in (*self.models, *target)}
        changes = tuple(change for model in models.values() if (change := model.change_on_disk()) is not None)
        if not changes:
            return outcome
        reasons = (*changes, *outcome.judgement.reasons)
        return replace(outcome, judgement=replace(outcome.judgement, verdict=Verdict.UNDECIDED, reasons=reasons))

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
            outcome = RunOutcome(stopped(error), evaluation_set, None, tuple(self.attempts))
            return replace(self.finish(outcome, final=final, report=report), traceback=details)

    def finish(self, outcome: RunOutcome, *, final: Path | None = None, report: Path | None = None) -> Result:
        """Put the Target where its verdict lets it stand, and the report beside it; the Target comes last.

        ``final`` is the output path; without one no Target is written, and ``report`` names what the report is of.
        """
        outcome = self._of_files_unchanged(outcome)
        judgement, target = outcome.judgement, outcome.target
        placed = final if outcome.is_good and target is not None else None
        unverified = None
        if final is not None and target is not None and not outcome.is_good:
            unverified = output_files.named(final, "unverified")
        with self.clock("engines") if self.options.engine != "onnxruntime" else contextlib.nullcontext():
            opinions = tvm_check.of_files(self.workers, outcome.evaluation_set, target, self.shapes, outcome.opinions)
        notes = run_notes(outcome, self.source, self.options, self.notes, opinions)
        notes += [] if final is None or outcome.is_good else _previous_file(final, is_replaced=target is not None)
        self.timings["total"] = time.monotonic() - self._begun
        document = build(
            judgement=judgement,
            source=self.source,
            target=target,
            target_path=placed or unverified or (None if target is None else target.path),
            attempts=outcome.attempts,
            faults=outcome.faults,
            localisation=outcome.localisation,
            refused=outcome.refused,
            engines=opinions,
            evaluation_set=outcome.evaluation_set,
            options=self.options,
            notes=notes,
            timings=self.timings,
            command=self.command,
            quantization=outcome.quantization,
        )
        written = self._write(outcome, document, final or report, final, placed or unverified)
        models = [path for path in (placed, unverified) if path is not None]
        files = tuple((path, output_files.purpose(path, judgement.verdict)) for path in (*models, *written))
        return Result(judgement.verdict, placed, unverified, document, judgement.reasons, files)

    def _write(
        self,
        outcome: RunOutcome,
        document: Mapping[str, Any],
        base: Path | None,
        final: Path | None,
        model_path: Path | None,
    ) -> list[Path]:
        """Write the report beside ``base``, what goes with it, and the Target; return the files but the Target."""
        target = outcome.target
        pictures = thumbnails(outcome.evaluation_set.inputs, document)
        with output_files.together() as written:
            for form in output_files.REPORTS if base is not None else ():
                assert base is not None
                report_path = base.with_name(f"{base.name}.report.{form}")
                output_files.put_text(self.workers, render(document, form, pictures), report_path)
                written.append(report_path)
            for scratch_path, path in outcome.files:
                output_files.put(self.workers, scratch_path, path)
                written.append(path)
            for path in stale(final, written, self.source.path, self.options) if final is not None else ():
                remove(path)
            if target is not None and final is not None and outcome.is_good:
                written += self._write_contract(outcome, target, final, document)
            if target is not None and model_path is not None:
                output_files.put(self.workers, target.path, model_path)
        return written

    def _write_contract(
        self, outcome: RunOutcome, target: LoadedModel, final: Path, document: Mapping[str, Any]
    ) -> list[Path]:
        """Write how the Target is run elsewhere, where it takes images: its input contract and a test vector."""
        evaluation_set = outcome.evaluation_set
        text = evaluation_set.contract(target.signature)
        if not text:
            return []
        contract = input_contract.extended(
            text,
            is_assumed=evaluation_set.target_preprocess is None and self.options.preprocess is None,
            target=target.signature,
            rules=outcome.judgement.rules,
            predictions=document["check"]["predictions"],
        )
        written = []
        row = evaluation_set.rows[0][0]
        if vector := self._test_vector(evaluation_set, target, row):
            place = final.with_name(f"{final.name}.test.npz")
            scratch_path = self.workers.scratch("test.npz")
            np.savez_compressed(scratch_path, **vector)
            output_files.put(self.workers, scratch_path, place)
            written.append(place)
            contract = input_contract.with_test_vector(
                contract,
                format=target.format,
                model_name=final.name,
                test_name=place.name,
                image=Path(evaluation_set.inputs.label(row)).name,
                output_count=len(vector) - 1,
            )
        path = final.with_name(f"{final.name}.input.json")
        output_files.put_text(self.workers, json.dumps(contract, indent=1) + "\n", path)
        return [*written, path]

    def _test_vector(self, evaluation_set: EvaluationSet, target: LoadedModel, row: int) -> dict[str, Any]:
        """One input as the Target takes it and what it gives; empty where it does not run on a single input."""
        mapping = self.map_inputs(target)
        if isinstance(mapping, Mismatch):
            return {}
        arrays = apply_mapping(mapping, (evaluation_set.target_inputs or evaluation_set.inputs).read((row,)))
        if len(arrays) != 1:
            return {}
        try:
            return input_contract.vector_arrays(arrays, target.run(arrays))
        except WorkerFailed:
            return {}

    @contextlib.contextmanager
    def clock(self, step: str) -> Iterator[None]:
        """Add the seconds of a step to the report's timings, without those of the steps inside of it."""
        begun = time.monotonic()
        self._seconds_inside.append(0.0)
        try:
            yield
        finally:
            seconds = time.monotonic() - begun
            self.timings[step] = self.timings.get(step, 0.0) + seconds - self._seconds_inside.pop()
            if self._seconds_inside:
                self._seconds_inside[-1] += seconds


def _previous_file(final: Path, *, is_replaced: bool) -> list[str]:
    """What became of the file at the output path: it steps aside only where the run made a Target."""
    if not is_replaced:
        return [f"what stood at {final} stands there still: this run made no Target"] if final.exists() else []
    previous = output_files.set_aside(final)
    return [] if previous is None else [f"what stood at {final} is now {previous}"]
