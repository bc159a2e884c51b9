"""The runs behind the commands: their clock, what they say of inputs that do not fit, and the loop over strategies."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from safeconvert.repair.context import Findings, Proposal, RepairContext, RepairState, Strategy

from safeconvert.comparison.comparison import all_rows_differ
from safeconvert.conversion.stage import ConvertedModel
from safeconvert.models.detect import detect
from safeconvert.models.loaded_model import LoadedModel
from safeconvert.options import Options, Silent
from safeconvert.records import Diagnosis, Verdict
from safeconvert.runs import repair as repair_run
from safeconvert.runs.base import Run
from safeconvert.runs.check import CheckRun
from safeconvert.runs.conversion_check import judged
from safeconvert.runs.convert import ConvertRun
from safeconvert.runs.result import Result
from safeconvert.workers.pool import WorkerPool
from tests.support.seeded_faults import broken
from tests.support.seeded_nets import inputs, net


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """``source.onnx``, a wrong ``target.onnx``, ``other.onnx`` for other sizes, and inputs."""
    wide = net()
    wide.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 5
    for name, model in (("source", net()), ("target", broken("dilated")), ("other", wide)):
        onnx.save(model, tmp_path / f"{name}.onnx")
    np.savez(tmp_path / "x.npz", inputs(net(), 0, 24))
    return tmp_path


@contextmanager
def workers() -> Iterator[WorkerPool]:
    with WorkerPool() as pool:
        yield pool


def test_the_clock_counts_no_second_twice(models: Path) -> None:
    with workers() as pool:
        run = Run(pool, detect(models / "source.onnx"), Options(), Silent())
        with run.clock("outer"):
            time.sleep(0.02)
            with run.clock("inner"):
                time.sleep(0.3)
    assert run.timings["inner"] >= 0.3
    assert 0.02 <= run.timings["outer"] < 0.3


def check(models: Path, target: str) -> Result:
    with workers() as pool:
        options = Options(inputs=models / "x.npz")
        return CheckRun(pool, detect(models / "source.onnx"), options, Silent()).run(
            detect(models / target), models / "report"
        )


def test_a_check_writes_a_report_and_no_model(models: Path) -> None:
    result = check(models, "source.onnx")
    assert (result.verdict, result.target, result.unverified) == (Verdict.VERIFIED, None, None)
    assert [path.name for path, _ in result.files] == ["report.report.json", "report.report.html"]
    assert check(models, "target.onnx").verdict is Verdict.DIVERGED


def test_a_conversion_writes_the_target_last_and_lists_it_first(models: Path) -> None:
    final = models / "made.tflite"
    with workers() as pool:
        options = Options(inputs=models / "x.npz")
        result = ConvertRun(pool, detect(models / "source.onnx"), options, Silent()).run("tflite", final)
    assert result.target == final
    assert result.files[0][0] == final
    assert [fault["status"] for fault in result.report["faults"]] in ([], ["repaired"])


def test_a_target_that_does_not_take_the_sources_inputs_is_told_so_and_not_run(models: Path) -> None:
    with workers() as pool:
        run = Run(pool, detect(models / "source.onnx"), Options(inputs=models / "x.npz"), Silent())
        with run.evaluation_set() as evaluation_set:
            target = LoadedModel(pool, "other", detect(models / "other.onnx"))
            stage = ConvertedModel(target, (), (), all_rows_differ(2, "it takes five channels"))
            judgement = judged(evaluation_set, stage)
    assert judgement.verdict is Verdict.DIVERGED
    assert judgement.reasons == ("it takes five channels",)


# --- the loop over the strategies


FOUND = Diagnosis(type="LH", hop="onnx->onnx", source_node="a", target_node="b", evidence={}, repair="changed")


def proposing(folder: Path, name: str, **findings: Any) -> Strategy:
    """A strategy that proposes the model ``name`` and says that it repairs all."""

    def propose(context: RepairContext, state: RepairState) -> Proposal:
        assert state.stage is not None
        model = LoadedModel(context.workers, "repaired target", detect(folder / name))
        model.worker()
        return Proposal(ConvertedModel(model, state.stage.mapping), findings=Findings((FOUND,), **findings))

    return Strategy(f"propose {name}", lambda context, state: state.model_differs(), propose)


def repaired_by(models: Path, monkeypatch: pytest.MonkeyPatch, *strategies: Strategy) -> Result:
    monkeypatch.setattr(repair_run, "STRATEGIES", strategies)
    with workers() as pool:
        run = repair_run.RepairRun(pool, detect(models / "source.onnx"), Options(inputs=models / "x.npz"), Silent())
        return run.run(detect(models / "target.onnx"), models / "fixed.onnx")


def test_what_a_strategy_proposes_is_judged_and_only_that_makes_it_repaired(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed = proposing(models, "target.onnx", reasons=("it was hopeless",))
    result = repaired_by(models, monkeypatch, claimed)
    assert result.verdict is Verdict.DIVERGED
    assert result.report["faults"][0]["status"] == "unrepaired"
    assert result.reasons[-1] == "it was hopeless"


def test_strategies_are_tried_on_what_the_ones_before_left(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong, right = proposing(models, "target.onnx"), proposing(models, "source.onnx")
    never = replace(proposing(models, "target.onnx"), name="after the repair")
    result = repaired_by(models, monkeypatch, wrong, right, never)
    assert result.verdict is Verdict.REPAIRED
    assert [fault["status"] for fault in result.report["faults"]] == ["repaired", "repaired"]
    assert result.report["check"]["before"]["calibration"]["labels_differ"] > 0
    assert result.report["check"]["after"]["calibration"]["labels_differ"] == 0
    assert (models / "fixed.onnx").read_bytes() == (models / "source.onnx").read_bytes()


def test_without_a_strategy_that_applies_the_target_stays_as_it_is(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = repaired_by(models, monkeypatch)
    assert (result.verdict, result.target) == (Verdict.DIVERGED, None)
    assert result.report["check"]["before"] == result.report["check"]["after"]


def test_a_target_for_other_inputs_differs_on_every_input(models: Path) -> None:
    result = check(models, "other.onnx")
    assert result.verdict is Verdict.DIVERGED
    assert "does not take the Source's" in result.reasons[0]
    assert result.report["check"]["before"]["calibration"]["percent"] == 100.0
