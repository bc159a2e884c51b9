"""The faults of a Target outlive the worker that located them: a killed worker costs time, and nothing else."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import onnx
import pytest
from safeconvert.repair import remote_functions
from safeconvert.repair.localization import session
from safeconvert.repair.localization.finding import SettingChange
from safeconvert.repair.located_target import LocatedTarget

from safeconvert import api
from safeconvert.errors import CallRaised, SessionLost, WorkerFailed
from safeconvert.reporting.document import schema
from safeconvert.workers.pool import WorkerPool

from ..support.seeded_faults import broken
from ..support.seeded_nets import inputs, net

FAULTS = ("epsilon", "alpha", "head bias")


@pytest.fixture
def workers() -> Iterator[WorkerPool]:
    with WorkerPool() as pool:
        yield pool


def kill(workers: WorkerPool) -> None:
    """Kill the worker that holds the sessions, and wait for its end."""
    process = workers.worker("onnx_tflite", "onnx_tflite").process
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def located(workers: WorkerPool, folder: Path, *faults: str) -> LocatedTarget:
    onnx.save(net(), folder / "source.onnx")
    onnx.save(broken(*faults), folder / "target.onnx")
    x = {"x": inputs(net(), 1)}
    return LocatedTarget(
        workers,
        lambda worker: remote_functions.LOCATE(
            worker,
            None,
            source=str(folder / "source.onnx"),
            target=str(folder / "target.onnx"),
            arrays=x,
            target_inputs=x,
            order=["y"],
        ),
    )


def repair(folder: Path) -> tuple[str, dict[str, Any]]:
    """Verdict and report of a repair run in this process."""
    onnx.save(net(), folder / "source.onnx")
    onnx.save(broken(*FAULTS), folder / "target.onnx")
    np.savez(folder / "x.npz", np.random.default_rng(0).normal(size=(24, 3, 20, 14)).astype("float32"))
    result = api.repair(
        folder / "source.onnx", folder / "target.onnx", output=folder / "fixed.onnx", inputs=folder / "x.npz"
    )
    report = json.loads((folder / "fixed.onnx.report.json").read_text())
    jsonschema.validate(report, schema())
    return result.verdict.value, report


# -- a run


def test_a_run_whose_worker_is_killed_after_the_faults_were_located_ends_repaired_with_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[LocatedTarget] = []
    write = LocatedTarget.write

    def write_after_a_kill(self: LocatedTarget, path: Path, chosen: list[int]) -> None:
        if not killed:
            killed.append(self)
            kill(self._workers)
        write(self, path, chosen)

    monkeypatch.setattr(LocatedTarget, "write", write_after_a_kill)
    verdict, report = repair(tmp_path)
    assert killed
    assert (verdict, report["verdict"]) == ("repaired", "repaired")
    faults = {(fault["type"], fault["target_node"], fault["status"]) for fault in report["faults"]}
    assert faults == {("LH", "b1", "repaired"), ("LH", "lr", "repaired"), ("WB", "y", "repaired")}
    assert (tmp_path / "fixed.onnx").exists()


def test_a_run_whose_worker_dies_again_and_again_ends_diverged_with_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker dies at each request, and dies once more after the faults were located again."""
    ask = LocatedTarget.ask

    def ask_after_a_kill(self: LocatedTarget, request: Callable[..., Any]) -> Any:
        def request_after_a_kill(*arguments: Any) -> Any:
            kill(self._workers)
            return request(*arguments)

        return ask(self, request_after_a_kill)

    monkeypatch.setattr(LocatedTarget, "ask", ask_after_a_kill)
    verdict, report = repair(tmp_path)
    assert (verdict, report["verdict"]) == ("diverged", "diverged")
    assert "ended early" in json.dumps(report)
    assert not (tmp_path / "fixed.onnx").exists()


# -- requests of a session


