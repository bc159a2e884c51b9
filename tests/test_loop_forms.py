"""Loops with a constant number of iterations, unrolled: against onnxruntime running the loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from safeconvert.repair import equivalents
from test_recurrent_forms import execute, weights

STEPS, WIDTH = 4, 5
FLOAT, INT, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def loop(
    *, trips: int | None = STEPS, until: float | None = None, by_data: bool = False, backwards: bool = False
) -> onnx.ModelProto:
    """What an exporter writes for a recurrent cell over x [N, steps, width]: x turned, one step of it gathered by a
    counter that is carried, h = tanh(step W + h R) carried and stacked.

    until: the loop also ends where twice its counter reaches this. by_data: where the sum of h does.
    """
    body = [
        helper.make_node("Gather", ["turned", "counter"], ["step"], axis=0),
        helper.make_node("Split", ["both"], ["W1", "R1"], axis=0),
        helper.make_node("Squeeze", ["W1", "zero"], ["W"]),
        helper.make_node("Squeeze", ["R1", "zero"], ["R"]),
        helper.make_node("MatMul", ["step", "W"], ["a"]),
        helper.make_node("MatMul", ["h", "R"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["c"]),
        helper.make_node("Tanh", ["c"], ["next_h"]),
        helper.make_node("Identity", ["next_h"], ["piece"]),
        helper.make_node("Add", ["counter", "back" if backwards else "one"], ["next_counter"]),
        helper.make_node("Cast", ["next_counter"], ["number"], to=FLOAT),
        helper.make_node("Add", ["number", "number"], ["twice"]),
        helper.make_node("ReduceSum", ["next_h"], ["total"], keepdims=0),
        helper.make_node("Less", ["total" if by_data else "twice", "most"], ["on"]),
    ]
    graph = helper.make_graph(
        body,
        "body",
        [
            helper.make_tensor_value_info("iteration", INT, []),
            helper.make_tensor_value_info("on_in", BOOL, []),
            helper.make_tensor_value_info("counter", INT, []),
            helper.make_tensor_value_info("h", FLOAT, ["N", WIDTH]),
            helper.make_tensor_value_info("both", FLOAT, [2, WIDTH, WIDTH]),
        ],
        [
            helper.make_tensor_value_info("on", BOOL, []),
            helper.make_tensor_value_info("next_counter", INT, []),
            helper.make_tensor_value_info("next_h", FLOAT, ["N", WIDTH]),
            helper.make_tensor_value_info("both", FLOAT, [2, WIDTH, WIDTH]),
            helper.make_tensor_value_info("piece", FLOAT, ["N", WIDTH]),
        ],
        [
            numpy_helper.from_array(np.int64(1), "one"),
            numpy_helper.from_array(np.int64(-1), "back"),
            numpy_helper.from_array(np.int64([0]), "zero"),
            numpy_helper.from_array(np.float32(1e9 if until is None else until), "most"),
        ],
    )
    nodes = [
        helper.make_node("Transpose", ["x"], ["turned"], perm=[1, 0, 2]),
        helper.make_node("ReduceMax", ["x"], ["h0"], axes=[1], keepdims=0),
        helper.make_node(
            "Loop",
            ["trips" if trips is not None else "", "go", "start", "h0", "weights"],
            ["count", "last", "same", "all"],
            name="loop",
            body=graph,
        ),
        helper.make_node("Transpose", ["all"], ["y"], perm=[1, 0, 2]),
    ]
    arrays: dict[str, Any] = {"go": np.bool_(True), "start": np.int64(STEPS - 1 if backwards else 0)}
    arrays["weights"] = weights(1, 2, WIDTH, WIDTH)
    if trips is not None:
        arrays["trips"] = np.int64(trips)
    made = helper.make_graph(
        nodes,
        "loops",
        [helper.make_tensor_value_info("x", FLOAT, ["N", STEPS, WIDTH])],
        [helper.make_tensor_value_info(name, FLOAT, None) for name in ("last", "y")],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in arrays.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)


@pytest.mark.parametrize("names", [equivalents.MISSING, None])
@pytest.mark.parametrize(
    ("model", "count"),
    [
        (loop(), 4),
        (loop(trips=1), 1),
        (loop(backwards=True), 4),
        (loop(until=5.0), 3),
        (loop(trips=None, until=4.0), 2),
        (loop(trips=2**62, until=8.0), 4),
    ],
)
def test_a_loop_with_a_constant_count_is_unrolled(
    model: onnx.ModelProto, count: int, names: Sequence[str] | None
) -> None:
    result, applied = equivalents.rewrite(model, names=names)
    onnx.checker.check_model(result, full_check=True)
    assert "loop-unrolled" in {one.rewrite for one in applied}
    kinds = [node.op_type for node in result.graph.node]
    assert "Loop" not in kinds
    assert kinds.count("Tanh") == count
    assert names or "Transpose" not in kinds  # a step is taken from x itself
    for batch in (1, 3):
        x = weights(batch, batch, STEPS, WIDTH)
        for wanted, got in zip(execute(model, {"x": x}), execute(result, {"x": x}), strict=True):
            assert wanted.shape == got.shape
            assert wanted.size
            np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-6)


def test_what_does_not_change_is_written_once() -> None:
    result, _ = equivalents.rewrite(loop(), names=["loop-unrolled"])
    kinds = [node.op_type for node in result.graph.node]
    assert kinds.count("Split") == 1
    assert kinds.count("Gather") == STEPS


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (loop(by_data=True), "computed from the data"),
        (loop(trips=0), "or none"),
        (loop(trips=None), "iterations"),
        (loop(trips=2000), "more than"),
    ],
)
def test_a_loop_of_another_kind_stays_and_says_why(model: onnx.ModelProto, reason: str) -> None:
    result, _ = equivalents.rewrite(model, names=["loop-unrolled"])
    assert "Loop" in [node.op_type for node in result.graph.node]
    found = equivalents.refusals(model, names=["loop-unrolled"])
    assert any(reason in one.reason for one in found), found


def test_a_body_that_is_run_once_too_often_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison of these tests, on a loop that ignores its condition."""
    model = loop(until=5.0)
    wrong, _ = equivalents.rewrite(loop())
    x = weights(2, 3, STEPS, WIDTH)
    assert execute(model, {"x": x})[1].shape != execute(wrong, {"x": x})[1].shape


