"""TFLite models under LiteRT, in a worker. The worker called ``onnx_tflite`` hosts onnxruntime as well."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from typing import Any

import numpy as np

from ...records import NO_LOAD_OPTIONS, LoadOptions, Signature, StoredIntegers, TensorSpec
from ..registry import Loaded, register, spec

THREADS = os.cpu_count() or 1
RANDOM_OPERATORS = ("RANDOM_UNIFORM", "RANDOM_STANDARD_NORMAL", "MULTINOMIAL")


def load(path: str, flavour: str, options: LoadOptions = NO_LOAD_OPTIONS) -> Signature:
    """Load a TFLite file, register it and return its signature."""
    return register(path, load_tflite(path))


def load_tflite(path: str) -> Loaded:
    from ai_edge_litert.interpreter import Interpreter

    model = interpreted(Interpreter(model_path=path, num_threads=THREADS))
    model.single_threaded = lambda: interpreted(Interpreter(model_path=path, num_threads=1)).run
    return model


def interpreted(interpreter: Any) -> Loaded:
    """A TFLite model in that interpreter. Its integer inputs and outputs with a scale are spoken to in real numbers."""
    interpreter.allocate_tensors()
    takes, gives = interpreter.get_input_details(), outputs_in_order(interpreter)
    names = _signature_names(interpreter)

    def describe(detail: dict[str, Any]) -> TensorSpec:
        shape = detail["shape_signature"] if len(detail["shape_signature"]) else detail["shape"]
        # Integer tensors with a scale are spoken to in real numbers: see quantize and dequantize.
        stored = _stored(detail)
        dtype = "float32" if stored is not None else np.dtype(detail["dtype"]).name
        return replace(spec(names.get(detail["index"], detail["name"]), shape, dtype), stored=stored)

    inputs, outputs = [describe(d) for d in takes], [describe(d) for d in gives]
    flags = _quantized_outputs(interpreter, [int(detail["index"]) for detail in gives])

    def run(arrays: dict[str, np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        resize = False
        for detail, described in zip(takes, inputs, strict=True):
            shape = arrays[described.name].shape
            if tuple(interpreter.get_input_details()[takes.index(detail)]["shape"]) != shape:
                interpreter.resize_tensor_input(detail["index"], shape, strict=False)
                resize = True
        if resize:
            interpreter.allocate_tensors()
        for detail, described in zip(takes, inputs, strict=True):
            interpreter.set_tensor(detail["index"], quantize(arrays[described.name], detail))
        interpreter.invoke()
        return [dequantize(interpreter.get_tensor(d["index"]).copy(), d) for d in gives]

    signatures = list(interpreter._get_full_signature_list())
    note = f"the file has the signatures {', '.join(signatures)}: its first graph is used alone"
    return Loaded(
        interpreter,
        run,
        inputs,
        outputs,
        quantized=any(_is_quantized(tensor) for tensor in interpreter.get_tensor_details()),
        quantized_outputs=flags,
        # One input at a time: files often fix the batch inside the graph although the signature leaves it open.
        single=all(not described.shape or described.shape[0] in (None, 1) for described in inputs),
        notes=([note] if len(signatures) > 1 else []) + _order_note(interpreter, gives, outputs),
        changing_operators=lambda: [
            operator["op_name"]
            for operator in interpreter._get_ops_details()
            if operator["op_name"] in RANDOM_OPERATORS
        ],
    )


def _order_note(interpreter: Any, gives: list[dict[str, Any]], outputs: list[TensorSpec]) -> list[str]:
    """A note where the file lists its outputs in another order than its signature numbers them."""
    listed = [int(detail["index"]) for detail in interpreter.get_output_details()]
    ordered = [int(detail["index"]) for detail in gives]
    if listed == ordered:
        return []
    names = [outputs[ordered.index(index)].name for index in listed]
    return [f"get_output_details lists the outputs as {', '.join(names)}: take them by the signature's names"]


def _stored(detail: dict[str, Any]) -> StoredIntegers | None:
    """The integers that an input or output is stored as; None where the application fills or reads its values."""
    scale, zero_point = detail["quantization"]
    if not scale or not np.issubdtype(detail["dtype"], np.integer):
        return None
    return StoredIntegers(np.dtype(detail["dtype"]).name, float(scale), int(zero_point))


def _is_quantized(tensor: dict[str, Any]) -> bool:
    """Is a tensor kept in float16, or in integers with a scale?"""
    has_scales = bool(tensor["quantization_parameters"]["scales"].size)
    return tensor["dtype"] == np.float16 or (has_scales and np.issubdtype(tensor["dtype"], np.integer))


def _quantized_outputs(interpreter: Any, outputs: list[int]) -> tuple[bool, ...]:
    """For each output: is a tensor that leads to it quantised, or it itself?"""
    is_quantized = {int(t["index"]): _is_quantized(t) for t in interpreter.get_tensor_details()}
    readers = {
        int(written): [int(read) for read in operator["inputs"]]
        for operator in interpreter._get_ops_details()
        if operator["op_name"] != "DELEGATE"
        for written in operator["outputs"]
    }
    flags = []
    for output in outputs:
        seen: set[int] = set()
        waiting = [output]
        while waiting:
            tensor = waiting.pop()
            if tensor >= 0 and tensor not in seen:
                seen.add(tensor)
                waiting += readers.get(tensor, ())
        flags.append(any(is_quantized.get(tensor, False) for tensor in seen))
    return tuple(flags)


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
