"""Loops with a constant number of iterations, unrolled: against onnxruntime running the loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper
from safeconvert.repair import rewrites
from safeconvert.repair.rewrites import application
from safeconvert.repair.rewrites.rules import filling, loops

from tests.support.onnx_execution import execute, weights

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
    inner_graph = helper.make_graph(
        nodes,
        "loops",
        [helper.make_tensor_value_info("x", FLOAT, ["N", STEPS, WIDTH])],
        [helper.make_tensor_value_info(name, FLOAT, None) for name in ("last", "y")],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in arrays.items()],
    )
    return helper.make_model(inner_graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)


@pytest.mark.parametrize("names", [rewrites.MISSING, None])
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
    result, applied = rewrites.rewrite(model, names=names)
    onnx.checker.check_model(result, full_check=True)
    assert "loop-unrolled" in {change.rewrite for change in applied}
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
    result, applied = rewrites.rewrite(loop(), names=[rule.name for rule in loops.REWRITES])
    assert {rewrite.rewrite for rewrite in applied} == {"loop-unrolled"}
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
    result, _ = rewrites.rewrite(model, names=["loop-unrolled"])
    assert "Loop" in [node.op_type for node in result.graph.node]
    refusals = rewrites.refusals(model, names=["loop-unrolled"])
    assert any(reason in refusal.reason for refusal in refusals), refusals


def test_a_body_that_is_run_once_too_often_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison of these tests, on a loop that ignores its condition."""
    model = loop(until=5.0)
    wrong, _ = rewrites.rewrite(loop())
    x = weights(2, 3, STEPS, WIDTH)
    assert execute(model, {"x": x})[1].shape != execute(wrong, {"x": x})[1].shape


