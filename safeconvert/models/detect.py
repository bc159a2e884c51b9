"""What does this file hold? Answered from its bytes, without running or unpickling anything."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

from ..errors import BadInput
from ..records import Recognised
from .torch_archive import is_legacy_torch, torch_flavour

HDF5 = b"\x89HDF\r\n\x1a\n"
SUFFIXES = {
    ".pt2": "torch", ".pt": "torch", ".pth": "torch", ".keras": "keras", ".h5": "keras", ".hdf5": "keras",
    ".tflite": "tflite", ".onnx": "onnx",
}  # fmt: skip
NAMES = {"torch": "a PyTorch", "keras": "a Keras", "tf": "a SavedModel", "tflite": "a TFLite", "onnx": "an ONNX"}


def recognise(path: Path, expected: str | None = None) -> Recognised:
    """The format and flavour of the model at ``path``.

    ``expected`` is the format that the command names; another one is refused with the right command.
    Raises :class:`BadInput` where the path is no model file that safeconvert knows.
    """
    if (shown := printable(path)) != str(path):
        raise BadInput(
            f"the path {shown} is not UTF-8, and frameworks open no other. Rename it, or give it through a link."
        )
    found = _recognise(path)
    if expected is not None and found.format != expected:
        raise BadInput(
            f"{path} holds {NAMES[found.format]} model ({found.flavour}), not {NAMES[expected]} one.\n"
            f"Use the {found.format}2... command for it."
        )
    return found


def _recognise(path: Path) -> Recognised:
    try:
        if path.is_dir():
            return _directory(path)
        if not path.exists():
            raise BadInput(f"{path} does not exist. Give the path of a model file or SavedModel folder.")
        if not path.is_file():
            raise BadInput(f"{path} is not a regular file. Give the path of a model file or SavedModel folder.")
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror or error}.") from error
    if not head:
        raise BadInput(f"{path} is empty. Was the download or the copy cut off?")
    if head.startswith(b"PK\x03\x04"):
        return _zip(path)
    if head.startswith(HDF5):
        return Recognised(path, "keras", "h5")
    if head[4:8] == b"TFL3":
        return Recognised(path, "tflite", "tflite")
    if is_legacy_torch(head):
        return Recognised(path, "torch", torch_flavour(path))
    if looks_like_onnx(head):
        return Recognised(path, "onnx", "onnx")
    suffix = SUFFIXES.get(path.suffix.lower())
    claim = f"not {NAMES[suffix]} model, whatever its name says" if suffix else "no model"
    raise BadInput(
        f"{path} is {claim}: its first bytes are {head[:8]!r}.\n"
        "Known are .pt2 .pt .pth, .keras .h5, SavedModel folders, .tflite and .onnx."
    )


def _directory(path: Path) -> Recognised:
    if (path / "saved_model.pb").is_file():
        return Recognised(path, "tf", "savedmodel")
    if (path / "saved_model.pbtxt").is_file():
        raise BadInput(f"{path} is a SavedModel in text form, which TensorFlow no longer writes. Save it again.")
    raise BadInput(f"{path} is a folder without saved_model.pb, so it is no SavedModel. Give the model file itself.")


def _zip(path: Path) -> Recognised:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError) as error:
        raise BadInput(f"{path} is a truncated or damaged archive ({error}). Copy or download it again.") from error
    if "config.json" in names and any(n.endswith(".weights.h5") for n in names):
        return Recognised(path, "keras", "keras")
    if "config.json" in names and "metadata.json" in names:
        raise BadInput(f"{path} is a Keras archive without its model.weights.h5. Save the model again.")
    if flavour := torch_flavour(path):
        return Recognised(path, "torch", flavour)
    raise BadInput(f"{path} is a zip archive, but neither a Keras nor a PyTorch model (it holds {names[:3]}).")


def printable(path: Path) -> str:
    """The path as text that every encoding of a terminal takes; its own text where it is UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def looks_like_onnx(head: bytes) -> bool:
    """Could these be the first bytes of a ``ModelProto``?

    Its fields come as protobuf tags: ir_version (1, varint), producer_name (2), producer_version (3),
    domain (4), model_version (5, varint), doc_string (6), graph (7), opset_import (8), metadata_props (14),
    functions (25), with strings and messages as length-delimited.
    """
    return head[:1] in (b"\x08", b"\x12", b"\x1a", b"\x22", b"\x28", b"\x32", b"\x3a", b"\x42", b"\x72") and any(
        byte < 9 or byte > 126 for byte in head[:64]
    )
