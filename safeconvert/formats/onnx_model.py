"""ONNX models: protobuf files, whose weights may lie in files beside them."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from ..workers.runtime import ONNXRUNTIME
from .format import Format, ModelFile

FIRST_TAGS = (b"\x08", b"\x12", b"\x1a", b"\x22", b"\x28", b"\x32", b"\x3a", b"\x42", b"\x72")
"""The protobuf tags of a ``ModelProto``'s fields: ir_version (1, varint), producer_name (2), producer_version (3),
domain (4), model_version (5, varint), doc_string (6), graph (7), opset_import (8), metadata_props (14)."""


def detect_flavour(path: Path, head: bytes) -> str | None:
    """Tell what could be a ``ModelProto``: it begins with the tag of a field, and its first bytes are no text."""
    is_text = not any(byte < 9 or byte > 126 for byte in head[:64])
    return "onnx" if head[:1] in FIRST_TAGS and not is_text else None


def load_object(file: ModelFile) -> Any:
    """Return an ``onnx.ModelProto``."""
    return importlib.import_module("onnx").load(str(file.path))


SNIPPET = """\
import numpy, onnxruntime
test = numpy.load(TEST)
session = onnxruntime.InferenceSession(MODEL, providers=["CPUExecutionProvider"])
outputs = session.run(None, {INPUT: test["input"]})
"""
ONNX = Format(
    name="onnx",
    article="an",
    display_name="ONNX",
    suffix=".onnx",
    flavour="onnx",
    known_suffixes=(".onnx",),
    example="model.onnx",
    runtime=ONNXRUNTIME,
    detect_flavour=detect_flavour,
    load_object=load_object,
    requires=("onnx", "onnxruntime"),
    default_preprocess="torch",
    default_layout="nchw",
    part="node",
    layer_naming="node",
    is_named_by_layer=False,
    is_view=True,
    has_external_data=True,
    snippet=SNIPPET,
)
