"""Where the Target of a live Source goes if no output path is given: a folder that is removed when the process ends."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ..formats import Format, ModelFile

_FOLDERS: list[tempfile.TemporaryDirectory[str]] = []  # each is removed at the end of the process


def new_folder() -> Path:
    """Make a folder that lasts as long as this process."""
    folder = tempfile.TemporaryDirectory(prefix="safeconvert-results-")
    _FOLDERS.append(folder)
    return Path(folder.name)


def default_output(source: ModelFile, target: Format) -> Path:
    """Beside the Source: ``model.pt`` -> ``model.keras``; a SavedModel folder is ``model_savedmodel``.

    For a live Source, in a folder that lasts as long as the process.
    """
    folder = new_folder() if source.is_live else source.path.parent
    stem = source.path.name if source.format.is_folder else source.path.stem
    return folder / f"{stem}{target.suffix or '_savedmodel'}"
