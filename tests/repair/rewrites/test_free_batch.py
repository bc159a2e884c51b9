"""What a graph computes from its free batch: guards against an empty one, which converters do not follow, go."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from safeconvert.repair import rewrites
from safeconvert.repair.rewrites.application import infer, load
from safeconvert.repair.rewrites.free_batch import freeze_computed_shapes, shape_at_batches
from safeconvert.repair.rewrites.site import constant_of


def guarded(*, first: bool = True, rows: int = 0, more: int = 1) -> onnx.ModelProto:
    """Zero rows joined to the batch (before or behind it) and as many as ``rows`` beyond the batch taken again, and a
    zero of the batch's shape added: what a tool writes so that an empty batch can be padded."""
    nodes = [
        helper.make_node("Shape", ["x"], ["sizes"]),
        helper.make_node("Mul", ["sizes", "not_batch"], ["others"]),
        helper.make_node("Add", ["others", "batch_of"], ["one"]),
        helper.make_node("Expand", ["zero", "one"], ["filler"]),
        helper.make_node("Concat", ["x", "filler"] if first else ["filler", "x"], ["joined"], axis=0),
        helper.make_node("Transpose", ["joined"], ["turned"], perm=[0, 2, 1]),
        helper.make_node("Gather", ["sizes", "order"], ["turned_sizes"], axis=0),
        helper.make_node("Add", ["turned_sizes", "beyond"], ["ends"]),
        helper.make_node("Slice", ["turned", "starts", "ends"], ["taken"]),
        helper.make_node("Shape", ["taken"], ["taken_sizes"]),
        helper.make_node("Expand", ["zero", "taken_sizes"], ["zeros"]),
        helper.make_node("Add", ["taken", "zeros"], ["y"]),
    ]
    constants = {
        "not_batch": [0, 1, 1], "batch_of": [more, 0, 0], "order": [0, 2, 1], "beyond": [rows, 0, 0], "starts": [0] * 3,
    }  # fmt: skip
    tensors = [numpy_helper.from_array(np.asarray(value, np.int64), name) for name, value in constants.items()]
    tensors.append(numpy_helper.from_array(np.zeros((), np.float32), "zero"))
    graph = helper.make_graph(
        nodes,
        "guarded",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4, 7])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def run(model: onnx.ModelProto, batch: int) -> np.ndarray:
    return on(model, np.random.default_rng(batch).normal(size=(batch, 4, 7)).astype(np.float32))


def on(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


def test_rows_joined_and_taken_off_again_go_and_so_do_zeros_of_the_batchs_shape() -> None:
    model = guarded()
    result, _ = rewrites.rewrite(model, names=())
    kinds = [node.op_type for node in result.graph.node]
    assert kinds == ["Transpose", "Add"]
    for batch in (1, 3):
        np.testing.assert_array_equal(run(result, batch), run(model, batch))


@pytest.mark.parametrize("other", [{"first": False}, {"rows": 1}, {"rows": -1}, {"more": 2, "rows": 1}])
def test_rows_that_stay_are_kept(other: dict[str, int]) -> None:
    model = guarded(**other)
    result, _ = rewrites.rewrite(model, names=())
    assert "Concat" in [node.op_type for node in result.graph.node]
    for batch in (2, 3):
        np.testing.assert_array_equal(run(result, batch), run(model, batch))


def test_a_size_that_small_batches_change_is_no_constant() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["sizes"]),
        helper.make_node("Gather", ["sizes", "first"], ["batch"], axis=0),
        helper.make_node("Min", ["batch", "four"], ["end"]),
        helper.make_node("Slice", ["x", "first", "end", "axis"], ["y"]),
    ]
    constants = {"first": [0], "four": [4], "axis": [2]}
    graph = helper.make_graph(
        nodes,
        "least",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4, 7])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value, np.int64), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    result, _ = rewrites.rewrite(model, names=())
    for batch in (1, 2, 3, 6):
        np.testing.assert_array_equal(run(result, batch), run(model, batch))


def test_a_where_that_guards_against_infinities_stays() -> None:
    """x * mask + y * (1 - mask) would be no number wherever the branch that is not chosen is infinite."""
    nodes = [
        helper.make_node("Greater", ["x", "zero"], ["positive"]),
        helper.make_node("Log", ["x"], ["log"]),
        helper.make_node("Where", ["positive", "log", "zero"], ["y"], name="guard"),
    ]
    graph = helper.make_graph(
        nodes,
        "guard",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4, 7])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.zeros((1, 1, 1), np.float32), "zero")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    result, _ = rewrites.rewrite(model)
    assert np.isfinite(run(result, 3)).all()
    np.testing.assert_allclose(run(result, 3), run(model, 3), rtol=1e-5, atol=1e-6)
    assert ("where", "guard") in {(refusal.rewrite, refusal.node) for refusal in rewrites.refusals(model)}


