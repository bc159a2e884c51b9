"""Transposes and reshapes through which the batch travels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx
import onnx.numpy_helper
import pytest
from onnx import TensorProto, helper
from safeconvert.repair import rewrites
from safeconvert.repair.rewrites.rules import movement

from tests.support.rewrite_cases import (
    TOLERANCE,
    Array,
    W,
    difference,
    ints,
)


def _chain(steps: Sequence[tuple[str, dict[str, Any], tuple[Array, ...]]], shape: tuple[int, ...]) -> onnx.ModelProto:
    """Operators one after the other, with constants as further inputs; `last` puts them before the tensor."""
    nodes, initializers, value = [], [], "x"
    for i, (op, attributes, constants) in enumerate(steps):
        names = [f"c{i}_{j}" for j in range(len(constants))]
        initializers += [onnx.numpy_helper.from_array(c, n) for c, n in zip(constants, names, strict=True)]
        last = attributes.pop("last", False)
        inputs = [*names, value] if last else [value, *names]
        value = f"v{i}"
        nodes.append(helper.make_node(op, inputs, [value], name=f"{op}{i}", **attributes))
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *shape])],
        [helper.make_tensor_value_info(value, TensorProto.FLOAT, None)],
        initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


@pytest.mark.parametrize(
    ("steps", "shape"),
    [
        ([("Transpose", {"perm": [1, 0]}, ()), ("Gemm", {"transA": 1}, (W(6, 5), W(5)))], (6,)),
        (
            [
                ("Gemm", {"transB": 1, "last": True}, (W(5, 6),)),
                ("Add", {}, (W(5, 1),)),
                ("Transpose", {}, ()),
            ],
            (6,),
        ),
        (
            [
                ("Transpose", {}, ()),
                ("Sub", {"last": True}, (W(5, 1),)),
                ("Transpose", {"perm": [2, 0, 1]}, ()),
            ],
            (5, 6),
        ),
        ([("Transpose", {}, ()), ("Tanh", {}, ()), ("Transpose", {"perm": [3, 1, 2, 0]}, ())], (4, 5, 6)),
        ([("Reshape", {}, (ints(-1, 10),)), ("Reshape", {}, (ints(-1, 70, 4),))], (4, 7, 10)),
        ([("Flatten", {"axis": 2}, ()), ("Reshape", {}, (ints(-1, 280),))], (4, 7, 10)),
        (
            [
                ("Flatten", {"axis": 2}, ()),
                ("MatMul", {}, (W(70, 5),)),
                ("Add", {}, (W(5),)),
                ("Tanh", {}, ()),
                ("Mul", {"last": True}, (W(1, 1),)),
                ("Softmax", {"axis": 1}, ()),
                ("Reshape", {}, (ints(-1, 20),)),
            ],
            (4, 7, 10),
        ),
        (
            [
                ("Reshape", {}, (ints(-1, 10),)),
                ("Gemm", {"transB": 1}, (W(3, 10), W(3))),
                ("Relu", {}, ()),
                ("Gemm", {}, (W(3, 6),)),
                ("Reshape", {}, (ints(-1, 4, 7, 6),)),
            ],
            (4, 7, 10),
        ),
    ],
)
def test_a_batch_that_only_travels_stays_first(
    steps: list[tuple[str, dict[str, Any], tuple[Array, ...]]], shape: tuple[int, ...]
) -> None:
    model = _chain([(op, dict(attributes), constants) for op, attributes, constants in steps], shape)
    result, applied = rewrites.rewrite(model)
    assert {rewrite.rewrite for rewrite in applied} & {rule.name for rule in movement.REWRITES}
    onnx.checker.check_model(result, full_check=True)
    for node in result.graph.node:
        for attribute in node.attribute:
            assert attribute.name != "perm" or attribute.ints[0] == 0, result.graph.node
    fixed = onnx.ModelProto.FromString(result.SerializeToString())
    fixed.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 11
    del fixed.graph.value_info[:]
    inferred = onnx.shape_inference.infer_shapes(fixed, data_prop=True).graph.value_info
    firsts = {v.name: v.type.tensor_type.shape.dim[0].dim_value for v in inferred}
    assert all(firsts[name] == 11 for n in result.graph.node[:-1] for name in n.output), firsts
    assert difference(model, result, shape) <= TOLERANCE
