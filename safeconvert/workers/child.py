"""The child's side of the conversation: run functions for the parent, one after another.

Started as ``python -P child.py FD MOUNTS PRELOAD``. ``FD`` is one end of a socket pair; ``MOUNTS`` is a
JSON object from package name to folder; ``PRELOAD`` names modules to import before
the first request, with commas between. This file needs the standard library alone, so that it runs under any
interpreter, also one in which safeconvert is not installed. The folders are mounted as the packages that they are in
the parent, without running their ``__init__``: relative imports work as they do there, and values of one class are of
one class on both sides.
"""

import contextlib
import ctypes
import gc
import importlib
import json
import os
import sys
import traceback
import types
from multiprocessing.connection import Connection


def mount(folders: dict[str, str]) -> None:
    """Make each folder importable under its package's name; a package comes before those below it."""
    for name, folder in folders.items():
        package = types.ModuleType(name)
        package.__path__ = [folder]
        sys.modules[name] = package
        parent, _, leaf = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], leaf, package)


def answer(module: str, function: str, arguments: dict[str, object]) -> tuple[str, object]:
    """Run one request; whatever it raises becomes an answer, because this is a process border."""
    try:
        return "result", getattr(importlib.import_module(f"safeconvert.{module}"), function)(**arguments)
    except BaseException as error:  # noqa: BLE001 - a converter may even call sys.exit
        lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
        return "raised", {
            "kind": type(error).__name__,
            "message": " ".join(lines)[:600],
            "details": traceback.format_exc(),
        }


def give_back() -> None:
    """Return freed memory to the system: converters leave gigabytes behind that the allocator would keep."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # glibc only
        ctypes.CDLL(None).malloc_trim(0)


def main() -> None:
    connection = Connection(int(sys.argv[1]))
    mount(json.loads(sys.argv[2]))
    for preload in filter(None, sys.argv[3].split(",")):
        with contextlib.suppress(ImportError):  # the first request that needs it says so
            importlib.import_module(f"safeconvert.{preload}")
    while True:
        try:
            request = connection.recv()
        except EOFError:
            break
        kind, value = answer(*request)
        if request[0].startswith(("converters.", "repair.")):
            give_back()
        sys.stdout.flush()
        sys.stderr.flush()
        connection.send((kind, value))
    os._exit(0)  # frameworks' own threads and exit handlers must not keep a finished child alive


if __name__ == "__main__":
    main()
