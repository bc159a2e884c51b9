"""What the janitor tidies when its pipe closes: what was named and not taken back, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from safeconvert.workers import janitor


def tidy(*lines: str) -> None:
    command = [sys.executable, "-P", "-S", "-E", str(janitor.__file__)]
    subprocess.run(command, input="".join(f"{line}\n" for line in lines), text=True, check=True, timeout=30)


def as_hex(path: Path) -> str:
    return os.fsencode(path).hex()


def test_paths_that_were_not_kept_are_removed(tmp_path: Path) -> None:
    folder, file, kept = tmp_path / "folder\nof two lines", tmp_path / "file", tmp_path / "kept"
    folder.mkdir()
    (folder / "inside").touch()
    link = tmp_path / "link"
    link.symlink_to(kept)
    for path in (file, kept):
        path.write_text("x")
    tidy(*(f"path {as_hex(path)}" for path in (folder, file, kept, link)), f"kept {as_hex(kept)}")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_processes_that_are_not_gone_are_killed() -> None:
    sleepers = [subprocess.Popen(["sleep", "60"], start_new_session=True) for _ in range(2)]
    try:
        tidy(f"child {sleepers[0].pid}", f"child {sleepers[1].pid}", f"gone {sleepers[1].pid}")
        assert sleepers[0].wait(10) == -signal.SIGKILL
        assert sleepers[1].poll() is None
    finally:
        for sleeper in sleepers:
            sleeper.kill()
            sleeper.wait()
