"""Worker processes: one framework each, kept warm, spoken to in arrays and file paths, and free to die.

A :class:`WorkerPool` holds the workers of one run and its scratch folder. Whatever ends the run, be it a
normal return, Ctrl-C or SIGKILL, no worker and no scratch file is left: see :mod:`safeconvert.workers.janitor`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import psutil

from ..errors import BadInput, CallRaised, SessionLost, WorkerDied

HERE = Path(__file__).resolve().parent
PRELOADS = {
    "torch": ("runtimes.pytorch.model",),
    "tensorflow": ("runtimes.tensorflow.model",),
    # onnxruntime and LiteRT share a worker: both are small, and neither brings an LLVM
    "onnx_tflite": ("runtimes.onnxruntime.model", "runtimes.litert.model"),
    "tvm": ("runtimes.tvm.model",),  # brings an LLVM of its own, and runs nothing but ONNX files
}
"""The modules that each kind of worker imports before its first request."""
ENVIRONMENT = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "KERAS_BACKEND": "tensorflow",
    "CUDA_VISIBLE_DEVICES": "-1",  # verdicts are about CPU arithmetic: the same on every machine
    "PYTHONHASHSEED": "0",
    "PYTHONIOENCODING": "utf-8",
}


def mounts() -> dict[str, str]:
    """The folders that a worker may import from, by package name; each package before those below it."""
    packages = ("safeconvert", "safeconvert.converters", "safeconvert.repair")
    return {package: str(_folder(package)) for package in packages}


def _folder(package: str) -> Path:
    """Where the package lies; it is looked up and not imported, since it imports this module."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{package} is not installed whole: install safeconvert again")
    return Path(spec.origin).resolve().parent


def memory_limit() -> int:
    """Bytes of resident memory that one worker may hold: four fifths of the machine or its container."""
    limits = [psutil.virtual_memory().total]
    with contextlib.suppress(OSError, ValueError):
        limits.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return int(min(limits) * 0.8)


class Worker:
    """One worker process, started at once; requests are answered in the order in which they are made."""

    def __init__(self, name: str, framework: str, workers: WorkerPool, python: str = sys.executable) -> None:
        self.name, self.framework = name, framework
        self._pool = workers
        self._lock = threading.Lock()
        self.log = workers.folder / f"{name}-{workers.serial()}.log"
        parent_end, worker_end = socket.socketpair()
        with worker_end, self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    python,
                    "-P",
                    str(HERE / "child.py"),
                    str(worker_end.fileno()),
                    json.dumps(mounts()),
                    ",".join(PRELOADS.get(framework, ())),
                ],
                pass_fds=[worker_end.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=workers.folder,  # converters that drop files of their own drop them in the scratch folder
                # Killed workers cannot tidy up: what their libraries leave behind is in the scratch folder.
                env={**os.environ, **ENVIRONMENT, "TMPDIR": str(workers.folder)},
                start_new_session=True,  # Ctrl-C is for the parent, which then stops its workers
            )
        workers.tell("child", self.process.pid)
        self._connection = Connection(parent_end.detach())
        self._limit = memory_limit()

    def call(self, module: str, function: str, *, timeout: float | None = None, **arguments: Any) -> Any:
        """Run ``function`` of ``module`` (a path below the mounts, such as ``runtimes.registry``) in the worker.

        Arguments and result are plain values and numpy arrays. ``timeout`` is in seconds.
        Raises :class:`CallRaised`, :class:`SessionLost` or :class:`WorkerDied`.
        """
        with self._lock:
            try:
                self._connection.send((module, function, arguments))
                kind, value = self._wait(timeout)
            except (EOFError, OSError) as error:
                raise self._died() from error
        if kind == "raised":
            raise SessionLost(value["message"]) if value["kind"] == SessionLost.__name__ else CallRaised(**value)
        return value

    def _wait(self, timeout: float | None) -> tuple[str, Any]:
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._connection.poll(0.3):
            if self.process.poll() is not None and not self._connection.poll(0):
                raise EOFError
            if deadline is not None and time.monotonic() > deadline:
                self.stop()
                raise WorkerDied(f"no answer within {timeout:g} s (--timeout)", status="timeout", details=self.tail())
            with contextlib.suppress(psutil.Error):
                used = psutil.Process(self.process.pid).memory_info().rss
                if used > self._limit:
                    self.stop()
                    raise WorkerDied(f"stopped at {used / 2**30:.1f} GiB of memory", details=self.tail())
        answer: tuple[str, Any] = self._connection.recv()
        return answer

    def _died(self) -> WorkerDied:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        code = self.process.returncode
        how = f"exit code {code}"
        if code is not None and code < 0:
            how = f"killed by {signal.Signals(-code).name}"
        tail = self.tail()
        last = tail.strip().splitlines()[-1][:300] if tail.strip() else ""
        self.stop()
        return WorkerDied(f"the {self.framework} process died ({how}){': ' + last if last else ''}", details=tail)

    def tail(self, size: int = 4000) -> str:
        """Return the end of what the worker printed."""
        with contextlib.suppress(OSError):
            return self.log.read_bytes()[-size:].decode("utf-8", "replace")
        return ""

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def stop(self) -> None:
        """Kill the worker and all that it started, and wait for its end."""
        descendants: list[psutil.Process] = []
        with contextlib.suppress(psutil.Error):
            descendants = psutil.Process(self.process.pid).children(recursive=True)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        for process in descendants:  # those that started a session of their own
            with contextlib.suppress(psutil.Error):
                process.kill()
        self.process.wait()
        self._connection.close()
        self._pool.tell("gone", self.process.pid)