REQUESTS: dict[str, Callable[[LocatedTarget, Path], object]] = {
    "write": lambda target, folder: target.write(folder / "repaired.onnx", [0, 1, 2]),
    "constants_set": lambda target, folder: [change.fault for change in target.constants_set([2]) or ()],
    "settings_set": lambda target, folder: target.settings_set(1),
    "affine_changes": lambda target, folder: target.affine_changes([]),
    "aligned_layers": lambda target, folder: target.aligned_layers(folder / "source.onnx", None),
}


@pytest.mark.parametrize("request_name", REQUESTS)
def test_a_request_of_a_killed_worker_is_answered_as_of_a_living_one(
    request_name: str, workers: WorkerPool, tmp_path: Path
) -> None:
    request, target = REQUESTS[request_name], located(workers, tmp_path, *FAULTS)
    session_id, expected = target.result.session_id, request(target, tmp_path)
    kill(workers)
    assert request(target, tmp_path) == expected
    assert target.result.session_id != session_id


def test_dismissed_faults_stay_dismissed_when_the_faults_are_located_again(workers: WorkerPool, tmp_path: Path) -> None:
    target = located(workers, tmp_path, *FAULTS)
    kill(workers)
    target.dismiss([0])
    assert [fault.target_node for fault in target.faults] == ["lr", "y"]
    expected = target.settings_set(0)
    assert expected == (SettingChange("alpha", 0.009999999776482582, 0.20000000298023224),)
    kill(workers)
    assert target.settings_set(0) == expected


def test_other_faults_than_before_are_an_error(workers: WorkerPool, tmp_path: Path) -> None:
    target = located(workers, tmp_path, *FAULTS)
    onnx.save(broken("alpha"), tmp_path / "target.onnx")
    kill(workers)
    with pytest.raises(WorkerFailed, match="gave others: 1 instead of 3"):
        target.write(tmp_path / "repaired.onnx", [0])


def test_an_error_of_the_function_itself_is_not_asked_twice(workers: WorkerPool, tmp_path: Path) -> None:
    target = located(workers, tmp_path, "alpha")
    session_id = target.result.session_id
    with pytest.raises(CallRaised, match="IndexError"):
        target.write(tmp_path / "repaired.onnx", [7])
    assert target.result.session_id == session_id


# -- sessions in a worker


def test_an_unknown_session_is_lost_on_both_sides_of_the_process_border(workers: WorkerPool, tmp_path: Path) -> None:
    with pytest.raises(SessionLost, match="Locate the faults again"):
        session.session_of("no such id")
    worker = workers.worker("onnx_tflite", "onnx_tflite")
    with pytest.raises(SessionLost, match="no such id"):
        remote_functions.WRITE_REPAIRED(worker, None, session_id="no such id", path="unused.onnx", chosen=[])


def test_sessions_live_side_by_side_and_the_one_used_longest_ago_makes_room(
    workers: WorkerPool, tmp_path: Path
) -> None:
    targets = {}
    for name in ("alpha", "epsilon", "head bias"):
        (tmp_path / name).mkdir()
        if len(targets) == session.MAX_SESSIONS_HELD:
            targets["alpha"].write(tmp_path / "again.onnx", [0])  # used last: the other one makes room
        targets[name] = located(workers, tmp_path / name, name)
    ids = {name: target.result.session_id for name, target in targets.items()}
    for target in targets.values():
        target.write(tmp_path / "repaired.onnx", [0])
    located_again = {name for name, target in targets.items() if target.result.session_id != ids[name]}
    assert "alpha" not in located_again
    assert "epsilon" in located_again


def test_a_worker_holds_no_more_sessions_than_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "_sessions", {})
    empty = session.LocalizationSession(onnx.ModelProto(), [], {}, {}, {})
    ids = [session.hold(empty) for _ in range(session.MAX_SESSIONS_HELD + 1)]
    assert len(set(ids)) == len(ids)
    with pytest.raises(SessionLost):
        session.session_of(ids[0])
    assert all(session.session_of(session_id) is empty for session_id in ids[1:])
