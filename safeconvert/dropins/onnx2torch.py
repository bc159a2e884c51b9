"""``onnx2torch`` with a verified ``convert``; what it returns is a ``torch.nn.Module`` that can be trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..live.model_file import ModelWithExample
from ..runs.result import Result
from .onnx_models import example_inputs, loaded
from .originals import attributes_of, function_read_by
from .verification import Conversion


def _read_convert(arguments: Mapping[str, Any], returned: Any) -> Conversion:
    source = arguments["onnx_model_or_path"]
    target = ModelWithExample(returned, example_inputs(loaded(source)))
    return Conversion("onnx2torch.convert", "torch", source, target, returned, _module, is_converted_anew=True)


def _module(result: Result) -> Any:
    return result.model


__getattr__ = attributes_of("onnx2torch", convert=function_read_by(_read_convert))
