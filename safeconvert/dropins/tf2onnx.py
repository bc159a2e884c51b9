"""``tf2onnx`` with verified ``convert.from_keras``, ``from_function`` and ``from_tflite``."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..live.model_file import ModelWithExample
from ..runs.result import Result
from .originals import attributes_of, function_read_by, module_with
from .verification import Conversion

FREE_SIZE = 2


def _read_from_keras(arguments: Mapping[str, Any], returned: Any) -> Conversion:
    source = ModelWithExample(arguments["model"], _example(arguments["input_signature"]))
    return _conversion("from_keras", source, arguments, returned)


def _build(arguments: Mapping[str, Any]) -> None:
    """Give a Keras model without input shape its variables, which would not outlive tf2onnx's own tracing."""
    model, example = arguments["model"], _example(arguments["input_signature"])
    if example is not None and not getattr(model, "built", True):
        model(*example)


def _read_from_function(arguments: Mapping[str, Any], returned: Any) -> Conversion:
    function, signature, *_ = arguments.values()
    source = function if signature is None else function.get_concrete_function(*signature)
    return _conversion("from_function", source, arguments, returned)


def _read_from_tflite(arguments: Mapping[str, Any], returned: Any) -> Conversion:
    return _conversion("from_tflite", Path(arguments["tflite_path"]), arguments, returned)


def _conversion(name: str, source: Any, arguments: Mapping[str, Any], returned: Any) -> Conversion:
    """Each returns a ``ModelProto`` and the storage of its large tensors, and writes a file where it is asked to."""
    proto, storage = returned or (None, None)
    path = arguments["output_path"]

    def replaced(result: Result) -> Any:
        if path is not None:
            shutil.copyfile(str(result.path), path)
        return result.model, None

    target = Path(path) if path is not None and storage is not None else proto
    options = {} if arguments["opset"] is None else {"opset": arguments["opset"]}
    return Conversion(f"tf2onnx.convert.{name}", "onnx", source, target, returned, replaced, options)


def _example(signature: Any) -> tuple[Any, ...] | None:
    """Zeros of a TensorFlow signature; None without one, or where its rank is free."""
    specs = [] if signature is None else list(signature) if isinstance(signature, list | tuple) else [signature]
    if not specs or any(spec.shape.rank is None for spec in specs):
        return None
    shapes = [[size or FREE_SIZE for size in spec.shape] for spec in specs]
    return tuple(np.zeros(shape, spec.dtype.as_numpy_dtype) for shape, spec in zip(shapes, specs, strict=True))


__getattr__ = attributes_of(
    "tf2onnx",
    convert=module_with(
        from_keras=function_read_by(_read_from_keras, before=_build),
        from_function=function_read_by(_read_from_function),
        from_tflite=function_read_by(_read_from_tflite),
    ),
)
