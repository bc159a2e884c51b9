"""tf -> onnx, by tf2onnx's command line for SavedModels. Worker side."""

from __future__ import annotations

import sys
from unittest.mock import patch

from ..runtimes.tensorflow import model as tensorflow_model
from .forms.tensorflow.plain import plain_saved_model
from .hop_function import HopAnswer
from .support.garbage import lean


def convert(
    path: str, target: str, *, signature: str | None = None, opset: int | None = None, form: str = ""
) -> HopAnswer:
    """Convert one signature (``serving_default`` where none is named) of a SavedModel, or its plain ``form``."""
    if not form:
        _tf2onnx(path, target, signature, opset)
        return HopAnswer.WRITTEN
    model, chosen = tensorflow_model.loaded(path, "savedmodel").native
    chosen = signature or chosen
    with plain_saved_model(model.signatures[chosen], "tf2onnx", chosen, target) as folder:
        _tf2onnx(folder, target, chosen, opset)
    return HopAnswer.WRITTEN


def _tf2onnx(path: str, target: str, signature: str | None, opset: int | None) -> None:
    from tf2onnx import convert as tf2onnx

    arguments = ["tf2onnx", "--saved-model", path, "--output", target]
    if signature:
        arguments += ["--signature_def", signature]
    if opset:
        arguments += ["--opset", str(opset)]
    with patch.object(sys, "argv", arguments), lean():
        tf2onnx.main()
