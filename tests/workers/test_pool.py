"""A child may do anything, and the parent goes on: it hears what happened, and the next child is a fresh one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from safeconvert.errors import BadInput, CallRaised, WorkerDied
from safeconvert.workers import pool
from safeconvert.workers.pool import WorkerPool

MISBEHAVIOUR = """
import os, subprocess, sys, tempfile, time
import numpy as np

HELD = []

def double(array): return array * 2
def whoami(): return os.getpid(), os.getcwd(), os.environ["TMPDIR"]
def leave_file(): return tempfile.mkstemp(prefix="generated_code")[1]
def refuse(): raise ValueError("line one\\n  line two")
def leave(): sys.exit("good bye")
def vanish(): os._exit(3)
def abort(): os.abort()
def sleep(): time.sleep(600)
def shout():
    for _ in range(40): print("x" * 100_000)
    os.write(1, b"y" * 5_000_000)
    os.write(2, b"last words\\n")
    return len("done")
def parent_of(session):
    return subprocess.Popen(["sleep", "600"], start_new_session=session).pid
def parent_that_sleeps(session, file):
    open(file, "w").write(str(parent_of(session)))
    time.sleep(600)
def hold(megabytes):
    HELD.append(np.ones((megabytes, 1 << 20), np.uint8))
    time.sleep(600)
def unsendable(): return lambda: None
def talk():
    sys.stdin.read()
    return "read to its end"
