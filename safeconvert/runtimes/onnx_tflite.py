"""ONNX models under onnxruntime and TFLite models under LiteRT, in a child process of small libraries."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from .registry import Loaded, register, spec

ONNX_TYPES = {
    "tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16", "tensor(int64)": "int64",
    "tensor(int32)": "int32", "tensor(int16)": "int16", "tensor(int8)": "int8", "tensor(uint8)": "uint8",
    "tensor(uint16)": "uint16", "tensor(uint32)": "uint32", "tensor(uint64)": "uint64", "tensor(bool)": "bool",
}  # fmt: skip
INTEGER_OPERATORS = {
    "QLinearConv",
    "QLinearMatMul",
    "ConvInteger",
    "MatMulInteger",
    "DynamicQuantizeLinear",
    "DequantizeLinear",
}
THREADS = os.cpu_count() or 1


def load(path: str, flavour: str) -> dict[str, Any]:
    """Load an ``onnx`` or ``tflite`` file and register it; gives its signature."""
    return register(path, load_onnx(path) if flavour == "onnx" else load_tflite(path))


def check_onnx(path: str) -> dict[str, Any]:
    """Parse the file, without its external data; gives its facts: opset imports and operator types.

    Raises ValueError where it is no ONNX model, or where external data would be read from outside the model's folder.
    """
    import onnx

    try:
        proto = onnx.load(path, load_external_data=False)
    except Exception as error:
        raise ValueError(f"not a readable ONNX file ({type(error).__name__})") from error
    if not proto.graph.node and not proto.graph.output:
        raise ValueError("no graph in it: not an ONNX model, or cut off")
    folder = Path(path).resolve().parent
    for tensor in onnx.external_data_helper._get_all_tensors(proto):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        location = next((e.value for e in tensor.external_data if e.key == "location"), "")
        target = (folder / location).resolve()
        if Path(location).is_absolute() or not target.is_relative_to(folder):
            raise ValueError(f"external data of {tensor.name!r} points outside the model's folder: {location!r}")
        if not target.is_file():
            raise ValueError(f"external data file {location!r} is missing beside the model")
    return {
        "opsets": {entry.domain: entry.version for entry in proto.opset_import},
        "operators": sorted({node.op_type for node in proto.graph.node}),
    }


def load_onnx(path: str) -> Loaded:
    import onnxruntime

    path = str(Path(path).resolve())  # external data lies beside the file, not beside a link to it
    facts = check_onnx(path)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    inputs = [spec(i.name, i.shape, ONNX_TYPES.get(i.type, i.type)) for i in session.get_inputs()]
    outputs = [spec(o.name, o.shape, ONNX_TYPES.get(o.type, o.type)) for o in session.get_outputs()]
    order = [o["name"] for o in outputs]

    def run(arrays: dict[str, np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        return list(session.run(order, arrays))

    return Loaded(session, run, inputs, outputs, quantized=bool(INTEGER_OPERATORS & set(facts["operators"])))


def load_tflite(path: str) -> Loaded:
    from ai_edge_litert.interpreter import Interpreter

    return interpreted(Interpreter(model_path=path, num_threads=THREADS))


def interpreted(interpreter: Any) -> Loaded:
    """A TFLite model in that interpreter. Its integer inputs and outputs with a scale are spoken to in real numbers."""
    interpreter.allocate_tensors()
    takes, gives = interpreter.get_input_details(), outputs_in_order(interpreter)
    names = _signature_names(interpreter)

    def describe(detail: dict[str, Any]) -> dict[str, Any]:
        shape = detail["shape_signature"] if len(detail["shape_signature"]) else detail["shape"]
        # Integer tensors with a scale are spoken to in real numbers: see quantize and dequantize.
        real = detail["quantization"][0] != 0
        return spec(
            names.get(detail["index"], detail["name"]), shape, "float32" if real else np.dtype(detail["dtype"]).name
        )

    inputs, outputs = [describe(d) for d in takes], [describe(d) for d in gives]
    quantized = any(
        t["dtype"] == np.float16
        or (t["quantization_parameters"]["scales"].size and np.issubdtype(t["dtype"], np.integer))
        for t in interpreter.get_tensor_details()
    )

    def run(arrays: dict[str, np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        resize = False
        for detail, described in zip(takes, inputs, strict=True):
            shape = arrays[described["name"]].shape
            if tuple(interpreter.get_input_details()[takes.index(detail)]["shape"]) != shape:
                interpreter.resize_tensor_input(detail["index"], shape, strict=False)
                resize = True
        if resize:
            interpreter.allocate_tensors()
        for detail, described in zip(takes, inputs, strict=True):
            interpreter.set_tensor(detail["index"], quantize(arrays[described["name"]], detail))
        interpreter.invoke()
        return [dequantize(interpreter.get_tensor(d["index"]).copy(), d) for d in gives]

    signatures = list(interpreter._get_full_signature_list())
    several = f"the file has the signatures {', '.join(signatures)}: its first graph is used alone"
    return Loaded(
        interpreter,
        run,
        inputs,
        outputs,
        quantized=quantized,
        # One input at a time: files often fix the batch inside the graph although the signature leaves it open.
        single=all(i["shape"][0] in (None, 1) for i in inputs),
        notes=[several] if len(signatures) > 1 else [],
    )


def outputs_in_order(interpreter: Any) -> list[dict[str, Any]]:
    """The details of a file's outputs. Converters number them in the signature, and list them in any order."""
    gives, names = list(interpreter.get_output_details()), _signature_names(interpreter)
    if all(re.fullmatch(r"output_\d+", names.get(detail["index"], "")) for detail in gives):
        gives.sort(key=lambda detail: int(names[detail["index"]].rpartition("_")[2]))
    return gives


def _signature_names(interpreter: Any) -> dict[int, str]:
    """Tensor index -> name in the file's only signature, if it has one: the names that people know."""
    signatures = interpreter._get_full_signature_list()
    if len(signatures) != 1:
        return {}
    tensors = next(iter(signatures.values()))
    return {index: name for part in ("inputs", "outputs") for name, index in tensors[part].items()}


def quantize(array: np.ndarray[Any, Any], detail: dict[str, Any]) -> np.ndarray[Any, Any]:
    """Real numbers to the integers of an input tensor: ``round(x / scale + zero_point)``, clipped to its dtype."""
    scale, zero = detail["quantization"]
    if not scale or not np.issubdtype(detail["dtype"], np.integer):
        return array.astype(detail["dtype"], copy=False)
    limits = np.iinfo(detail["dtype"])
    quantized: np.ndarray[Any, Any] = np.clip(np.round(array / scale + zero), limits.min, limits.max)
    return quantized.astype(detail["dtype"])


def dequantize(array: np.ndarray[Any, Any], detail: dict[str, Any]) -> np.ndarray[Any, Any]:
    """The integers of an output tensor to real numbers: ``(q - zero_point) * scale``."""
    scale, zero = detail["quantization"]
    if not scale or not np.issubdtype(array.dtype, np.integer):
        return array
    real: np.ndarray[Any, Any] = (array.astype(np.float32) - zero) * scale
    return real.astype(np.float32)
