"""``onnxmltools`` with a verified ``convert_keras``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..runs.result import Result
from .originals import attributes_of, function_read_by
from .verification import Conversion


def _read_convert_keras(arguments: Mapping[str, Any], returned: Any) -> Conversion:
    options = {} if arguments["target_opset"] is None else {"opset": arguments["target_opset"]}
    return Conversion("onnxmltools.convert_keras", "onnx", arguments["model"], returned, returned, _proto, options)


def _proto(result: Result) -> Any:
    return result.model


__getattr__ = attributes_of("onnxmltools", convert_keras=function_read_by(_read_convert_keras))
