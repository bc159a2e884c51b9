"""What a run says besides its verdict, and the verdict of a run that could not go on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from safeconvert.checking.verdict import Judgement
from safeconvert.errors import SourceFailed, WorkerFailed
from safeconvert.formats import TORCH, ModelFile
from safeconvert.models import loader
from safeconvert.models.detect import detect
from safeconvert.models.loaded_model import LoadedModel
from safeconvert.options import Options, Silent
from safeconvert.records import Verdict
from safeconvert.runs.base import Run
from safeconvert.runs.notes import origin_notes, run_notes
from safeconvert.runs.outcome import RunOutcome, stopped
from safeconvert.workers.pool import WorkerPool
from tests.support.seeded_nets import net


def test_only_a_source_from_python_code_gets_a_note_on_its_origin() -> None:
    assert origin_notes(ModelFile(Path("model.pt2"), TORCH, "pt2")) == []
    (note,) = origin_notes(ModelFile(Path("model.pt2"), TORCH, "pt2", origin="torch.nn.Module Net"))
    assert note.startswith("the Source is a torch.nn.Module Net")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (SourceFailed("it takes 5 channels"), "the Source does not run on these inputs: it takes 5 channels"),
        (WorkerFailed("killed"), "the run stopped, as a worker failed: killed"),
        (ValueError("a defect"), "the run stopped: ValueError: a defect"),
    ],
)
def test_a_run_that_stopped_is_undecided(error: Exception, words: str) -> None:
    judgement = stopped(error)
    assert judgement.verdict is Verdict.UNDECIDED
    assert judgement.reasons[0].startswith(words)
    assert not RunOutcome(judgement, None, None).is_good  # type: ignore[arg-type]


def test_a_target_gets_notes_on_its_size_and_on_sizes_that_it_fixes(tmp_path: Path) -> None:
    free = net()
    free.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    onnx.save(net(), tmp_path / "target.onnx")
    onnx.save(free, tmp_path / "source.onnx")
    options = Options(max_size=1e-6, input_shape={"": (1, 3, 20, 14)})
    with WorkerPool() as pool:
        run = Run(pool, detect(tmp_path / "source.onnx"), options, Silent())
        target = LoadedModel(pool, "target", detect(tmp_path / "target.onnx"))
        loader.load(target)
        with run.evaluation_set() as evaluation_set:
            outcome = RunOutcome(Judgement(Verdict.VERIFIED, ()), evaluation_set, target)
            notes, quantised, without_target = (
                run_notes(each, run.source, options, ["on the way"], ())
                for each in (outcome, replace(outcome, quantization={}), replace(outcome, target=None))
            )
    assert any(note.startswith("the Source takes other sizes too") for note in notes)
    assert any("more than --max-size 1e-06" in note for note in notes)
    assert "on the way" in notes
    assert not any("--max-size" in note for note in quantised)
    assert without_target == [note for note in notes if "the Target takes" not in note]