def attention(heads: int = 2, width: int = 8, tokens: int = 5) -> onnx.ModelProto:
    """A class token for each sample, and the scale of an attention, both computed from shapes, as torch writes them."""
    rng = np.random.default_rng(3)
    node = helper.make_node
    nodes = [
        node("Shape", ["x"], ["sizes"]),
        node("Gather", ["sizes", "zero"], ["rows"], axis=0),
        node("Unsqueeze", ["rows", "zero_axis"], ["batch"]),
        node("Concat", ["batch", "one", "width"], ["shape"], axis=0),
        node("ConstantOfShape", ["three"], ["ones"], value=numpy_helper.from_array(np.array([1], np.int64))),
        node("Mul", ["ones", "minus_one"], ["wildcard"]),
        node("Equal", ["shape", "wildcard"], ["is_wildcard"]),
        node("Where", ["is_wildcard", "ones", "shape"], ["filled"]),
        node("Expand", ["token", "filled"], ["tokens"]),
        node("Concat", ["tokens", "x"], ["all"], axis=1),
        node("Shape", ["all"], ["all_sizes"]),
        node("Slice", ["all_sizes", "last", "end"], ["depth"]),
        node("Cast", ["depth"], ["depth_float"], to=TensorProto.FLOAT),
        node("Sqrt", ["depth_float"], ["scale"]),
        node("Div", ["all", "scale"], ["y"]),
    ]
    constants = {
        "zero": np.array(0), "zero_axis": np.array([0]), "one": np.array([1]), "width": np.array([width]),
        "three": np.array([3]), "minus_one": np.array([-1]), "last": np.array([-1]), "end": np.array([2**62]),
    }  # fmt: skip
    tensors = [numpy_helper.from_array(value.astype(np.int64), name) for name, value in constants.items()]
    tensors.append(numpy_helper.from_array(rng.normal(size=(1, 1, width)).astype(np.float32), "token"))
    graph = helper.make_graph(
        nodes,
        "attention",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", tokens, width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def test_a_class_token_and_the_scale_of_an_attention_need_no_shapes() -> None:
    model = attention()
    result, applied = rewrites.rewrite(model, names=rewrites.MISSING)
    kinds = {node.op_type for node in result.graph.node}
    assert not kinds & {"Shape", "Where", "Equal", "Expand", "ConstantOfShape", "Sqrt"}
    assert "batch-filled" in {change.rewrite for change in applied}
    for batch in (1, 3, 7):
        x = np.random.default_rng(batch).normal(size=(batch, 5, 8)).astype(np.float32)
        sessions = [
            onnxruntime.InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"])
            for m in (model, result)
        ]
        expected, actual = (session.run(None, {"x": x})[0] for session in sessions)
        np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-6)


def test_a_value_that_follows_the_batch_is_not_taken_for_a_constant() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["sizes"]),
        helper.make_node("Cast", ["sizes"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["numbers"], ["total"], keepdims=0),
        helper.make_node("Div", ["x", "total"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "counted",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4, 7])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    result, _ = rewrites.rewrite(model, names=rewrites.CANONICAL)
    for batch in (1, 4):
        np.testing.assert_allclose(run(result, batch), run(model, batch), rtol=1e-6)


def viewed(first: str) -> onnx.ModelProto:
    """A Reshape to a shape whose first size is that axis of the input, counted by Shape and Gather."""
    nodes = [
        helper.make_node("Shape", ["x"], ["sizes"]),
        helper.make_node("Gather", ["sizes", first], ["count"], axis=0),
        helper.make_node("Concat", ["count", "rest"], ["shape"], axis=0),
        helper.make_node("Reshape", ["x", "shape"], ["y"], "view"),
    ]
    constants = {"batch": [0], "channels": [1], "rest": [28] if first == "batch" else [-1]}
    graph = helper.make_graph(
        nodes,
        "viewed",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4, 7])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value, np.int64), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


@pytest.mark.parametrize(("first", "behind"), [("batch", [28]), ("channels", None)])
def test_a_shape_is_read_at_several_batches(first: str, behind: list[int] | None) -> None:
    model = load(viewed(first))
    infer(model)
    reshape = next(node for node in model.graph if node.name == "view")
    assert shape_at_batches(model, reshape, 1, ["x"]) == behind
    assert freeze_computed_shapes(model)
    frozen = constant_of(reshape.inputs[1])
    assert frozen is not None
    assert frozen.tolist() == ([-1, 28] if behind else [4, -1])
