"""tf -> onnx, by tf2onnx's command line for SavedModels. Child side."""

from __future__ import annotations

import sys
from unittest.mock import patch


def convert(path: str, target: str, *, signature: str | None = None, opset: int | None = None) -> None:
    """Convert one signature (``serving_default`` where none is named) of a SavedModel to ONNX."""
    from tf2onnx import convert as tf2onnx

    arguments = ["tf2onnx", "--saved-model", path, "--output", target]
    if signature:
        arguments += ["--signature_def", signature]
    if opset:
        arguments += ["--opset", str(opset)]
    with patch.object(sys, "argv", arguments):
        tf2onnx.main()
