"""A batch in this process: records, resuming, lost workers, and outputs that stand in the way."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from safeconvert.batch.backends import Backend
from safeconvert.batch.plan import Conversion
from safeconvert.batch.runner import MAX_ROUNDS, run_conversions
from safeconvert.batch.state import StateFolder, key_of
from safeconvert.batch.summary import document, exit_code, write
from safeconvert.batch.task import run_conversion
from safeconvert.errors import BadInput
from safeconvert.options import Silent


class InThisProcess(Backend):
    """Runs tasks one after another here; ``loses`` are the tasks, counted from 0, at which a worker is lost."""

    loses: tuple[int, ...] = ()
    begun = 0

    def run(self, function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        for each in arguments:
            number = InThisProcess.begun
            InThisProcess.begun += 1
            if number in self.loses:
                StateFolder.log(each[2], "started", each[1], each[0].name)
                raise RuntimeError("the worker is gone")
            function(*each)
        return []


def backend(*loses: int) -> InThisProcess:
    InThisProcess.begun = 0
    chosen = InThisProcess()
    object.__setattr__(chosen, "loses", loses)
    return chosen


@pytest.fixture
def conversions(tmp_path: Path, onnx_models: Path) -> list[Conversion]:
    """Two that cannot be converted, which takes no time: their inputs are of another size."""
    np.savez(tmp_path / "x.npz", np.zeros((4, 3, 8, 9), np.float32))
    options = {"inputs": tmp_path / "x.npz"}
    return [
        Conversion(onnx_models / f"{name}.onnx", "torch", tmp_path / f"{name}.pt2", options)
        for name in ("labels", "value")
    ]


def log(state: Path, event: str) -> list[str]:
    lines = (state / "log.jsonl").read_text().splitlines()
    return [entry["name"] for entry in map(json.loads, lines) if entry["event"] == event]


def test_a_model_that_fails_does_not_stop_the_others(tmp_path: Path, conversions: list[Conversion]) -> None:
    records = run_conversions(conversions, backend(), tmp_path / "state", Silent())
    assert [record["exit_code"] for record in records] == [2, 2]
    assert all("3, 8, 9" in record["reasons"][0] for record in records), records
    assert log(tmp_path / "state", "finished") == [conversion.name for conversion in conversions]


def test_a_task_whose_worker_is_lost_is_taken_again(tmp_path: Path, conversions: list[Conversion]) -> None:
    records = run_conversions(conversions, backend(1), tmp_path / "state", Silent())
    assert [record["exit_code"] for record in records] == [2, 2]
    names = [conversion.name for conversion in conversions]
    assert log(tmp_path / "state", "started") == [names[0], names[1], names[1]]
    assert log(tmp_path / "state", "finished") == names


def test_a_task_whose_worker_is_lost_each_time_is_given_up(tmp_path: Path, conversions: list[Conversion]) -> None:
    records = run_conversions(conversions[:1], backend(*range(MAX_ROUNDS)), tmp_path / "state", Silent())
    assert records[0]["reasons"] == [f"its worker was lost {MAX_ROUNDS} times"]
    assert exit_code(records) == 3


def finished(state: StateFolder, conversion: Conversion) -> str:
    """Leave the record of a conversion that is verified, and its Target; return the key."""
    from safeconvert.models.detect import detect
    from safeconvert.models.model_digest import model_digest

    conversion.output.write_bytes(conversion.model.read_bytes())
    record = {"verdict": "verified", "exit_code": 0, "target": str(conversion.output)}
    record |= {"target_sha256": model_digest(detect(conversion.output)), "reasons": [], "before": None, "after": None}
    record |= {"faults": 0, "report": None, "seconds": 1.0, "source": "onnx"}
    record |= {"model": str(conversion.model), "to": conversion.to, "output": str(conversion.output)}
    key = key_of(conversion, {})
    state.write(key, record)
    return key


def test_what_is_done_is_not_done_again(tmp_path: Path, conversions: list[Conversion]) -> None:
    state = StateFolder(tmp_path / "state")
    state.path.mkdir()
    finished(state, conversions[0])
    records = run_conversions(conversions, backend(), state.path, Silent())
    assert [record["is_resumed"] for record in records] == [True, False]
    assert log(state.path, "started") == [conversions[1].name]


def test_a_worker_leaves_what_another_has_done_meanwhile(tmp_path: Path, conversions: list[Conversion]) -> None:
    state = StateFolder(tmp_path / "state")
    state.path.mkdir()
    key = finished(state, conversions[0])
    run_conversion(conversions[0], key, state)
    assert not (state.path / "log.jsonl").exists()


def test_a_target_that_was_changed_is_not_taken_for_done_nor_overwritten(
    tmp_path: Path, conversions: list[Conversion], onnx_models: Path
) -> None:
    state = StateFolder(tmp_path / "state")
    state.path.mkdir()
    finished(state, conversions[0])
    conversions[0].output.write_bytes((onnx_models / "two.onnx").read_bytes())
    with pytest.raises(BadInput, match="exist already"):
        run_conversions(conversions, backend(), state.path, Silent())
    assert conversions[0].output.read_bytes() == (onnx_models / "two.onnx").read_bytes()


def test_the_key_covers_model_options_and_files(tmp_path: Path, conversions: list[Conversion]) -> None:
    first, second = conversions
    key = key_of(first, {})
    assert key == key_of(replace(first, options={**first.options, "force": True}), {})
    assert key != key_of(replace(first, options={**first.options, "seed": 1}), {})
    assert key != key_of(replace(first, model=second.model), {})
    assert key != key_of(replace(first, to="keras"), {})
    np.savez(tmp_path / "x.npz", np.ones((4, 3, 8, 9), np.float32))
    assert key != key_of(first, {})


def test_the_summary_is_one_document_and_one_page(tmp_path: Path, conversions: list[Conversion]) -> None:
    records = run_conversions(conversions, backend(), tmp_path / "state", Silent())
    good = {**records[0], "key": "k", "verdict": "diverged", "exit_code": 1, "report": str(tmp_path / "a.report.json")}
    summary = document([*records, good], "loky", 1.0)
    assert (summary["exit_code"], summary["counts"]) == (2, {"no verdict": 2, "diverged": 1})
    paths = write(summary, tmp_path / "models.batch")
    assert json.loads(paths[0].read_text()) == json.loads(json.dumps(summary))
    assert 'href="a.report.html">diverged' in paths[1].read_text()
