"""Every intermediate tensor and every parameter of a TFLite model, in a child process of small libraries.

Parameters are read from the file and written into a copy of it, byte by byte in their places, so that nothing else
of the file changes.
"""

from __future__ import annotations

import collections
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import onnx_tflite
from ..registry import Arrays
from ..trace_store import Array, Record, Store, Trail, all_known, checked, in_batches, unique
from .flatbuffer import packed, unpacked

# schema.fbs, enum TensorType. Types of less than a byte an element are not here.
TYPES = {0: "float32", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 7: "int16", 9: "int8", 10: "float64"}


def trace(path: str, arrays: Arrays, store: str) -> list[Record]:
    """Run the model on ``arrays`` (input name -> array, batch first) and keep what it computes in ``store``.

    Gives a record for each tensor of real numbers of rank 1 or more that depends on the inputs, in execution order, the
    inputs first: "tensor" (unique name), "node" (the tensor's name in the file), "layer" (the name scope in it),
    "operator" (as ``CONV_2D``; "input"), "inputs" (names of the tensors it is computed from), "shape" and "key"
    (member of ``store``, float32). Integers with a scale are real numbers: they are dequantised. The interpreter
    runs without delegates, which keep no tensors; their kernels round integers otherwise than those of an ordinary run.
    """
    interpreter = observed(path)
    model = onnx_tflite.interpreted(interpreter)

    def one(part: Arrays, target: str) -> list[Record]:
        model.run(part)
        details = {detail["index"]: detail for detail in interpreter.get_tensor_details()}
        names = dict(zip(details, unique(detail["name"] for detail in details.values()), strict=True))
        trail = Trail()
        with Store(target) as kept:

            def keep(index: int, operator: str, read: list[int]) -> None:
                node = details[index]["name"]
                array = real(interpreter.get_tensor(index), details[index]["quantization_parameters"])
                if array is None or array.ndim == 0:
                    trail.passed(index, read, size=operator == "SHAPE")
                    return
                inputs = trail.sources(read)
                trail.keep(index, names[index])
                facts = {"tensor": names[index], "node": node, "layer": _layer(node)}
                kept.add(array, **facts, operator=operator, inputs=inputs)

            for detail in interpreter.get_input_details():
                trail.start(detail["index"])
                keep(detail["index"], "input", [])
            for step in interpreter._get_ops_details():
                read = [int(index) for index in step["inputs"]]
                for index in step["outputs"]:
                    if trail.live(read):
                        keep(int(index), step["op_name"], read)
            return kept.records

    return in_batches(model, arrays, store, one)


def observed(path: str) -> Any:
    """An interpreter of the file that keeps every tensor."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    return Interpreter(
        model_path=path,
        num_threads=onnx_tflite.THREADS,
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )


def real(array: Array, quantization: dict[str, Any]) -> Array | None:
    """The array as real numbers, ``(q - zero_point) * scale`` for integers; None where it has no such meaning.

    ``quantization`` has "scales", "zero_points" and the "quantized_dimension" along which they are, if they are many.
    """
    if array.dtype.kind == "f":
        return array
    if array.dtype.kind not in "iu" or not len(quantization["scales"]):
        return None
    scales, zeros = _along(quantization, array.ndim)
    product: Array = (array - zeros) * scales
    return product.astype(np.float32)


def _integers(array: Array, dtype: str, quantization: dict[str, Any]) -> Array:
    """The inverse of :func:`real`: rounded, and clipped to the type."""
    scales, zeros = _along(quantization, array.ndim)
    limits = np.iinfo(dtype)
    integers: Array = np.clip(np.round(array / scales + zeros), limits.min, limits.max)
    return integers.astype(dtype)


def _along(quantization: dict[str, Any], rank: int) -> tuple[Array, Array]:
    """Scales and zero points, as float64 in a shape that multiplies an array of that rank."""
    scales, zeros = quantization["scales"], np.resize(quantization["zero_points"], len(quantization["scales"]))
    axes = [-1 if len(scales) > 1 and axis == quantization["quantized_dimension"] else 1 for axis in range(rank)]
    return scales.astype(np.float64).reshape(axes), zeros.astype(np.float64).reshape(axes)


def _layer(name: str) -> str:
    """The name scope of a tensor; the name of fused operators is a list, the one that gives the result first."""
    return name.split(";")[0].rpartition("/")[0]


def parameters(path: str, store: str) -> list[Record]:
    """Keep every constant tensor of real numbers of rank 1 or more in ``store``, as float32.

    Gives for each "name" (the tensor's, made unique), "layer", "shape", "dtype" (the file's), "quantized" (integers
    with a scale, which are dequantised) and "key". Constants of less than a byte an element are left out.
    """
    with Store(store) as kept:
        for constant in _constants(_data(path)):
            value = real(constant.array, constant.quantization)
            quantized = value is not constant.array
            facts = {"name": constant.name, "layer": _layer(constant.name), "dtype": constant.array.dtype.name}
            kept.add(np.asarray(value), **facts, quantized=quantized)
        return kept.records


def replaced(path: str, target: str, values: dict[str, Array]) -> str:
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
    found = []
    for name, tensor in zip(names, tensors, strict=True):
        array = _array(data, model.Buffers(tensor.Buffer()), tensor)
        quantization = _quantization(tensor.Quantization())
        if array is not None and array.ndim and (array.dtype.kind == "f" or len(quantization["scales"])):
            found.append(_Constant(name, tensor.Buffer(), array, quantization))
    return found


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


def _quantization(found: Any) -> dict[str, Any]:
    scales = np.zeros(0) if found is None or found.ScaleIsNone() else found.ScaleAsNumpy()
    zeros = np.zeros(1, int) if found is None or found.ZeroPointIsNone() else found.ZeroPointAsNumpy()
    axis = 0 if found is None else found.QuantizedDimension()
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