@pytest.mark.parametrize("outputs", [["", "y"], ["", "y", "", "all"], ["", "", "y"]])
def test_an_absent_carried_value_shifts_no_output(outputs: list[str]) -> None:
    """onnxruntime takes neither an absent value nor an output left out: it runs the same loop with all of them."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_in"], ["go_out"]),
            helper.make_node("Sin", ["a"], ["next_a"]),
            helper.make_node("Add", ["b", "a"], ["next_b"]),
            helper.make_node("Mul", ["a", "b"], ["piece"]),
        ],
        "body",
        [helper.make_tensor_value_info(n, k, []) for n, k in (("step", INT), ("go_in", BOOL))]
        + [helper.make_tensor_value_info(n, FLOAT, ["N", 2]) for n in ("unread", "a", "b")],
        [helper.make_tensor_value_info("go_out", BOOL, [])]
        + [helper.make_tensor_value_info(n, FLOAT, ["N", 2]) for n in ("unread", "next_a", "next_b", "piece")],
    )
    models = []
    full = [name or f"unused{i}" for i, name in enumerate([*outputs, "", "", ""][:4])]
    for first, names in (("", outputs), ("x", full)):
        graph = helper.make_graph(
            [helper.make_node("Loop", ["trips", "go", first, "x", "twice"], names, name="loop", body=body)],
            "absent",
            [helper.make_tensor_value_info(n, FLOAT, ["N", 2]) for n in ("x", "twice")],
            [helper.make_tensor_value_info(n, FLOAT, None) for n in outputs if n],
            [numpy_helper.from_array(np.asarray(v), n) for n, v in (("trips", np.int64(3)), ("go", np.bool_(True)))],
        )
        models.append(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8))
    result, _ = rewrites.rewrite(models[0], names=["loop-unrolled"])
    assert "Loop" not in [node.op_type for node in result.graph.node]
    arrays = {"x": weights(1, 3, 2), "twice": weights(2, 3, 2)}
    for wanted, got in zip(execute(models[1], arrays), execute(result, arrays), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-6)


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
    result, _ = rewrites.rewrite(model, names=rewrites.MISSING)
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
    result, _ = rewrites.rewrite(model)
    assert "Expand" in {node.op_type for node in result.graph.node}
    x = weights(1, 3, 3, WIDTH)
    np.testing.assert_array_equal(execute(result, {"x": x})[0], execute(model, {"x": x})[0])


def rows_of(names: Sequence[str | None], *counted: str) -> onnx.ModelProto:
    """Inputs x, z (and w) of these first axes; a number for each row of z, joined to it, or for what is `counted`."""
    shapes = {"x": [names[0], 5, 4], "z": [names[1], 3]} | ({"w": [names[2], 2]} if len(names) > 2 else {})
    nodes = [
        helper.make_node("Shape", ["z"], ["sizes"]),
        helper.make_node("Gather", ["sizes", "zero"], ["z_rows"], axis=0),
        helper.make_node("Shape", ["x"], ["others"]),
        helper.make_node("Gather", ["others", "zero"], ["x_rows"], axis=0),
        helper.make_node("Concat", list(counted or ("z_rows", "five")), ["shape"], axis=0),
        helper.make_node("Expand", ["half", "shape"], ["state"]),
        helper.make_node("Relu", ["state"], ["y"])
        if counted
        else helper.make_node("Concat", ["state", "z"], ["y"], axis=1),
        helper.make_node("Relu", ["x"], ["q"]),
    ]
    graph = helper.make_graph(
        nodes,
        "rows",
        [helper.make_tensor_value_info(n, FLOAT, shape) for n, shape in shapes.items()],
        [helper.make_tensor_value_info(n, FLOAT, None) for n in ("y", "q")],
        [
            *(numpy_helper.from_array(np.int64([v]), n) for n, v in (("zero", 0), ("five", 5))),
            numpy_helper.from_array(np.float32(0.5), "half"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)


@pytest.mark.parametrize("names", [["N", "M"], [None, None], ["N", None], ["N", "M", "M"], ["N", "N", "M"]])
@pytest.mark.parametrize("chosen", [rewrites.MISSING, None])
def test_a_number_for_each_row_follows_the_input_whose_rows_are_counted(
    names: list[str | None], chosen: Sequence[str] | None
) -> None:
    model = rows_of(names)
    result, applied = rewrites.rewrite(model, names=chosen)
    assert "batch-filled" in {change.rewrite for change in applied}
    for x_rows, z_rows in ((3, 3), (1, 5)) if names[0] != names[1] or None in names else ((3, 3), (5, 5)):
        arrays = {"x": weights(1, x_rows, 5, 4), "z": weights(2, z_rows, 3)}
        arrays |= {"w": weights(3, z_rows, 2)} if len(names) > 2 else {}
        for wanted, got in zip(execute(model, arrays), execute(result, arrays), strict=True):
            np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("counted", [("z_rows", "x_rows"), ("x_rows", "z_rows"), ("five", "x_rows")])
def test_a_number_for_rows_of_two_inputs_stays(counted: Sequence[str]) -> None:
    model = rows_of(["N", "M"], *counted)
    result, applied = rewrites.rewrite(model, names=rewrites.MISSING)
    assert "batch-filled" not in {change.rewrite for change in applied}
    arrays = {"x": weights(1, 2, 5, 4), "z": weights(2, 4, 3)}
    np.testing.assert_array_equal(execute(result, arrays)[0], execute(model, arrays)[0])


def test_a_shape_that_could_not_be_read_is_read_again_once_the_model_is_settled_anew() -> None:
    model = filled("Expand", value=0.5)
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "T"
    graph = application.load(model)
    application.settle(graph)
    applied, skipped = application.run(graph, filling.REWRITES, None)
    assert not applied
    assert [entry.reason for entry in skipped]
    graph.graph.inputs[0].shape = ir.Shape(["N", 3, WIDTH])
    application.settle(graph)
    applied, _ = application.run(graph, filling.REWRITES, None)
    assert [entry.rewrite for entry in applied] == ["batch-filled"]
