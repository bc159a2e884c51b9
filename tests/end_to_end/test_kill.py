"""A run may be ended at any moment, kindly or not: no process, no scratch folder and no half file stays behind."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.support.command import COMMAND, environment

PATIENCE = 5.0  # seconds in which everything must be gone


class Run:
    """``onnx2torch`` in a folder of its own, started as a shell would: leader of its own process group."""

    def __init__(self, folder: Path, source: Path) -> None:
        self.folder, self.temporary = folder / "out", folder / "tmp"
        self.folder.mkdir()
        self.errors = folder / "errors"
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [COMMAND, "onnx2torch", source, "-o", self.folder / "m.pt2"],
                env=environment(self.temporary),
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
            )

    @property
    def target(self) -> Path:
        return self.folder / "m.pt2"

    def wait_until(self, event: Callable[[], object]) -> None:
        end = time.monotonic() + 60
        while not event() and self.process.poll() is None and time.monotonic() < end:
            time.sleep(0.005)

    def processes(self) -> list[psutil.Process]:
        """All that this run started and that still runs: known by the folder for temporary files."""
        alive = []
        for process in psutil.process_iter():
            try:
                place = process.environ().get("TMPDIR", "")
                if place.startswith(str(self.temporary)) and process.status() != psutil.STATUS_ZOMBIE:
                    alive.append(process)
            except psutil.Error:
                continue
        return alive

    def nothing_left(self) -> None:
        """Nothing runs, nothing is in the scratch place, no partial file; else an AssertionError after ``PATIENCE``."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            left = [self.processes(), list(self.temporary.iterdir()), list(self.folder.glob(".*"))]
            if not any(left):
                return
            time.sleep(0.05)
        raise AssertionError(f"left: {left}")


@pytest.fixture(scope="module")
def verified(tmp_path_factory: pytest.TempPathFactory, onnx_models: Path) -> str:
    """Digest of the file that an undisturbed run gives."""
    run = Run(tmp_path_factory.mktemp("whole"), onnx_models / "labels.onnx")
    assert run.process.wait(60) == 0, run.errors.read_text()
    run.nothing_left()
    return contents(run.target)


def contents(path: Path) -> str:
    """A digest of an exported program but for what torch draws at random."""
    import zipfile

    digest = hashlib.sha256()
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        for name in sorted(archive.namelist()):
            if not name.endswith(("serialization_id", "models/model.json")):
                digest.update(name.encode() + archive.read(name))
    return digest.hexdigest()


def started(run: Run) -> bool:
    return any(run.temporary.glob("safeconvert-*"))  # not the file by which Python tries whether it may write there


def reported(run: Run) -> bool:
    return (run.folder / "m.pt2.report.html").exists()


MOMENTS: dict[str, tuple[Callable[[Run], object], float]] = {
    "at once": (lambda run: True, 0.2),
    "as the scratch folder appears": (started, 0.0),
    "as the children start": (started, 0.1),
    "while frameworks load": (started, 0.6),
    "while the Source runs": (started, 1.2),
    "while the converter loads": (started, 2.0),
    "while it converts": (started, 2.8),
    "while the Target is checked": (started, 3.8),
    "as the report is written": (lambda run: list(run.folder.iterdir()), 0.0),
    "as the Target is written": (reported, 0.0),
}


def end_of(run: Run, moment: str, end: Callable[[], None]) -> int:
    event, seconds = MOMENTS[moment]
    run.wait_until(lambda: event(run))
    time.sleep(seconds)
    if run.process.poll() is None:
        end()
    return run.process.wait(PATIENCE + 5)


@pytest.mark.parametrize("moment", MOMENTS)
def test_after_a_kill_nothing_is_left_and_the_target_is_whole_or_not_there(
    moment: str, tmp_path: Path, onnx_models: Path, verified: str
) -> None:
    run = Run(tmp_path, onnx_models / "labels.onnx")
    assert end_of(run, moment, run.process.kill) in (-signal.SIGKILL, 0)
    run.nothing_left()
    assert not run.target.exists() or contents(run.target) == verified


INTERRUPTED = [
    *((moment, "leader") for moment in MOMENTS if moment not in ("at once", "as the Target is written")),
    *(
        (moment, "group")
        for moment in ("as the scratch folder appears", "while it converts", "as the report is written")
    ),
]


@pytest.mark.parametrize(("moment", "whom"), INTERRUPTED)
def test_an_interrupted_run_ends_with_130_and_leaves_nothing(
    moment: str, whom: str, tmp_path: Path, onnx_models: Path
) -> None:
    run = Run(tmp_path, onnx_models / "labels.onnx")

    def interrupt() -> None:
        (os.kill if whom == "leader" else os.killpg)(run.process.pid, signal.SIGINT)

    code = end_of(run, moment, interrupt)
    errors = run.errors.read_text()
    assert code == 130 or (code == 0 and moment == "while the Target is checked"), errors
    assert "Traceback" not in errors
    run.nothing_left()
    if code == 130:
        assert errors.startswith("interrupted")
        assert not run.target.exists()


def test_an_impatient_second_interrupt_changes_nothing(tmp_path: Path, onnx_models: Path) -> None:
    run = Run(tmp_path, onnx_models / "labels.onnx")

    def twice() -> None:
        for _ in range(3):
            os.killpg(run.process.pid, signal.SIGINT)
            time.sleep(0.05)

    assert end_of(run, "while it converts", twice) in (130, -signal.SIGINT)
    run.nothing_left()
    assert not run.target.exists()


def test_an_end_by_the_system_leaves_nothing_either(tmp_path: Path, onnx_models: Path) -> None:
    for number in (signal.SIGTERM, signal.SIGHUP):
        (tmp_path / number.name).mkdir()
        run = Run(tmp_path / number.name, onnx_models / "labels.onnx")
        assert end_of(run, "while frameworks load", lambda run=run, number=number: run.process.send_signal(number)) != 0
        run.nothing_left()
        assert not run.target.exists()
