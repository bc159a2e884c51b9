"""Small ONNX models whose inputs or outputs have no batch axis, or a varying length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Sizes = Sequence[int | str]


def save(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Sizes],
    outputs: Mapping[str, Sizes],
    weights: Mapping[str, Any],
    dtypes: Mapping[str, int] | None = None,
) -> Path:
    """Save an ONNX model; ``dtypes`` are those of inputs and outputs that are not float32."""
    described = [
        [
            helper.make_tensor_value_info(name, (dtypes or {}).get(name, TensorProto.FLOAT), list(sizes))
            for name, sizes in tensors.items()
        ]
        for tensors in (inputs, outputs)
    ]
    constants = [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()]
    graph = helper.make_graph(list(nodes), "net", *described, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def detector(path: Path, shift: float = 0.0, batch: int | str = 1) -> Path:
    """A picture [1, 12] becomes boxes [9, 4] and scores [9], without a batch axis."""
    random = np.random.default_rng(0)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"]),
        helper.make_node("Reshape", ["m", "shape"], ["r"]),
        helper.make_node("Split", ["r", "parts"], ["raw", "s"], axis=1),
        helper.make_node("Add", ["raw", "shift"], ["boxes"]),
        helper.make_node("Squeeze", ["s", "axis"], ["scores"]),
    ]
    weights = {
        "w": random.normal(size=(12, 45)).astype(np.float32), "shape": np.array([9, 5]), "parts": np.array([4, 1]),
        "axis": np.array([1]), "shift": np.float32(shift),
    }  # fmt: skip
    return save(path, nodes, {"x": [batch, 12]}, {"boxes": [9, 4], "scores": [9]}, weights)


def streaming(path: Path, scale: float = 1.0) -> Path:
    """A step [1, 6, 4] and a cache [5, 1, 4] become an output [1, 6, 4] and the next cache [5, 1, 4]."""
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        helper.make_node("Concat", ["cache", "t"], ["all"], axis=0),
        helper.make_node("Slice", ["all", "start", "end", "axis"], ["new_cache"]),
        helper.make_node("ReduceMean", ["all"], ["mean"], axes=[0], keepdims=1),
        helper.make_node("Add", ["x", "mean"], ["sum"]),
        helper.make_node("Mul", ["sum", "scale"], ["y"]),
    ]
    weights = {
        "start": np.array([-5]), "end": np.array([100]), "axis": np.array([0]), "scale": np.float32(scale)
    }  # fmt: skip
    shapes: dict[str, Sizes] = {"x": [1, 6, 4], "cache": [5, 1, 4]}
    return save(path, nodes, shapes, {"y": [1, 6, 4], "new_cache": [5, 1, 4]}, weights)


def objects(path: Path, *, reverse: bool = False, shift: float = 0.0) -> Path:
    """A picture [1, 12] becomes as many boxes [k, 2] and scores [k] as it has values above 0, in either order."""
    nodes = [
        helper.make_node("Reshape", ["x", "flat"], ["v"]),
        helper.make_node("Greater", ["v", "zero"], ["is"]),
        helper.make_node("Compress", ["v", "is"], ["kept"], axis=0),
    ]
    if reverse:
        nodes.append(helper.make_node("Slice", ["kept", "last", "least", "axis", "back"], ["rows"]))
    else:
        nodes.append(helper.make_node("Identity", ["kept"], ["rows"]))
    nodes += [
        helper.make_node("Add", ["rows", "shift"], ["scores"]),
        helper.make_node("Unsqueeze", ["rows", "one"], ["column"]),
        helper.make_node("MatMul", ["column", "w"], ["boxes"]),
    ]
    weights = {
        "flat": np.array([-1]), "zero": np.float32(0), "last": np.array([-1]), "least": np.array([-1000]),
        "axis": np.array([0]), "back": np.array([-1]), "shift": np.float32(shift), "one": np.array([1]),
        "w": np.array([[2.0, -3.0]], np.float32),
    }  # fmt: skip
    return save(path, nodes, {"x": [1, 12]}, {"boxes": ["k", 2], "scores": ["k"]}, weights)