def filled(op: str, *, value: float = 0.0, doubled: bool = False) -> onnx.ModelProto:
    """An initial state of one number for each sample, as exporters write it, added to x [N, width]."""
    nodes = [
        helper.make_node("Shape", ["x"], ["sizes"]),
        helper.make_node("Gather", ["sizes", "first"], ["batch"], axis=0),
        helper.make_node("Mul", ["batch", "times"], ["rows"]),
        helper.make_node("Concat", ["rows", "width"], ["shape"], axis=0),
        helper.make_node("Expand", ["number", "shape"], ["state"])
        if op == "Expand"
        else helper.make_node(op, ["shape"], ["state"], value=numpy_helper.from_array(np.float32([value]))),
        helper.make_node("Tanh", ["state"], ["y"]),
    ]
    arrays = {"first": [0], "width": [WIDTH], "times": [2 if doubled else 1]}
    tensors = [numpy_helper.from_array(np.asarray(v, np.int64), k) for k, v in arrays.items()]
    graph = helper.make_graph(
        nodes,
        "filled",
        [helper.make_tensor_value_info("x", FLOAT, ["N", 3, WIDTH])],
        [helper.make_tensor_value_info("y", FLOAT, None)],
        [*tensors, numpy_helper.from_array(np.float32(value), "number")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)


@pytest.mark.parametrize("op", ["Expand", "ConstantOfShape"])
@pytest.mark.parametrize("value", [0.0, -1.5])
def test_a_number_for_each_sample_follows_the_batch_of_an_input(op: str, value: float) -> None:
    model = filled(op, value=value)
    result, _ = equivalents.rewrite(model, names=equivalents.MISSING)
    onnx.checker.check_model(result, full_check=True)
    assert not {"Shape", "Expand", "ConstantOfShape"} & {node.op_type for node in result.graph.node}
    for batch in (1, 3):
        x = weights(batch, batch, 3, WIDTH)
        x[0, 0, 0] = [-np.inf, 0, np.inf, -np.inf][batch]
        wanted = execute(model, {"x": x})[0]
        assert wanted.shape == (batch, WIDTH)
        np.testing.assert_array_equal(execute(result, {"x": x})[0], wanted)


def test_a_number_for_more_rows_than_the_batch_stays() -> None:
    model = filled("Expand", value=0.5, doubled=True)
    result, _ = equivalents.rewrite(model)
    assert "Expand" in {node.op_type for node in result.graph.node}
    x = weights(1, 3, 3, WIDTH)
    np.testing.assert_array_equal(execute(result, {"x": x})[0], execute(model, {"x": x})[0])
