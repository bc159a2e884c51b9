"""What does this file hold? Answered from its bytes, without running or unpickling anything."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

from ..errors import BadInput
from ..formats import FORMATS, Format, ModelFile, format_of_suffix

ZIP = b"PK\x03\x04"
HEAD_BYTES = 4096


def detect(path: Path, expected: Format | None = None) -> ModelFile:
    """Tell the format and flavour of the model at ``path`` from its bytes.

    ``expected`` is the format that the command names; any other is refused with the right command.
    Raises :class:`BadInput` where the path is no model file that safeconvert knows.
    """
    if (shown := printable(path)) != str(path):
        raise BadInput(
            f"the path {shown} is not UTF-8, and frameworks open no other. Rename it, or give it through a link."
        )
    file = _detect(path)
    if expected is not None and file.format != expected:
        raise BadInput(
            f"{path} holds {file.format.description} model ({file.flavour}), not {expected.description} one.\n"
            f"Use the {file.format}2... command for it."
        )
    return file


def _detect(path: Path) -> ModelFile:
    head = _first_bytes(path)
    for format in FORMATS:
        if format.is_folder == path.is_dir() and (flavour := format.detect_flavour(path, head)):
            return ModelFile(path, format, flavour)
    if path.is_dir():
        raise BadInput(
            f"{path} is a folder without saved_model.pb, so it is no SavedModel. Give the model file itself."
        )
    if head.startswith(ZIP):
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()[:3]
        raise BadInput(f"{path} is a zip archive, but neither a Keras nor a PyTorch model (it holds {names}).")
    named = format_of_suffix(path.suffix)
    claim = f"not {named.description} model, whatever its name says" if named else "no model"
    known = ", ".join(" ".join(f.known_suffixes) or f"{f.display_name} folders" for f in FORMATS)
    raise BadInput(f"{path} is {claim}: its first bytes are {head[:8]!r}.\nKnown are {known}.")


def _first_bytes(path: Path) -> bytes:
    """Return what a file begins with; nothing of a folder. Raises :class:`BadInput` where nothing can be read."""
    try:
        if path.is_dir():
            return b""
        if not path.exists():
            raise BadInput(f"{path} does not exist. Give the path of a model file or SavedModel folder.")
        if not path.is_file():
            raise BadInput(f"{path} is not a regular file. Give the path of a model file or SavedModel folder.")
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror or error}.") from error
    if not head:
        raise BadInput(f"{path} is empty. Was the download or the copy cut off?")
    if head.startswith(ZIP):
        try:
            zipfile.ZipFile(path).close()
        except (zipfile.BadZipFile, OSError) as error:
            raise BadInput(f"{path} is a truncated or damaged archive ({error}). Copy or download it again.") from error
    return head


def printable(path: Path) -> str:
    """The path as text that every encoding of a terminal takes; its own text where it is UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
