"""``onnx2keras`` with a verified ``onnx_to_keras``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..runs.result import Result
from .originals import attributes_of, function_read_by
from .verification import Conversion


def _read_onnx_to_keras(arguments: Mapping[str, Any], returned: Any) -> Conversion:
    options = {"input_layout": "nhwc"} if arguments["change_ordering"] else {}
    source, name = arguments["onnx_model"], "onnx2keras.onnx_to_keras"
    return Conversion(name, "keras", source, returned, returned, _model, options, is_converted_anew=True)


def _model(result: Result) -> Any:
    return result.model


__getattr__ = attributes_of("onnx2keras", onnx_to_keras=function_read_by(_read_onnx_to_keras))
