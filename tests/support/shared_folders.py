"""Folders of models that all processes of one test session share: each is filled once, by whoever asks first."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import filelock
import pytest


def shared_folder(factory: pytest.TempPathFactory, name: str, fill: Callable[[Path], object]) -> Path:
    """Return the session's folder called ``name``, filled by ``fill`` unless another process has done so.

    With pytest-xdist each process has a temporary folder of its own below the session's; without it there is one
    process and one folder. Tests only read what lies in a shared folder.
    """
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / f"shared-{name}"
    with filelock.FileLock(f"{folder}.lock"):
        if not (folder / "filled").exists():
            folder.mkdir()
            fill(folder)
            (folder / "filled").touch()
    return folder
