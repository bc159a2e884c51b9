"""Small ONNX nets around pooling nodes that onnx2keras converts wrongly."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZES = (3, 12, 9)  # channels, height, width: no two alike


def net(*middle: onnx.NodeProto, opset: int = 13) -> onnx.ModelProto:
    """A convolution with mostly negative features (``c``), ``middle`` from ``c`` to ``m``, a head of 5 classes."""
    random = np.random.default_rng(3)
    weights = [
        numpy_helper.from_array(random.normal(size=(6, 3, 3, 3)).astype("float32") * 0.3, "w"),
        numpy_helper.from_array(np.full(6, -3, "float32"), "b"),
        numpy_helper.from_array(random.normal(size=(6, 5)).astype("float32"), "head"),
    ]
    nodes = [
        helper.make_node(
            "Conv", ["x", "w", "b"], ["c"], "conv", pads=[1, 1, 1, 1], kernel_shape=[3, 3], strides=[1, 1]
        ),
        *middle,
        helper.make_node("GlobalAveragePool", ["m"], ["p"], "pool_all"),
        helper.make_node("Flatten", ["p"], ["f"], "flatten"),
        helper.make_node("MatMul", ["f", "head"], ["y"], "classes"),
    ]
    values = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *SIZES]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 5]),
    ]
    graph = helper.make_graph(nodes, "net", values[:1], values[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def max_pool(before: str, after: str, name: str) -> onnx.NodeProto:
    """onnx2keras pads this one with zeros, which are larger than the features."""
    return helper.make_node("MaxPool", [before], [after], name, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])


def average_pool(before: str, after: str, name: str) -> onnx.NodeProto:
    """onnx2keras drops the uneven padding of this one."""
    return helper.make_node(
        "AveragePool", [before], [after], name, kernel_shape=[2, 2], strides=[1, 1], pads=[0, 0, 1, 1]
    )
