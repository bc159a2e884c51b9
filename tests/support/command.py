"""The ``safeconvert`` command, run as a user runs it, and scripts that make models in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

COMMAND = Path(sys.executable).with_name("safeconvert")


@dataclass(frozen=True)
class Done:
    """What a finished command said."""

    code: int
    out: str
    err: str


def environment(temporary: Path, **more: str) -> dict[str, str]:
    """The user's environment, with the scratch folders of runs in ``temporary``, where they can be looked for."""
    temporary.mkdir(exist_ok=True)
    return {**os.environ, "TMPDIR": str(temporary), "COLUMNS": "200", **more}


def safeconvert(
    *arguments: str | Path, folder: Path, env: Mapping[str, str] | None = None, timeout: float = 120
) -> Done:
    """Run the command as a person would, in ``folder``; whatever happens, its scratch folders must be gone."""
    temporary = folder.parent / f"{folder.name}-tmp"
    given = {**environment(temporary), **(env or {})}
    done = subprocess.run(
        [COMMAND, *arguments], cwd=folder, env=given, capture_output=True, timeout=timeout, check=False
    )
    assert not list(temporary.iterdir()), f"left in TMPDIR: {list(temporary.rglob('*'))[:5]}"
    return Done(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


def made_by(script: str, folder: Path) -> Path:
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", "KERAS_BACKEND": "tensorflow"}
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], cwd=folder, env=quiet, check=True, capture_output=True
    )
    (folder / "MARKER").unlink(missing_ok=True)  # Keras calls a Lambda when it is built
    return folder
