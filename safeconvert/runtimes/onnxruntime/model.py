"""ONNX models under onnxruntime, in a worker. The worker called ``onnx_tflite`` hosts LiteRT as well."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...records import NO_LOAD_OPTIONS, LoadOptions, Signature
from ..registry import Loaded, Run, register, spec
from .quantization import quantized_outputs

ONNX_TYPES = {
    "tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16", "tensor(int64)": "int64",
    "tensor(int32)": "int32", "tensor(int16)": "int16", "tensor(int8)": "int8", "tensor(uint8)": "uint8",
    "tensor(uint16)": "uint16", "tensor(uint32)": "uint32", "tensor(uint64)": "uint64", "tensor(bool)": "bool",
}  # fmt: skip

HALF_PRECISION = "{} computes in half precision ({}) in parts, which many converters do not take; float32 reaches more"
RANDOM_OPERATORS = re.compile(r"Random(Normal|Uniform)(Like)?|Bernoulli|Multinomial")
TRAINING_DROPOUT = "Dropout in training mode"
REMOVES_DROPOUT = "EliminateDropout"  # the optimizer that leaves Dropout out in training mode too, as if it were off


def load(path: str, flavour: str, options: LoadOptions = NO_LOAD_OPTIONS) -> Signature:
    """Load an ONNX file, register it and return its signature."""
    return register(path, load_onnx(path))


def check_onnx(path: str) -> dict[str, Any]:
    """Parse the file, without its external data; gives its facts: opset imports, operator types, and whether
    each output comes from quantised tensors.

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
        "quantized_outputs": quantized_outputs(proto.graph),
        "changing_operators": changing_operators(proto.graph),
        "half_precision": half_precision(proto),
    }


def half_precision(proto: Any) -> str:
    """Return ``float16`` or ``bfloat16`` where the model has constants of that type or casts to it; else ""."""
    import onnx

    half = {onnx.TensorProto.FLOAT16: "float16", onnx.TensorProto.BFLOAT16: "bfloat16"}
    types = [tensor.data_type for tensor in onnx.external_data_helper._get_all_tensors(proto)]
    types += [
        attribute.i
        for node in proto.graph.node
        if node.op_type == "Cast"
        for attribute in node.attribute
        if attribute.name == "to"
    ]
    return next((half[type] for type in types if type in half), "")


def changing_operators(graph: Any) -> list[str]:
    """Return the operators of an ONNX graph that are random, or in training mode, subgraphs included."""
    import onnx

    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            constants[node.output[0]] = node.attribute[0].t
    operators = []
    for node in graph.node:
        settings = {attribute.name: attribute for attribute in node.attribute}
        if RANDOM_OPERATORS.fullmatch(node.op_type):
            operators.append(node.op_type)
        elif node.op_type == "BatchNormalization" and "training_mode" in settings and settings["training_mode"].i:
            operators.append("BatchNormalization in training mode")
        elif node.op_type == "Dropout" and len(node.input) > 2 and (mode := constants.get(node.input[2])) is not None:
            operators += [TRAINING_DROPOUT] if onnx.numpy_helper.to_array(mode).any() else []
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs]:
                operators += changing_operators(inner) if inner.node else []
    return operators


def load_onnx(path: str) -> Loaded:
    """Load an ONNX file whose external data lies beside the file itself, not beside a link to it."""
    path = str(Path(path).resolve())
    facts = check_onnx(path)
    flags = facts["quantized_outputs"]
    removed = [REMOVES_DROPOUT] if TRAINING_DROPOUT in facts["changing_operators"] else []
    return replace(
        open_session(path, removed),
        quantized=any(flags),
        quantized_outputs=flags,
        changing_operators=lambda: list(facts["changing_operators"]),
        notes=[HALF_PRECISION.format(Path(path).name, facts["half_precision"])] if facts["half_precision"] else [],
    )


def open_session(path: str, disabled_optimizers: Sequence[str] = ()) -> Loaded:
    """Open a file in onnxruntime and return what its session says of inputs and outputs."""
    session = _session(path, disabled_optimizers)
    return Loaded(
        session,
        _runner(session),
        [spec(tensor.name, tensor.shape, ONNX_TYPES.get(tensor.type, tensor.type)) for tensor in session.get_inputs()],
        [spec(tensor.name, tensor.shape, ONNX_TYPES.get(tensor.type, tensor.type)) for tensor in session.get_outputs()],
        single_threaded=lambda: _runner(_session(path, disabled_optimizers, threads=1)),
    )


def _session(path: str, disabled_optimizers: Sequence[str] = (), threads: int = 0) -> Any:
    """A session; ``threads`` of 0 leaves their number to onnxruntime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(
        path, options, providers=["CPUExecutionProvider"], disabled_optimizers=list(disabled_optimizers)
    )


def _runner(session: Any) -> Run:
    order = [output.name for output in session.get_outputs()]

    def run(arrays: dict[str, np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        return list(session.run(order, arrays))

    return run