"""


@pytest.fixture
def workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkerPool]:
    """A workshop whose children can also import ``test.misbehaviour``."""
    (tmp_path / "mounted").mkdir()
    (tmp_path / "mounted" / "misbehaviour.py").write_text(MISBEHAVIOUR)
    mounts = {**pool.mounts(), "safeconvert.test": str(tmp_path / "mounted")}
    monkeypatch.setattr(pool, "mounts", lambda: mounts)
    with WorkerPool() as worker_pool:
        yield worker_pool


def call(workers: WorkerPool, function: str, *, timeout: float | None = 60, **arguments: object) -> object:
    # An unknown framework preloads nothing: the child is there at once.
    return workers.worker("c", "none").call("test.misbehaviour", function, timeout=timeout, **arguments)


def works(workers: WorkerPool) -> int:
    """The child answers rightly; gives its process number."""
    doubled = call(workers, "double", array=np.arange(5.0))
    assert isinstance(doubled, np.ndarray)
    np.testing.assert_array_equal(doubled, [0, 2, 4, 6, 8])
    return workers.worker("c", "none").process.pid


def gone(pid: int, seconds: float = 5.0) -> bool:
    """Is the process dead, or a zombie that nobody waited for, before that long?"""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return False


def test_what_a_function_raises_is_told_and_the_child_lives_on(workers: WorkerPool) -> None:
    pid = works(workers)
    with pytest.raises(CallRaised, match=r"^ValueError: line one line two$") as caught:
        call(workers, "refuse")
    assert "in refuse" in caught.value.details
    assert works(workers) == pid


def test_sys_exit_is_a_raised_error_and_no_end(workers: WorkerPool) -> None:
    pid = works(workers)
    with pytest.raises(CallRaised, match="SystemExit: good bye"):
        call(workers, "leave")
    assert works(workers) == pid


def test_a_missing_function_or_module_is_told(workers: WorkerPool) -> None:
    with pytest.raises(CallRaised, match="AttributeError"):
        call(workers, "no_such_function")
    with pytest.raises(CallRaised, match="ModuleNotFoundError"):
        workers.worker("c", "none").call("test.nothing", "at_all")
    with pytest.raises(CallRaised, match="KeyError"):
        workers.worker("c", "none").call("runtimes.registry", "run", path="never loaded", arrays={"x": np.zeros(1)})
    works(workers)


@pytest.mark.parametrize(("function", "how"), [("vanish", r"exit code 3"), ("abort", "killed by SIGABRT")])
def test_the_death_of_a_child_is_told_and_another_takes_its_place(workers: WorkerPool, function: str, how: str) -> None:
    pid = works(workers)
    with pytest.raises(WorkerDied, match=how) as caught:
        call(workers, function)
    assert caught.value.status == "crashed"
    assert works(workers) != pid


def test_an_answer_that_cannot_be_sent_is_no_hang(workers: WorkerPool) -> None:
    with pytest.raises((WorkerDied, CallRaised), match=r"pickle|lambda"):
        call(workers, "unsendable")
    works(workers)


def test_a_child_that_takes_too_long_is_stopped(workers: WorkerPool) -> None:
    pid = works(workers)
    begun = time.monotonic()
    with pytest.raises(WorkerDied, match=r"no answer within 0\.5 s") as caught:
        call(workers, "sleep", timeout=0.5)
    assert time.monotonic() - begun < 3
    assert caught.value.status == "timeout"
    assert gone(pid)
    assert works(workers) != pid


def test_megabytes_of_print_block_nothing(workers: WorkerPool) -> None:
    assert call(workers, "shout") == 4
    assert len(workers.worker("c", "none").tail(100)) <= 100
    assert workers.worker("c", "none").tail().endswith("last words\n")
    works(workers)


def test_a_child_that_reads_its_input_does_not_wait(workers: WorkerPool) -> None:
    assert call(workers, "talk", timeout=10) == "read to its end"


@pytest.mark.parametrize("session", [False, True])
def test_what_a_child_started_dies_with_it(workers: WorkerPool, tmp_path: Path, session: bool) -> None:
    file = tmp_path / "pid"
    with pytest.raises(WorkerDied):
        call(workers, "parent_that_sleeps", session=session, file=str(file), timeout=1.5)
    assert gone(int(file.read_text()))
    pid = call(workers, "parent_of", session=session)
    assert isinstance(pid, int)
    workers.restart("c")
    assert gone(pid)
    works(workers)


def test_a_child_that_takes_too_much_memory_is_stopped(workers: WorkerPool, monkeypatch: pytest.MonkeyPatch) -> None:
    works(workers)
    workers.restart("c")
    with monkeypatch.context() as patch:
        patch.setattr(pool, "memory_limit", lambda: 200 << 20)
        works(workers)
        with pytest.raises(WorkerDied, match=r"stopped at 0\.\d GiB of memory"):
            call(workers, "hold", megabytes=400, timeout=60)
    works(workers)


def test_a_child_killed_from_outside_is_told(workers: WorkerPool) -> None:
    pid = works(workers)
    os.kill(pid, signal.SIGKILL)
    workers.worker("c", "none").process.wait(60)  # its last thread too
    assert works(workers) != pid


def test_children_leave_their_files_in_the_scratch_folder(workers: WorkerPool) -> None:
    answer = call(workers, "whoami")
    assert isinstance(answer, tuple)
    assert [Path(place) for place in answer[1:]] == [workers.folder, workers.folder]


def test_nothing_of_a_workshop_outlives_it(tmp_path: Path) -> None:
    outside = tmp_path / "line\nend.partial"
    with WorkerPool() as workers:
        worker = workers.worker("c", "none")
        folder, janitor = workers.folder, workers._janitor.pid
        with workers.temporary_file(outside):
            outside.write_text("not finished")
        assert folder.is_dir()
        assert folder.stat().st_mode & 0o77 == 0  # other users look elsewhere
    assert not folder.exists()
    assert not outside.exists()
    assert gone(worker.process.pid)
    assert gone(janitor)


def test_the_janitor_tidies_after_a_parent_that_was_killed(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    code = f"""
import os, pathlib, signal
from safeconvert.workers.pool import WorkerPool
workers = WorkerPool()
partial = pathlib.Path({str(tmp_path)!r}) / "kept\\n" / "out.partial"
partial.parent.mkdir()
with workers.temporary_file(partial):
    partial.write_text("half")
    print(workers.worker("c", "none").process.pid, workers.folder, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    pid, folder = done.stdout.split()
    assert gone(int(pid))
    end = time.monotonic() + 5
    while time.monotonic() < end and (Path(folder).exists() or list((tmp_path / "kept\n").iterdir())):
        time.sleep(0.05)
    assert not Path(folder).exists()
    assert not list((tmp_path / "kept\n").iterdir())
    assert (tmp_path / "kept").is_dir()  # a line end in a path does not make it another path


@pytest.mark.parametrize("name", ["SIGINT", "SIGKILL", "SIGTERM"])
def test_a_file_that_a_worker_generates_is_removed_however_the_parent_ends(name: str, tmp_path: Path) -> None:
    """As TensorFlow's generated Python files, which it removes only where its process ends by itself."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "misbehaviour.py").write_text(MISBEHAVIOUR)
    (tmp_path / "temporary").mkdir()
    code = f"""
import os, signal, time
from safeconvert.workers import pool
mounts = pool.mounts()
pool.mounts = lambda: {{**mounts, "safeconvert.tests": {str(tmp_path / "modules")!r}}}
with pool.WorkerPool() as workers:
    worker = workers.worker("c", "none")
    print(worker.call("tests.misbehaviour", "leave_file"), flush=True)
    os.kill(os.getpid(), signal.{name})
    time.sleep(60)
"""
    environment = {**os.environ, "TMPDIR": str(tmp_path / "temporary")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment, timeout=50
    )
    generated = Path(done.stdout.strip())
    assert generated.is_relative_to(tmp_path / "temporary"), done.stderr
    end = time.monotonic() + 5
    while time.monotonic() < end and list((tmp_path / "temporary").iterdir()):
        time.sleep(0.05)
    assert not list((tmp_path / "temporary").iterdir())


def test_no_place_for_temporary_files_is_the_persons_to_know(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool.tempfile, "gettempdir", lambda: str(tmp_path / "missing"))
    with pytest.raises(BadInput, match="Set TMPDIR"):
        WorkerPool()