class WorkerPool:
    """The workers and the scratch folder of one run; a context manager."""

    def __init__(self) -> None:
        self._serial = 0
        self._workers: dict[str, Worker] = {}
        self._changes = threading.RLock()
        self.folder = _temporary() / f"safeconvert-{secrets.token_hex(6)}"
        self._janitor: subprocess.Popen[str] = subprocess.Popen(
            [sys.executable, "-P", "-S", "-E", str(HERE / "janitor.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        self.tell("path", self.folder)  # before it is there: an interruption in between leaves nothing
        try:
            self.folder.mkdir(mode=0o700)
        except OSError as error:
            self.__exit__(None, None, None)
            raise BadInput(
                f"{self.folder} cannot be created: {error.strerror or error}. Set TMPDIR to another folder."
            ) from error

    def serial(self) -> int:
        self._serial += 1
        return self._serial

    def tell(self, word: str, value: int | Path) -> None:
        """Tell the janitor what to tidy (see there for the words)."""
        pipe: IO[str] | None = self._janitor.stdin
        if pipe is not None and not pipe.closed:
            with contextlib.suppress(BrokenPipeError):
                pipe.write(f"{word} {value if isinstance(value, int) else os.fsencode(value).hex()}\n")
                pipe.flush()

    def worker(self, name: str, framework: str, python: str = sys.executable) -> Worker:
        """Return the living worker of that name; started, or started again, where there is none."""
        with self._changes:
            worker = self._workers.get(name)
            if worker is None or not worker.alive:
                worker = self._workers[name] = Worker(name, framework, self, python)
            return worker

    def restart(self, name: str) -> None:
        """Stop the worker of that name, so that the next request starts a fresh one."""
        with self._changes:
            worker = self._workers.pop(name, None)
        if worker is not None:
            worker.stop()

    def scratch(self, name: str) -> Path:
        """Return a path in the scratch folder that nothing has used before; its suffix is that of ``name``."""
        folder = self.folder / str(self.serial())
        folder.mkdir()
        return folder / name

    @contextlib.contextmanager
    def temporary_file(self, path: Path) -> Iterator[Path]:
        """Remove the file at ``path`` when the block ends, whatever ends it."""
        self.tell("path", path)
        try:
            yield path
        finally:
            remove(path)
            self.tell("kept", path)

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers.values():
            worker.stop()
        remove(self.folder)
        if self._janitor.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._janitor.stdin.close()
        self._janitor.wait()


def _temporary() -> Path:
    try:
        return Path(tempfile.gettempdir()).absolute()
    except OSError as error:
        raise BadInput(
            f"there is no folder for temporary files ({error.strerror}). Set TMPDIR to a writable one."
        ) from error


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
