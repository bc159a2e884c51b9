"""Where the Target of a live Source goes if no output path is given: a folder that is removed when the process ends."""

from __future__ import annotations

import tempfile
from pathlib import Path

_FOLDERS: list[tempfile.TemporaryDirectory[str]] = []  # each is removed at the end of the process


def new_folder() -> Path:
    """Make a folder that lasts as long as this process."""
    folder = tempfile.TemporaryDirectory(prefix="safeconvert-results-")
    _FOLDERS.append(folder)
    return Path(folder.name)
