"""tflite -> onnx, by tf2onnx: as it is, or with integer arithmetic taken out. Child side."""

from __future__ import annotations

import sys
from unittest.mock import patch


def convert(path: str, target: str, *, opset: int | None = None, dequantize: bool = False) -> None:
    """Convert a TFLite file to ONNX; ``dequantize`` gives float arithmetic, which more converters read."""
    from tf2onnx import convert as tf2onnx

    arguments = ["tf2onnx", "--tflite", path, "--output", target]
    if opset:
        arguments += ["--opset", str(opset)]
    if dequantize:
        arguments.append("--dequantize")
    with patch.object(sys, "argv", arguments):
        tf2onnx.main()
