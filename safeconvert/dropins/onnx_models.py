"""What an ONNX model that Python code holds says of its inputs."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np

FREE_BATCH = 2


def as_ir_model(proto: Any) -> Any:
    """Return the model as torch's ``ONNXProgram`` holds it."""
    return importlib.import_module("onnx_ir").from_proto(proto)


def loaded(model: Any) -> Any:
    """Return the ``ModelProto`` of a path or of itself."""
    return importlib.import_module("onnx").load(str(model)) if isinstance(model, str | Path) else model


def example_inputs(model: Any) -> tuple[Any, ...] | None:
    """Return zeros of the model's input types and sizes, two of a free batch; None where another size is free."""
    helper = importlib.import_module("onnx").helper
    constants = {tensor.name for tensor in model.graph.initializer}
    arrays = []
    for value in model.graph.input:
        if value.name in constants:
            continue
        tensor = value.type.tensor_type
        sizes = [size.dim_value for size in tensor.shape.dim]
        if any(size == 0 for size in sizes[1:]):
            return None
        shape = [size or FREE_BATCH for size in sizes]
        arrays.append(np.zeros(shape, helper.tensor_dtype_to_np_dtype(tensor.elem_type)))
    return tuple(arrays)
