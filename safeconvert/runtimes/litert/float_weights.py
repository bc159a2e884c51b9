"""Weights that a TFLite file holds as small numbers though it computes with float32: which, and what each costs.

Such are the 8-bit weights of dynamic-range quantisation and the half-precision ones of float16 quantisation: their
readers take and give float32, so that each can be float32 again by itself. Weights of operators on integers cannot.
A *twin* is a float32 TFLite file of the same model. Runs in a worker.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..registry import Arrays
from ..trace_store import Array, unique
from .flatbuffer import packed, unpacked
from .model import THREADS, interpreted
from .parameters import TYPES
from .trace import real

FLOAT32, FLOAT16 = 0, 1  # schema.fbs, enum TensorType
DEQUANTIZE = 6  # schema.fbs, enum BuiltinOperator
SLACK = 1e-3  # of a rounding step, for the arithmetic of quantising


@dataclass(frozen=True)
class _Weight:
    """A constant with its place in the file, what the operator that computes with it gives, and that operator's code.

    ``array`` are the real numbers it stands for, ``step`` the distance from each to the next that it could hold."""

    name: str
    node: str
    operator: int
    array: Array
    step: Array
    tensor: Any


@dataclass(frozen=True)
class RoundedWeight:
    """A weight that could be float32: ``node`` is the first output of the operator that computes with it.

    ``extra_bytes`` is what it would take more in float32.
    """

    name: str
    node: str
    dtype: str
    shape: tuple[int, ...]
    extra_bytes: int


def rounded_weights(path: str) -> list[RoundedWeight]:
    """List the weights that could be float32, in the order of the file."""
    return [
        RoundedWeight(
            weight.name,
            weight.node,
            TYPES[weight.tensor.type],
            weight.array.shape,
            weight.array.size * (4 - np.dtype(TYPES[weight.tensor.type]).itemsize),
        )
        for weight in _weights(unpacked(Path(path).read_bytes()))
    ]


def match_roundings(path: str, twin: str) -> dict[str, float]:
    """Find the weights that are the twin's, rounded, by content: name -> the largest rounding (at most half a step)."""
    values = _floats(twin)
    roundings = {}
    for weight in _weights(unpacked(Path(path).read_bytes())):
        if (value := _own(weight, values)) is not None:
            roundings[weight.name] = float(np.abs(value - weight.array).max(initial=0.0))
    return roundings


def restore_float_weights(path: str, twin: str, names: Collection[str], target: str) -> int:
    """Write the file with these weights as the twin has them, in float32; gives its size in bytes."""
    data = _restored(path, _floats(twin), names)
    Path(target).write_bytes(data)
    return len(data)


def rounding_costs(path: str, twin: str, names: Collection[str], arrays: Arrays, seconds: float) -> dict[str, float]:
    """What the rounding of each weight does by itself: the mean square that it alone, the others being float32, moves
    the outputs by, summed over outputs. ``arrays``: input name -> array, batch first.

    An operator with 8-bit weights rounds what it reads too, so that its cost is more than that of the weights. Those
    that are not reached within the time, the largest, are not among them.
    """
    begun = time.monotonic()
    sizes = {weight.name: weight.array.size for weight in _weights(unpacked(Path(path).read_bytes()))}
    values = _floats(twin)
    right = _outputs(_restored(path, values, names), arrays)
    measured: dict[str, float] = {}
    for name in sorted(names, key=sizes.__getitem__):
        if time.monotonic() - begun > seconds:
            break
        alone = _outputs(_restored(path, values, [other for other in names if other != name]), arrays)
        pairs = zip(right, alone, strict=True)
        measured[name] = float(sum(np.mean(np.square(a.astype(np.float64) - b)) for a, b in pairs))
    return measured


def _weights(model: Any) -> list[_Weight]:
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    names = unique((tensor.name or b"").decode() for graph in model.subgraphs for tensor in graph.tensors)
    weights, start = [], 0
    for graph in model.subgraphs:
        readers: dict[int, list[Any]] = {}
        for operator in graph.operators:
            for index in operator.inputs:
                readers.setdefault(int(index), []).append(operator)
        for index, tensor in enumerate(graph.tensors):
            data = model.buffers[tensor.buffer].data
            if data is None or not len(data) or not readers.get(index):
                continue
            rounded = _rounded(tensor, np.asarray(data, np.uint8))
            taking = readers[index]
            for operator in readers[index]:
                if codes[operator.opcodeIndex] == DEQUANTIZE:
                    taking = [*taking, *readers.get(int(operator.outputs[0]), ())]
            if rounded is None or not all(_on_floats(graph, operator, index) for operator in taking):
                continue
            last = taking[-1]
            node = (graph.tensors[last.outputs[0]].name or b"").decode()
            weights.append(_Weight(names[start + index], node, codes[last.opcodeIndex], *rounded, tensor))
        start += len(graph.tensors)
    return weights


