"""What a graph computes from its free batch: guards against an empty one, which converters do not follow, go."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from safeconvert.repair import rewrites


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
    x = np.random.default_rng(batch).normal(size=(batch, 4, 7)).astype(np.float32)
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
    assert ("where", "guard") in {(one.rewrite, one.node) for one in rewrites.refusals(model)}
