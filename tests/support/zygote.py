"""A process that has imported a framework and makes copies of itself by fork, so that tests need not import it again.

Run as ``python -P -W ignore zygote.py SOCKET PRELOAD``: it listens at the path SOCKET, whose folder it removes at its
end, and imports the modules of PRELOAD (separated by commas) when it is asked for the first time. A request is one JSON
object with file descriptors for standard output, standard error and further ones; the copy runs the script it names,
and its exit code is sent back on the same connection. The process ends as soon as its standard input is closed, thus
with the tests that started it.
"""

import contextlib
import gc
import importlib
import json
import os
import runpy
import selectors
import shutil
import socket
import sys
import tempfile
import traceback
import types
from pathlib import Path
from typing import Any

CHUNK_BYTES = 1 << 16
MAX_DESCRIPTORS = 4
POLL_SECONDS = 0.02  # how often the copies are asked whether they have ended


def become(request: dict[str, Any], descriptors: list[int]) -> None:
    """Turn this copy into the process that was asked for, and run it to its end."""
    for wanted, opened in zip((0, 1, 2), (os.open(os.devnull, os.O_RDONLY), *descriptors[:2]), strict=True):
        os.dup2(opened, wanted)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    tempfile.tempdir = None
    code = 1
    try:
        if "code" in request:
            sys.argv = ["-c", *request["arguments"]]
            sys.path.insert(0, "")
            sys.modules["__main__"] = types.ModuleType("__main__")
            exec(compile(request["code"], "<string>", "exec"), sys.modules["__main__"].__dict__)
        else:
            # The place of the one descriptor that is passed on is its number in this process.
            sys.argv = [request["script"], *(str(descriptors[2]) if a is None else a for a in request["arguments"])]
            runpy.run_path(request["script"], run_name="__main__")
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:  # noqa: BLE001 - as the interpreter itself reports what ends a script
        traceback.print_exc()
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def preload(modules: str) -> None:
    for name in modules.split(","):
        importlib.import_module(name)
    gc.collect()
    gc.freeze()


def serve(listener: socket.socket, modules: str) -> None:
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    selector.register(0, selectors.EVENT_READ)
    waiting: dict[int, socket.socket] = {}
    is_ready = False
    while True:
        for key, _ in selector.select(POLL_SECONDS if waiting else None):
            if key.fileobj == 0:
                return
            connection, _ = listener.accept()
            if not is_ready:
                preload(modules)
                is_ready = True
            data, descriptors, _, _ = socket.recv_fds(connection, CHUNK_BYTES, MAX_DESCRIPTORS)
            while chunk := connection.recv(CHUNK_BYTES):
                data += chunk
            is_leader, leads = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.setsid()
                os.close(leads)
                os.close(is_leader)
                listener.close()
                for other in (connection, *waiting.values()):
                    other.close()
                become(json.loads(data), descriptors)
            for descriptor in descriptors:
                os.close(descriptor)
            os.close(leads)
            os.read(is_leader, 1)  # until the copy leads a process group, by which whoever asked for it may kill it
            os.close(is_leader)
            connection.sendall(f"{pid}\n".encode())
            waiting[pid] = connection
        for pid, connection in list(waiting.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                with contextlib.suppress(OSError):
                    connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
                waiting.pop(pid).close()


if __name__ == "__main__":
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as socket_at_path:
        socket_at_path.bind(sys.argv[1])
        socket_at_path.listen()
        serve(socket_at_path, sys.argv[2])
    shutil.rmtree(Path(sys.argv[1]).parent, ignore_errors=True)