def _rounded(tensor: Any, data: Array) -> tuple[Array, Array] | None:
    """The real numbers that a constant of small ones stands for, and the rounding step of each; None for others."""
    dtype, shape = TYPES.get(tensor.type), [int(n) for n in (tensor.shape if tensor.shape is not None else ())]
    if dtype is None or not shape or data.nbytes != int(np.prod(shape)) * np.dtype(dtype).itemsize:
        return None
    array = data.view(dtype).reshape(shape)
    if tensor.type == FLOAT16:
        half = array.astype(np.float32)
        return half, np.maximum(np.abs(half) * 2.0**-10, 2.0**-24)
    stored = tensor.quantization
    if stored is None or stored.scale is None or not len(stored.scale) or array.dtype.itemsize > 2:
        return None
    scales = np.asarray(stored.scale)
    zeros = np.zeros(len(scales), int) if stored.zeroPoint is None else np.asarray(stored.zeroPoint)
    quantization = {"scales": scales, "zero_points": zeros, "quantized_dimension": stored.quantizedDimension}
    value = real(array, quantization)
    step = real(np.ones_like(array), {**quantization, "zero_points": np.zeros_like(zeros)})
    return None if value is None or step is None else (value, step)


def _on_floats(graph: Any, operator: Any, constant: int) -> bool:
    """Does the operator, but for this constant, compute with float32?"""
    others = [int(i) for i in (*operator.inputs, *operator.outputs) if i >= 0 and i != constant]
    constants = {int(i) for i in operator.inputs if i >= 0}
    kinds = [graph.tensors[i].type for i in others if i not in constants]
    return bool(kinds) and all(kind == FLOAT32 for kind in kinds)


def _floats(path: str) -> list[Array]:
    """The float32 constants of a file."""
    model = unpacked(Path(path).read_bytes())
    constants = []
    for tensor in (tensor for graph in model.subgraphs for tensor in graph.tensors):
        data = model.buffers[tensor.buffer].data
        if tensor.type == FLOAT32 and data is not None and len(data) and tensor.shape is not None:
            constants.append(np.asarray(data, np.uint8).view(np.float32).reshape([int(n) for n in tensor.shape]))
    return constants


def _own(weight: _Weight, values: Collection[Array]) -> Array | None:
    """The value that the weight is the rounding of."""
    for value in values:
        if value.shape == weight.array.shape and bool(
            (np.abs(value - weight.array) <= (0.5 + SLACK) * weight.step).all()
        ):
            return value
    return None


def _restored(path: str, values: Collection[Array], names: Collection[str]) -> bytearray:
    from ai_edge_litert import schema_py_generated as schema

    data = Path(path).read_bytes()
    wanted = set(names)
    if not wanted:
        return bytearray(data)
    model = unpacked(data)
    for weight in _weights(model):
        if weight.name not in wanted:
            continue
        value = _own(weight, values)
        if value is None:
            raise ValueError(f"weight {weight.name!r} has no float32 value in the twin")
        model.buffers.append(schema.BufferT())
        model.buffers[-1].data = np.frombuffer(np.ascontiguousarray(value, np.float32).tobytes(), np.uint8)
        weight.tensor.buffer, weight.tensor.type, weight.tensor.quantization = len(model.buffers) - 1, FLOAT32, None
    _drop_conversions(model)
    _drop_buffers(model)
    return packed(model)


def _drop_conversions(model: Any) -> None:
    """Operators that make float32 of what is float32 now go; their readers read the constant."""
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    for graph in model.subgraphs:
        inputs_by_output = {
            int(operator.outputs[0]): int(operator.inputs[0])
            for operator in graph.operators
            if codes[operator.opcodeIndex] == DEQUANTIZE and graph.tensors[operator.inputs[0]].type == FLOAT32
        }
        graph.operators = [
            operator
            for operator in graph.operators
            if len(operator.outputs) != 1 or int(operator.outputs[0]) not in inputs_by_output
        ]
        for operator in graph.operators:
            operator.inputs = np.array([inputs_by_output.get(int(i), int(i)) for i in operator.inputs], np.int32)


def _drop_buffers(model: Any) -> None:
    """What no tensor holds any more does not go into the file; the places stay, since metadata count them."""
    used_buffers = {tensor.buffer for graph in model.subgraphs for tensor in graph.tensors}
    used_buffers |= {entry.buffer for entry in model.metadata or ()}
    for index, buffer in enumerate(model.buffers):
        if index not in used_buffers:
            buffer.data = None


def _outputs(data: bytearray, arrays: Arrays) -> list[Array]:
    from ai_edge_litert.interpreter import Interpreter

    model = interpreted(Interpreter(model_content=bytes(data), num_threads=THREADS))
    rows = [model.run(row) for row in _rows(arrays)]
    return [np.concatenate(parts) for parts in zip(*rows, strict=True)]


def _rows(arrays: Arrays) -> Iterator[Arrays]:
    for row in range(len(next(iter(arrays.values())))):
        yield {name: array[row : row + 1] for name, array in arrays.items()}
