"""Expansions to the batch that broadcasting makes anyway, and gathers of all rows, go; others stay."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from safeconvert.repair import rewrites
from safeconvert.repair.rewrites.free_rows import row_of_all

SIZES = [
    helper.make_node("Shape", ["x"], ["sizes"]),
    helper.make_node("Gather", ["sizes", "zero"], ["batch"], axis=0),
    helper.make_node("Unsqueeze", ["batch", "axis"], ["rows"]),
]


def graph_of(
    nodes: list[onnx.NodeProto], constants: dict[str, object], dtype: int = TensorProto.FLOAT
) -> onnx.ModelProto:
    known = {"zero": 0, "axis": [0], **constants}
    tensors = [
        numpy_helper.from_array(np.asarray(v) if isinstance(v, np.ndarray) else np.asarray(v, np.int64), name)
        for name, v in known.items()
    ]
    graph = helper.make_graph(
        [*SIZES, *nodes],
        "rows",
        [helper.make_tensor_value_info("x", dtype, ["N", 6])],
        [helper.make_tensor_value_info("y", dtype, None)],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def expanded(*behind: onnx.NodeProto) -> onnx.ModelProto:
    """A constant row of shape (1, 6), expanded to as many rows as ``x`` has."""
    nodes = [
        helper.make_node("Concat", ["rows", "width"], ["target"], axis=0),
        helper.make_node("Expand", ["row", "target"], ["wide"]),
        *behind,
    ]
    row = np.arange(6, dtype=np.float32)[None]
    return graph_of(nodes, {"width": [6], "row": row, "index": [5, 0, 0, 1, 2, 3], "perm": [1, 0]})


def gathered(offset: int) -> onnx.ModelProto:
    """All elements of ``x`` by their number, ``row * 6 + (position + offset) % 6``."""
    nodes = [
        helper.make_node("Range", ["zero", "batch", "one"], ["numbers"]),
        helper.make_node("Unsqueeze", ["numbers", "last"], ["column"]),
        helper.make_node("Mul", ["column", "width"], ["starts"]),
        helper.make_node("Add", ["starts", "positions"], ["index"]),
        helper.make_node("Reshape", ["x", "flat"], ["elements"]),
        helper.make_node("Gather", ["elements", "index"], ["y"], axis=0),
    ]
    positions = ((np.arange(6) + offset) % 6).astype(np.int64)
    return graph_of(nodes, {"one": 1, "last": [1], "width": 6, "positions": positions, "flat": [-1]})


def run(model: onnx.ModelProto, batch: int) -> np.ndarray:
    x = np.random.default_rng(batch).normal(size=(batch, 6)).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


def operators(model: onnx.ModelProto) -> set[str]:
    result, _ = rewrites.rewrite(model, names=())
    for batch in (1, 2, 5):
        np.testing.assert_array_equal(run(result, batch), run(model, batch))
    return {node.op_type for node in result.graph.node}


@pytest.mark.parametrize(
    "behind",
    [
        [helper.make_node("Add", ["x", "wide"], ["y"])],
        [helper.make_node("Sqrt", ["wide"], ["root"]), helper.make_node("Mul", ["root", "x"], ["y"])],
        [helper.make_node("Less", ["wide", "x"], ["less"]), helper.make_node("Where", ["less", "x", "wide"], ["y"])],
    ],
    ids=["operand", "root", "mask"],
)
def test_an_expansion_to_rows_that_the_other_operand_has_goes(behind: list[onnx.NodeProto]) -> None:
    assert not operators(expanded(*behind)) & {"Expand", "Shape"}


@pytest.mark.parametrize(
    "behind",
    [
        [helper.make_node("Neg", ["wide"], ["y"])],
        [helper.make_node("Mul", ["wide", "wide"], ["y"])],
        [helper.make_node("Add", ["x", "wide"], ["z"]), helper.make_node("Concat", ["wide", "z"], ["y"], axis=1)],
        [helper.make_node("ReduceSum", ["wide", "axis"], ["s"]), helper.make_node("Add", ["x", "s"], ["y"])],
    ],
    ids=["output", "itself", "concat", "sum over rows"],
)
def test_an_expansion_whose_rows_are_needed_stays(behind: list[onnx.NodeProto]) -> None:
    assert "Expand" in operators(expanded(*behind))


def test_an_expansion_of_computed_rows_to_their_own_shape_goes() -> None:
    nodes = [
        helper.make_node("Concat", ["rows", "width"], ["target"], axis=0),
        helper.make_node("Neg", ["x"], ["computed"]),
        helper.make_node("Expand", ["computed", "target"], ["wide"]),
        helper.make_node("Relu", ["wide"], ["y"]),
    ]
    assert operators(graph_of(nodes, {"width": [6]})) == {"Neg", "Relu"}


def test_a_gather_of_all_elements_in_their_order_is_a_reshape() -> None:
    assert operators(gathered(0)) == {"Reshape"}


def test_a_gather_in_another_order_stays() -> None:
    assert "Gather" in operators(gathered(1))


@pytest.mark.parametrize("axis", [1, 0])
def test_a_value_of_equal_rows_is_one_row_and_a_value_of_different_rows_stays(axis: int) -> None:
    """Sums along a row are the same in each row; sums along the batch count the rows."""
    nodes = [
        helper.make_node("Concat", ["rows", "width"], ["target"], axis=0),
        helper.make_node("Expand", ["row", "target"], ["wide"]),
        helper.make_node("CumSum", ["wide", "along"], ["sums"]),
        helper.make_node("Add", ["x", "sums"], ["y"]),
    ]
    row = np.arange(6, dtype=np.float32)[None]
    model = graph_of(nodes, {"width": [6], "row": row, "along": axis})
    assert ("CumSum" in operators(model)) == (axis == 0)


def constant(rows: list[list[int]]) -> ir.Value:
    return ir.Value(name="v", const_value=ir.tensor(np.asarray(rows)))


@pytest.mark.parametrize(
    ("small", "large", "row"),
    [
        ([[1, 2]] * 2, [[1, 2]] * 3, [[1, 2]]),
        ([[1, 2]] * 2, [[1, 3]] * 3, None),
        ([[1, 2]] * 2, [[1, 2], [1, 2], [2, 1]], None),
    ],
    ids=["the same row", "a row that follows the batch", "rows that differ"],
)
def test_a_row_is_told_by_all_sizes_of_the_batch(
    small: list[list[int]], large: list[list[int]], row: list[list[int]] | None
) -> None:
    readings: list[dict[str | None, ir.Value]] = [{"v": constant(small)}, {"v": constant(large)}]
    repeated = row_of_all(ir.Value(name="v"), readings)
    assert (None if repeated is None else repeated.tolist()) == row
