"""Every constant of a TFLite file: read into a store, and replaced in a copy of the file. Runs in a worker.

A constant is written byte by byte in its place, so that nothing else of the file changes.
"""

from __future__ import annotations

import collections
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..trace_store import Array, ParameterRecord, Store, all_known, checked, unique
from .flatbuffer import packed, unpacked
from .trace import along_axis, layer_of, real

# schema.fbs, enum TensorType. Types of less than a byte an element are not here.
TYPES = {0: "float32", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 7: "int16", 9: "int8", 10: "float64"}


def read_parameters(path: str, store: str) -> list[ParameterRecord]:
    """Write every constant tensor of real numbers of rank 1 or more into ``store``; integers with a scale are such.

    A constant's name is the tensor's, made unique. Constants of less than a byte an element are left out.
    """
    records: list[ParameterRecord] = []
    with Store(store) as parameter_store:
        for constant in _constants(_data(path)):
            array, dtype = constant.array, constant.array.dtype.name
            value = real(array, constant.quantization)
            key = parameter_store.write(np.asarray(value))
            layer, is_quantized = layer_of(constant.name), value is not array
            records.append(ParameterRecord(constant.name, layer, array.shape, dtype, is_quantized, key))
    return records


def replace_parameters(path: str, target: str, values: dict[str, Array]) -> str:
    """Write the model at ``target`` with the parameters in ``values`` (name -> array of the same shape) replaced.

    Integers are quantised with their own scales. Gives the file's flavour, ``tflite``. Raises ValueError for an unknown
    name or another shape.
    """
    data = _data(path)
    constants = _constants(data)
    all_known(values, [constant.name for constant in constants])
    shared = collections.Counter(constant.buffer for constant in constants)
    if any(constant.name in values and shared[constant.buffer] > 1 for constant in constants):
        constants = _constants(data := _unshared(data))
    for constant in constants:
        if constant.name in values:
            value = checked(constant.name, values[constant.name], constant.array.shape)
            if constant.array.dtype.kind != "f":
                value = _integers(value, constant.array.dtype.name, constant.quantization)
            constant.array[...] = value
    Path(target).write_bytes(data)
    return "tflite"


@dataclass
class _Constant:
    """A constant tensor of real numbers; ``array`` is its place in the file's bytes, ``buffer`` the place's number."""

    name: str
    buffer: int
    array: Array
    quantization: dict[str, Any]


def _data(path: str) -> bytearray:
    return bytearray(Path(path).read_bytes())


def _constants(data: bytearray) -> list[_Constant]:
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAsModel(data, 0)
    graphs = [model.Subgraphs(i) for i in range(model.SubgraphsLength())]
    tensors = [graph.Tensors(i) for graph in graphs for i in range(graph.TensorsLength())]
    names = unique((tensor.Name() or b"").decode() for tensor in tensors)
    constants = []
    for name, tensor in zip(names, tensors, strict=True):
        array = _array(data, model.Buffers(tensor.Buffer()), tensor)
        quantization = _quantization(tensor.Quantization())
        if array is not None and array.ndim and (array.dtype.kind == "f" or len(quantization["scales"])):
            constants.append(_Constant(name, tensor.Buffer(), array, quantization))
    return constants


def _array(data: bytearray, buffer: Any, tensor: Any) -> Array | None:
    """The tensor's elements where they are in ``data``; None where they are not in the file, or of another type."""
    if buffer.Offset() > 1:  # behind the flatbuffer, in a large file
        stored = np.frombuffer(data, np.uint8, buffer.Size(), buffer.Offset())
    elif buffer.DataLength():
        stored = buffer.DataAsNumpy()
    else:
        return None
    dtype, shape = TYPES.get(tensor.Type()), [tensor.Shape(i) for i in range(tensor.ShapeLength())]
    if dtype is None or stored.nbytes != int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize:
        return None  # sparse, or packed
    array: Array = stored.view(dtype).reshape(shape)
    return array


def _quantization(stored: Any) -> dict[str, Any]:
    scales = np.zeros(0) if stored is None or stored.ScaleIsNone() else stored.ScaleAsNumpy()
    zeros = np.zeros(1, int) if stored is None or stored.ZeroPointIsNone() else stored.ZeroPointAsNumpy()
    axis = 0 if stored is None else stored.QuantizedDimension()
    return {"scales": scales, "zero_points": zeros, "quantized_dimension": axis}


def _unshared(data: bytearray) -> bytearray:
    """The model with a buffer of its own for each constant: the converter stores equal ones once."""
    from ai_edge_litert import schema_py_generated as schema

    model = unpacked(data)
    seen = set[int]()
    for tensor in (tensor for graph in model.subgraphs for tensor in graph.tensors):
        if tensor.buffer in seen and model.buffers[tensor.buffer].data is not None:
            model.buffers.append(schema.BufferT())
            model.buffers[-1].data = model.buffers[tensor.buffer].data
            tensor.buffer = len(model.buffers) - 1
        seen.add(tensor.buffer)
    return packed(model)


def _integers(array: Array, dtype: str, quantization: dict[str, Any]) -> Array:
    """The inverse of :func:`real`: rounded, and clipped to the type."""
    scales, zeros = along_axis(quantization, array.ndim)
    limits = np.iinfo(dtype)
    integers: Array = np.clip(np.round(array / scales + zeros), limits.min, limits.max)
    return integers.astype(dtype)
