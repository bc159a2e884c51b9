"""Keep the biases of channels that have no weights when a float TFLite file is quantised. Runs in a worker.

A bias is rounded to multiples of ``input scale * weight scale``. Where all weights of a channel are 0 (or nearly),
their scale is too, and the bias does not fit its 32 bits: the channel's constant is lost. One weight that is as large
as the bias needs, and too small to be seen in the output, gives the channel a scale.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .flatbuffer import inlined, packed

CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED = 3, 4, 9  # schema.fbs, enum BuiltinOperator
FLOAT32 = 0  # schema.fbs, enum TensorType
LEVELS = 127  # of an 8-bit weight
SMALLEST_INPUT_SCALE = 1e-3  # that an 8-bit activation is taken to have
MAX_BIAS = 2.0**30  # in steps, half of what 32 bits hold


def with_scales(path: str) -> tuple[bytes, list[str]]:
    """Return the bytes of the float file in which each channel with a bias has a scale, and the changed operators."""
    data = Path(path).read_bytes()
    model = inlined(data)
    changed = []
    for graph in model.subgraphs:
        for operator in graph.operators:
            code = model.operatorCodes[operator.opcodeIndex]
            kind = max(code.builtinCode, code.deprecatedBuiltinCode)
            if kind in (CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED) and _give_scales(model, graph, operator, kind):
                changed.append((graph.tensors[operator.outputs[0]].name or b"").decode())
    return (bytes(packed(model)) if changed else data), changed


def _give_scales(model: Any, graph: Any, operator: Any, kind: int) -> bool:
    """Set one weight of each channel whose scale is too small for its bias; was there one?"""
    inputs = [int(index) for index in operator.inputs]
    if len(inputs) < 3 or inputs[2] < 0:
        return False
    weights, bias = _constant(model, graph.tensors[inputs[1]]), _constant(model, graph.tensors[inputs[2]])
    if weights is None or bias is None:
        return False
    channels = np.moveaxis(weights, -1 if kind == DEPTHWISE_CONV_2D else 0, 0).reshape(len(bias), -1)
    needed = np.abs(bias) * LEVELS / (SMALLEST_INPUT_SCALE * MAX_BIAS)
    silent = np.abs(channels).max(1, initial=0.0) < needed
    if not silent.any():
        return False
    changed = np.moveaxis(weights, -1 if kind == DEPTHWISE_CONV_2D else 0, 0).copy()
    for channel in np.flatnonzero(silent):
        changed[channel].reshape(-1)[0] = needed[channel]
    changed = np.moveaxis(changed, 0, -1 if kind == DEPTHWISE_CONV_2D else 0)
    buffer = model.buffers[graph.tensors[inputs[1]].buffer]
    buffer.data = np.frombuffer(np.ascontiguousarray(changed, np.float32).tobytes(), np.uint8)
    return True


def _constant(model: Any, tensor: Any) -> np.ndarray[Any, Any] | None:
    data = model.buffers[tensor.buffer].data
    if tensor.type != FLOAT32 or data is None or not len(data):
        return None
    return np.asarray(data, np.uint8).view(np.float32).reshape([int(n) for n in tensor.shape])
