"""What a run came to: the verdict, and all that its report says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..checking.evaluation_set import EvaluationSet
from ..checking.tvm_check import RuntimeComparison
from ..checking.verdict import Judgement
from ..comparison.comparison import all_rows_differ
from ..errors import SourceFailed, WorkerFailed
from ..models.input_mapping import Mismatch
from ..models.loaded_model import LoadedModel, shorten
from ..records import Attempt, Fault, Localisation, Refusal, Verdict


@dataclass(frozen=True)
class RunOutcome:
    """What a run came to, and what its report says.

    ``target`` is None where no route produced one. ``evaluation_set`` is the one that the judgement holds for.
    ``attempts`` are the report's route, ``opinions`` what a second engine says of models and views. ``files`` were made
    to be put beside the report: where each lies, and where it goes. ``quantization`` is that part of the report.
    """

    judgement: Judgement
    evaluation_set: EvaluationSet
    target: LoadedModel | None
    attempts: tuple[Attempt, ...] = ()
    faults: tuple[Fault, ...] = ()
    localisation: Localisation | None = None
    refused: tuple[Refusal, ...] = ()
    opinions: tuple[RuntimeComparison, ...] = ()
    notes: tuple[str, ...] = ()
    files: tuple[tuple[Path, Path], ...] = ()
    quantization: Mapping[str, Any] | None = None

    @property
    def is_good(self) -> bool:
        return self.judgement.verdict in (Verdict.VERIFIED, Verdict.REPAIRED)


def stopped(error: Exception) -> Judgement:
    """The verdict of a run that could not go on: nothing is known of the Target."""
    if isinstance(error, SourceFailed):
        return Judgement(Verdict.UNDECIDED, (f"the Source does not run on these inputs: {error}",))
    reason = f"the run stopped: {type(error).__name__}: {shorten(str(error))}"
    if isinstance(error, WorkerFailed):
        reason = f"the run stopped, as a worker failed: {shorten(str(error))}"
    return Judgement(Verdict.UNDECIDED, (f"{reason} (-v shows the traceback)",))


def mismatched(evaluation_set: EvaluationSet, mismatch: Mismatch) -> Judgement:
    """Return the judgement of a Target that does not take the Source's inputs."""
    calibration, heldout = (all_rows_differ(len(rows), mismatch.reason) for rows in evaluation_set.rows)
    return Judgement(Verdict.DIVERGED, (mismatch.reason,), (calibration, heldout))
