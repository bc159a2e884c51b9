"""The search along a Source's own trace: what goes wrong is named at the operator that computes it, not beside it.

A Source is written as an ONNX graph here, and its trace keeps the tensors that a framework would give, under the
framework's names of operators: what the framework does in one operator is one record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from safeconvert.repair.graph.runner import GraphRunner
from safeconvert.repair.localization import trace_search

from safeconvert.runtimes.trace_store import TraceRecord

Array = np.ndarray[Any, Any]
Fault = tuple[str, str, str]


class Net:
    """Nodes and constants, each named as the tensor that it gives."""

    def __init__(self, *sizes: int) -> None:
        self.sizes, self.random = sizes, np.random.default_rng(5)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, Array] = {}

    def held(self, name: str, value: Any, dtype: type = np.float32) -> str:
        self.constants[name] = np.asarray(value, dtype)
        return name

    def weight(self, name: str, *shape: int) -> str:
        return self.held(name, self.random.normal(size=shape) / np.sqrt(np.prod(shape[1:]) or 1))

    def node(self, kind: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name, **attributes))
        return name

    def head(self, x: str, channels: int) -> None:
        """A convolution over neighbours, so that their order counts, and the classes."""
        x = self.node("Conv", [x, self.weight("w", 7, channels, 3, 3)], "conv", pads=[1, 1, 1, 1])
        x = self.node("GlobalAveragePool", [self.node("Relu", [x], "relu")], "gap")
        self.node("Gemm", [self.node("Flatten", [x], "flat"), self.weight("fc", 7, 5)], "y")

    def model(self) -> onnx.ModelProto:
        value = helper.make_tensor_value_info
        graph = helper.make_graph(
            self.nodes,
            "net",
            [value("x", TensorProto.FLOAT, [1, *self.sizes])],
            [value("y", TensorProto.FLOAT, [1, 5])],
            [numpy_helper.from_array(array, name) for name, array in self.constants.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def faults(folder: Path, source: Net, target: Net, operators: Mapping[str, str]) -> list[Fault]:
    """Type, Target's node and Source's node of what is found; ``operators`` are the records: tensor -> operator."""
    x = 4 * np.random.default_rng(2).normal(size=(1, *source.sizes)).astype(np.float32)
    runner = GraphRunner(source.model())
    values = runner.everything({"x": x})
    kept = {"x", *operators}
    records, arrays = [], []
    for place, (tensor, operator) in enumerate({"x": "input", **operators}.items()):
        nodes = runner.between(tensor, kept - {tensor})
        inputs = dict.fromkeys(name for node in nodes for name in runner.read(node) if name in kept)
        shape = values[tensor].shape
        records.append(TraceRecord(tensor, tensor, "", operator, tuple(inputs), shape, f"arr_{place}"))
        # A framework rounds otherwise than onnxruntime does: the last bits differ.
        arrays.append(np.nextafter(values[tensor].astype(np.float32), np.float32(np.inf)))
    np.savez(folder / "trace.npz", *arrays)
    onnx.save(target.model(), folder / "target.onnx")
    located = trace_search.locate(
        str(folder / "target.onnx"),
        {"x": x},
        str(folder / "trace.npz"),
        records,
        [values["y"]],
        is_unquantized=True,
        tflite=False,
    )
    return [(fault.type, fault.target_node, fault.source_node) for fault in located.faults]


HEAD = {"conv": "Conv2D", "relu": "Relu", "gap": "Mean", "flat": "Reshape", "y": "MatMul"}


def counted(*, how: str) -> Net:
    """Whole numbers, divided in one of several ways between two casts."""
    net = Net(3, 9, 6)
    x = net.node("Cast", ["x"], "whole", to=TensorProto.INT32)
    if how == "truncated":
        x = net.node("Div", [x, net.held("by", 3, np.int32)], "divided")
    elif how == "floored":
        x = net.node("Floor", [net.node("Div", [net.node("Cast", [x], "a", to=1), net.held("by", 3)], "b")], "c")
        x = net.node("Cast", [x], "divided", to=TensorProto.INT32)
    elif how == "remainder":
        x = net.node("Mod", [x, net.held("by", 3, np.int32)], "divided")
    else:
        x = net.node("Mod", [x, net.held("by", 3, np.int32)], "divided", fmod=1)
    x = net.node("Mul", [x, net.held("twice", 2, np.int32)], "doubled")
    net.head(net.node("Cast", [x], "real", to=TensorProto.FLOAT), 3)
    return net


@pytest.mark.parametrize(
    ("right", "wrong", "operator"), [("floored", "truncated", "FloorDiv"), ("remainder", "signed", "FloorMod")]
)
def test_an_integer_operator_between_casts_is_named_and_no_cast(
    right: str, wrong: str, operator: str, tmp_path: Path
) -> None:
    operators = {"whole": "Cast", "divided": operator, "doubled": "Mul", "real": "Cast", **HEAD}
    assert faults(tmp_path, counted(how=right), counted(how=wrong), operators) == [("CG", "divided", "divided")]


def unstacked(axis: int, into: int, *, fused: bool) -> Net:
    """Features that are taken apart along one axis and joined along another, or read anew as if that were the same."""
    net = Net(8, 6, 3)
    x = net.node("Transpose", ["x"], "first_axes", perm=[0, 3, 1, 2])
    x = net.node("Relu", [net.node("Conv", [x, net.weight("first", 4, 3, 1, 1)], "features")], "active")
    sizes = [1, 4, 8, 6]
    joined = [size * sizes[axis] if place == into else 1 if place == axis else size for place, size in enumerate(sizes)]
    if fused:
        x = net.node("Transpose", [x], "last", perm=[0, 2, 3, 1])
        x = net.node("Reshape", [x, net.held("joined", joined, np.int64)], "join")
    else:
        pieces = [f"piece{place}" for place in range(sizes[axis])]
        net.nodes.append(helper.make_node("Split", [x], pieces, "split", axis=axis))
        x = net.node("Concat", pieces, "join", axis=into)
    net.head(x, joined[1])
    return net


@pytest.mark.parametrize(("axis", "into"), [(1, 2), (3, 2), (1, 3)])
def test_what_joins_slices_in_the_source_is_named_and_no_layer_behind_it(axis: int, into: int, tmp_path: Path) -> None:
    source, target = (unstacked(axis, into, fused=fused) for fused in (False, True))
    pieces = {name: "Unpack" for node in source.nodes if node.op_type == "Split" for name in node.output}
    operators = {"features": "Conv2D", "active": "Relu", **pieces, "join": "ConcatV2", **HEAD}
    assert faults(tmp_path, source, target, operators) == [("CG", "join", "join")]
