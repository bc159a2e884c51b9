"""Tidy up after a run, however it ended: a small process that outlives its parent by a moment.

Started as ``python -P janitor.py`` with one end of a pipe as standard input. Lines add to or take from what
is to be tidied: ``worker PID``, ``gone PID``, ``path HEX``, ``kept HEX``, the path's bytes being in
hexadecimal, as they may hold line ends and anything else. When the pipe closes, be it
at the end of a run or because the parent was killed, every child named still is killed with its process
group and every path named still is removed.
"""

import contextlib
import os
import shutil
import signal
import sys


def main() -> None:
    children: dict[int, None] = {}
    paths: dict[str, None] = {}
    for line in sys.stdin:
        word, _, value = line.rstrip("\n").partition(" ")
        if word == "child":
            children[int(value)] = None
        elif word == "gone":
            children.pop(int(value), None)
        elif word == "path":
            paths[os.fsdecode(bytes.fromhex(value))] = None
        elif word == "kept":
            paths.pop(os.fsdecode(bytes.fromhex(value)), None)
    for pid in children:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
    for path in paths:
        if os.path.isdir(path) and not os.path.islink(path):  # noqa: PTH112, PTH114 - starts faster without pathlib
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                os.unlink(path)  # noqa: PTH108


if __name__ == "__main__":
    main()
