"""What does this file hold? Answered from its bytes, without running or unpickling anything."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

from ..errors import BadInput
from ..formats import KERAS, ONNX, TF, TFLITE, TORCH, Format, ModelFile, format_of_suffix
from .torch_archive import is_legacy_torch, torch_flavour

HDF5 = b"\x89HDF\r\n\x1a\n"


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
        return ModelFile(path, KERAS, "h5")
    if head[4:8] == b"TFL3":
        return ModelFile(path, TFLITE, "tflite")
    if is_legacy_torch(head):
        return ModelFile(path, TORCH, torch_flavour(path))
    if looks_like_onnx(head):
        return ModelFile(path, ONNX, "onnx")
    named = format_of_suffix(path.suffix)
    claim = f"not {named.description} model, whatever its name says" if named else "no model"
    raise BadInput(
        f"{path} is {claim}: its first bytes are {head[:8]!r}.\n"
        "Known are .pt2 .pt .pth, .keras .h5, SavedModel folders, .tflite and .onnx."
    )


def _directory(path: Path) -> ModelFile:
    if (path / "saved_model.pb").is_file():
        return ModelFile(path, TF, "savedmodel")
    if (path / "saved_model.pbtxt").is_file():
        raise BadInput(f"{path} is a SavedModel in text form, which TensorFlow no longer writes. Save it again.")
    raise BadInput(f"{path} is a folder without saved_model.pb, so it is no SavedModel. Give the model file itself.")


def _zip(path: Path) -> ModelFile:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError) as error:
        raise BadInput(f"{path} is a truncated or damaged archive ({error}). Copy or download it again.") from error
    if "config.json" in names and any(n.endswith(".weights.h5") for n in names):
        return ModelFile(path, KERAS, "keras")
    if "config.json" in names and "metadata.json" in names:
        raise BadInput(f"{path} is a Keras archive without its model.weights.h5. Save the model again.")
    if flavour := torch_flavour(path):
        return ModelFile(path, TORCH, flavour)
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
