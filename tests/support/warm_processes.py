"""Processes that have imported what they need: copies of a zygote (see there), one for each framework and test process.

A copy is a process of its own that has imported the framework and done nothing else, as a fresh one after its first
import; only the seconds of importing are saved. The tests of processes themselves (``tests/workers``), of the command
line and ``tests/end_to_end`` start fresh ones.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

ZYGOTE = Path(__file__).with_name("zygote.py")
PRELOADED = {
    "torch": "torch,torch.export,torch._dynamo,torch._export.serde.serialize,onnxscript",
    "tensorflow": "tensorflow,keras,tf2onnx,onnx2keras",
    "onnx_tflite": "onnxruntime,onnx,onnx_ir,onnxscript,scipy.stats,ai_edge_litert.interpreter",
}
ENVIRONMENT = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "KERAS_BACKEND": "tensorflow",
    "CUDA_VISIBLE_DEVICES": "-1",
    "PYTHONHASHSEED": "0",
    "PYTHONIOENCODING": "utf-8",
}
COMMAND_MODULES = "safeconvert.cli.main,safeconvert.cli.terminal,safeconvert.cli.machine_outputs,safeconvert.api"
START_SECONDS = 120.0

_zygotes: dict[str, tuple[subprocess.Popen[bytes], str]] = {}


def zygote(framework: str) -> str:
    """The path of the socket of this test process's zygote for ``framework``, which is started where there is none.

    It imports when it is asked for the first copy. The framework "command" is safeconvert itself, as the command line
    imports it.
    """
    if framework not in _zygotes:
        folder = Path(tempfile.mkdtemp(prefix="zygote-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        path = str(folder / "socket")
        warnings = () if framework == "command" else ("-W", "ignore")  # a person sees those of the command
        process = subprocess.Popen(
            [sys.executable, "-P", *warnings, ZYGOTE, path, PRELOADED.get(framework, COMMAND_MODULES)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **ENVIRONMENT},
            start_new_session=True,
        )
        atexit.register(process.kill)
        _zygotes[framework] = process, path
    process, path = _zygotes[framework]
    if process.poll() is not None:
        raise RuntimeError(f"the zygote of {framework} has ended")
    return path


class Copy:
    """A copy of a zygote, with as much of ``subprocess.Popen`` as the worker pool uses."""

    def __init__(self, path: str, request: Mapping[str, Any], descriptors: Sequence[int]) -> None:
        self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self._connection.connect(path)
                break
            except (FileNotFoundError, ConnectionRefusedError):  # not bound, or not listening yet
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
        socket.send_fds(self._connection, [json.dumps(request).encode()], list(descriptors))
        self._connection.shutdown(socket.SHUT_WR)
        self._answers = self._connection.makefile()
        self.pid = int(self._answers.readline())
        self.returncode: int | None = None
        self._lock = threading.Lock()

    def wait(self, timeout: float | None = None) -> int:
        with self._lock:
            return self._ended(timeout)

    def _ended(self, timeout: float | None) -> int:
        if self.returncode is None:
            if not select.select([self._connection], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired([str(self.pid)], timeout or 0)
            self.returncode = int(self._answers.readline() or -signal.SIGKILL)
            self._answers.close()
            self._connection.close()
        return self.returncode

    def poll(self) -> int | None:
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None


def run_script(framework: str, code: str, folder: Path, arguments: Sequence[str] = (), timeout: float = 300) -> None:
    """Run ``code`` in ``folder`` in a process that has the framework; AssertionError with its output where it fails."""
    # A copy of a zygote ends without exit handlers, and TensorFlow removes its generated files in one.
    with tempfile.TemporaryFile() as output, tempfile.TemporaryDirectory() as temporary:
        environment = {**os.environ, **ENVIRONMENT, "TMPDIR": temporary}
        status = run_code(framework, code, folder, arguments, environment, (output, output), timeout)
        output.seek(0)
        assert status == 0, output.read().decode(errors="replace")[-4000:]


def run_code(
    framework: str,
    code: str,
    folder: Path,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    outputs: tuple[IO[bytes], IO[bytes]],
    timeout: float,
) -> int:
    """Run ``code`` in a copy of the framework's zygote and return its exit code; ``outputs`` take what it prints.

    Raises TimeoutExpired after ``timeout`` seconds, when the copy is killed.
    """
    request = {"code": code, "arguments": list(arguments), "folder": str(folder), "environment": dict(environment)}
    copy = Copy(zygote(framework), request, [output.fileno() for output in outputs])
    try:
        return copy.wait(timeout)
    except subprocess.TimeoutExpired:
        os.killpg(copy.pid, signal.SIGKILL)
        raise


def use_warm_workers(sockets: Mapping[str, str]) -> None:
    """Let the worker pool of this process take its workers from zygotes; ``sockets`` are paths by framework."""
    from safeconvert.workers import pool

    frameworks = {",".join(pool.PRELOADS[framework]): framework for framework in sockets}

    def start(command: Sequence[Any], **settings: Any) -> Any:
        if command[0] != sys.executable or command[-1] not in frameworks:
            return subprocess.Popen(command, **settings)
        script, *arguments = map(str, command[2:])
        (descriptor,) = settings["pass_fds"]
        request = {
            "script": script,
            "arguments": [None if a == str(descriptor) else a for a in arguments],
            "folder": str(settings["cwd"]),
            "environment": settings["env"],
        }
        log = settings["stdout"].fileno()
        return Copy(sockets[frameworks[command[-1]]], request, [log, log, descriptor])

    class Warm:
        """The module ``subprocess``, but for how workers are started."""

        Popen = staticmethod(start)

        def __getattr__(self, name: str) -> Any:
            return getattr(subprocess, name)

    pool.subprocess = Warm()  # type: ignore[assignment]
