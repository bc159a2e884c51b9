"""Gathers by computed positions and GridSample, against onnxruntime running the operator, and delivered."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from safeconvert.repair import rewrites
from safeconvert.repair.rewrites.rules import gathering, grid_sample

from tests.support.command import safeconvert
from tests.support.framework_alone import alone
from tests.support.onnx_execution import execute, weights

Array = npt.NDArray[Any]
Size = int | str
BATCH = 3


def sizes(shape: Sequence[Size]) -> list[int]:
    return [BATCH if isinstance(d, str) else d for d in shape]


def whole(low: int, high: int, *shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(low, high, shape)


def gather(
    op: str, data: Sequence[Size] | Array, places: Sequence[Size], kind: int = TensorProto.INT64, **attributes: Any
) -> onnx.ModelProto:
    """The operator on data (a constant, or of that shape) by positions that are computed."""
    fixed = isinstance(data, np.ndarray)
    dtype = helper.np_dtype_to_tensor_dtype(data.dtype) if isinstance(data, np.ndarray) else TensorProto.FLOAT
    inputs = [helper.make_tensor_value_info("i", kind, places)]
    if not isinstance(data, np.ndarray):
        inputs.append(helper.make_tensor_value_info("d", TensorProto.FLOAT, data))
    graph = helper.make_graph(
        [helper.make_node(op, ["d", "i"], ["y"], name="target", **attributes)],
        "gather",
        inputs,
        [helper.make_tensor_value_info("y", dtype, None)],
        [numpy_helper.from_array(data, "d")] if fixed else [],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)


def assert_same(model: onnx.ModelProto, arrays: dict[str, Array]) -> None:
    """Gone, and equal to the last bit."""
    result, _ = rewrites.rewrite(model)
    onnx.checker.check_model(result, full_check=True)
    assert model.graph.node[0].op_type not in {node.op_type for node in result.graph.node}
    wanted, got = execute(model, arrays)[0], execute(result, arrays)[0]
    assert wanted.dtype == got.dtype
    assert wanted.size
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize(
    ("table", "axis", "places"),
    [
        (weights(1, 9, 6), 0, ["N", 4]),
        (weights(1, 9, 6), 0, ["N"]),
        (weights(1, 9, 6), 0, []),
        (weights(1, 9), 0, ["N", 4]),
        (weights(1, 2, 9, 6), 1, ["N", 4]),
        (weights(1, 2, 5, 9), -1, ["N", 2, 2]),
        (weights(1, 9, 2).astype(np.float16), 0, ["N", 4]),
        (weights(1, 9, 2).astype(np.float64), 0, ["N", 4]),
        (whole(-5, 9, 9, 3), 0, ["N", 4]),
        (whole(-5, 9, 9, 3).astype(np.int32), 0, ["N", 4]),
    ],
)
@pytest.mark.parametrize("kind", [np.int64, np.int32])
def test_a_table_is_looked_up(table: Array, axis: int, places: list[Size], kind: Any) -> None:
    size = table.shape[axis]
    model = gather("Gather", table, places, helper.np_dtype_to_tensor_dtype(np.dtype(kind)), axis=axis)
    assert_same(model, {"i": whole(-size, size, *sizes(places)).astype(kind)})


@pytest.mark.parametrize(
    ("data", "axis", "places"),
    [
        ([5, 6], 0, ["N", 4]),
        ([5, 6], 1, ["N"]),
        (["N", 5, 6], 1, [4]),
        (["N", 5, 6], 2, [2, 3]),
        (["N", 5, 6], 1, []),
        (["N", 5, 6, 7], -2, [4]),
        (["N", 5], 1, [4]),
    ],
)
def test_computed_data_are_gathered(data: list[Size], axis: int, places: list[Size]) -> None:
    size = sizes(data)[axis]
    arrays = {"i": whole(-size, size, *sizes(places)), "d": weights(2, *sizes(data))}
    assert_same(gather("Gather", data, places, axis=axis), arrays)


@pytest.mark.parametrize(
    ("data", "axis", "places"),
    [
        (["N", 5, 6], 1, ["N", 5, 6]),
        (["N", 5, 6], 1, ["N", 9, 6]),
        (["N", 5, 6], 2, ["N", 3, 2]),
        (["N", 5], 1, ["N", 2]),
        ([5, 6], 0, [4, 6]),
        ([5, 6], 1, [4, 8]),
        (["N", 5, 6, 4], 1, ["N", 2, 3, 4]),
        (["N", 5, 6, 4], -1, ["N", 5, 3, 4]),
    ],
)
def test_elements_are_gathered(data: list[Size], axis: int, places: list[Size]) -> None:
    size = sizes(data)[axis]
    arrays = {"i": whole(-size, size, *sizes(places)), "d": weights(2, *sizes(data))}
    assert_same(gather("GatherElements", data, places, axis=axis), arrays)


@pytest.mark.parametrize(
    ("data", "batch", "places"),
    [
        (["N", 5, 6], 1, ["N", 1]),
        (["N", 5, 6], 1, ["N", 3, 1]),
        (["N", 5, 6], 1, ["N", 3, 2]),
        (["N", 5, 6, 2], 1, ["N", 3, 4, 2]),
        (["N", 5, 6], 2, ["N", 5, 2, 1]),
        (["N", 5, 6, 7], 2, ["N", 5, 1]),
        ([4, 5], 0, ["N", 2]),
        ([4, 5, 3], 0, ["N", 3, 1]),
        ([4, 5, 3], 0, ["N", 3, 2]),
    ],
)
def test_pieces_are_gathered(data: list[Size], batch: int, places: list[Size]) -> None:
    *lead, length = sizes(places)
    limits = sizes(data)[batch : batch + length]
    index = np.stack([whole(-n, n, *lead, seed=i) for i, n in enumerate(limits)], -1)
    assert_same(gather("GatherND", data, places, batch_dims=batch), {"i": index, "d": weights(2, *sizes(data))})


@pytest.mark.parametrize("index", [[0, 5], [3, -6], [-5, 4], [4, 0], [-9, 9], [2**40, 0]])
def test_an_index_beyond_its_axis_meets_no_other_row(index: list[int]) -> None:
    result, _ = rewrites.rewrite(gather("GatherND", [4, 5], ["N", 2]))
    assert "GatherND" not in {node.op_type for node in result.graph.node}
    data = 1 + np.abs(weights(2, 4, 5))
    got = execute(result, {"i": np.int64([index, [1, -2]]), "d": data})[0]
    np.testing.assert_array_equal(got, [0, data[1, 3]])


def behind(op: str, attributes: dict[str, Any], *constants: Array) -> onnx.ModelProto:
    """GatherElements of what an operator with these constants gives."""
    model = gather("GatherElements", ["N", 5], ["N", 2], axis=1)
    names = [f"c{i}" for i in range(len(constants))]
    model.graph.node.insert(0, helper.make_node(op, ["d", *names], ["made"], **attributes))
    model.graph.node[1].input[0] = "made"
    model.graph.initializer.extend(numpy_helper.from_array(c, n) for c, n in zip(constants, names, strict=True))
    return model


LARGE = int(np.sqrt(gathering.MAX_ELEMENTS)) + 1


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (gather("Gather", np.float32([[1, np.inf], [2, 3]]), ["N"]), "infinities"),
        (gather("Gather", whole(0, 2**40, 4, 3), ["N"]), "small constant integers"),
        (gather("Gather", ["N", 5], [2]), "not static enough"),
        (gather("Gather", ["N", 5], ["N", 2], axis=1), "every other"),
        (gather("Gather", np.zeros((LARGE, 1), np.float32), ["N", LARGE]), "too large"),
        (gather("GatherElements", ["N", 5], ["N", 2]), "the batch is the gathered axis"),
        (gather("GatherElements", ["N", LARGE], ["N", LARGE], axis=1), "too large"),
        (gather("GatherND", ["N", 5, 6], [4, 2]), "the batch is a gathered axis"),
        (gather("GatherND", [5], ["K"]), "not static"),
        (gather("GatherND", [5, 6], ["N", 0]), "without elements"),
        (gather("GatherND", [5, 6], ["N", 0, 2]), "without elements"),
        (gather("Gather", [5, 6], ["N", 0]), "without elements"),
        (gather("Gather", ["N", 5, 0], [2], axis=1), "without elements"),
        (gather("GatherElements", ["N", 5], ["N", 0], axis=1), "without elements"),
        (behind("Log", {}), "may be infinite"),
        (behind("Max", {}, np.float32([-np.inf])), "may be infinite"),
    ],
)
def test_what_a_product_with_marks_would_change_is_refused(model: onnx.ModelProto, reason: str) -> None:
    result, _ = rewrites.rewrite(model)
    kind = model.graph.node[-1].op_type
    assert kind in {node.op_type for node in result.graph.node}
    assert any(reason in refusal.reason for refusal in rewrites.refusals(model) if refusal.op_type == kind)


def sampler(mode: str, padding: str, corners: int, opset: int = 16) -> onnx.ModelProto:
    attributes = {"mode": mode, "padding_mode": padding, "align_corners": corners}
    graph = helper.make_graph(
        [helper.make_node("GridSample", ["x", "grid"], ["y"], name="target", **attributes)],
        "sampler",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 6, 7]),
            helper.make_tensor_value_info("grid", TensorProto.FLOAT, ["N", 5, 4, 2]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


@pytest.mark.parametrize("corners", [0, 1])
@pytest.mark.parametrize("padding", ["zeros", "border"])
@pytest.mark.parametrize(("mode", "opset"), [("bilinear", 16), ("nearest", 16), ("linear", 20), ("nearest", 20)])
@pytest.mark.parametrize("names", [rewrites.MISSING, None])
def test_a_grid_samples_inside_and_outside_the_image(
    mode: str, opset: int, padding: str, corners: int, names: Sequence[str] | None
) -> None:
    model = sampler(mode, padding, corners, opset)
    result, applied = rewrites.rewrite(model, names=names)
    assert {rule.name for rule in grid_sample.REWRITES} <= {rewrite.rewrite for rewrite in applied}
    onnx.checker.check_model(result, full_check=True)
    assert "GridSample" not in {node.op_type for node in result.graph.node}
    grid = np.random.default_rng(5).uniform(-1.6, 1.6, (BATCH, 5, 4, 2)).astype(np.float32)
    grid[0, 0] = [[-1, -1], [1, 1], [0, 0], [1, -1]]
    grid[1, 0, 0] = 100
    arrays = {"x": weights(3, BATCH, 3, 6, 7), "grid": grid}
    np.testing.assert_allclose(execute(result, arrays)[0], execute(model, arrays)[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize(("mode", "padding"), [("bicubic", "zeros"), ("bilinear", "reflection")])
def test_a_sampler_of_another_kind_is_refused(mode: str, padding: str) -> None:
    model = sampler(mode, padding, 0)
    result, _ = rewrites.rewrite(model)
    assert [node.op_type for node in result.graph.node] == ["GridSample"]
    assert any(f"mode {mode} with padding {padding}" in refusal.reason for refusal in rewrites.refusals(model))


def searching() -> onnx.ModelProto:
    """A codebook looked up by the nearest entry, the best step of each channel, and an image sampled by a grid."""
    arrays = {"codes": weights(1, 5, 9), "table": weights(2, 9, 6), "fc": weights(3, 6, 4), "one": np.int64([1])}
    arrays |= {"turn": weights(4, 36, 2 * 8), "points": np.int64([-1, 4, 2, 2]), "image": np.int64([-1, 1, 6, 6])}
    nodes = [
        helper.make_node("MatMul", ["x", "codes"], ["s"]),
        helper.make_node("ArgMax", ["s"], ["best"], axis=2, keepdims=0),
        helper.make_node("Gather", ["table", "best"], ["entries"], name="lookup"),
        helper.make_node("MatMul", ["entries", "fc"], ["scores"]),
        helper.make_node("ReduceMean", ["scores"], ["a"], axes=[1], keepdims=0),
        helper.make_node("ArgMax", ["scores"], ["first"], axis=1, keepdims=1),
        helper.make_node("GatherElements", ["scores", "first"], ["tops"], name="elements", axis=1),
        helper.make_node("Squeeze", ["tops", "one"], ["b"]),
        helper.make_node("ArgMax", ["a"], ["label"], axis=1, keepdims=1),
        helper.make_node("GatherND", ["scores", "label"], ["c"], name="pieces", batch_dims=1),
        helper.make_node("MatMul", ["flat", "turn"], ["g"]),
        helper.make_node("Tanh", ["g"], ["bounded"]),
        helper.make_node("Reshape", ["bounded", "points"], ["grid"]),
        helper.make_node("Reshape", ["flat", "image"], ["picture"]),
        helper.make_node("GridSample", ["picture", "grid"], ["samples"], name="sampler"),
        helper.make_node("ReduceMean", ["samples"], ["d"], axes=[1, 2], keepdims=0),
        helper.make_node("Concat", ["a", "b", "c", "d"], ["y"], axis=1),
    ]
    nodes.insert(0, helper.make_node("Flatten", ["e"], ["flat"]))
    nodes.insert(0, helper.make_node("MatMul", ["x", "wide"], ["e"]))
    arrays["wide"] = weights(6, 5, 6)
    graph = helper.make_graph(
        nodes,
        "searching",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 6, 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)


@pytest.mark.parametrize(("pair", "suffix"), [("onnx2keras", ".keras"), ("onnx2torch", ".pt2")])
def test_computed_positions_reach_converters_that_have_none(pair: str, suffix: str, tmp_path: Path) -> None:
    onnx.save(searching(), tmp_path / "m.onnx")
    np.savez(tmp_path / "x.npz", weights(3, 8, 6, 5))
    output = tmp_path / f"m{suffix}"
    done = safeconvert(pair, tmp_path / "m.onnx", "--inputs", "x.npz", "-o", output, "--json", folder=tmp_path)
    assert done.code == 0, done.out + done.err
    assert json.loads(done.out)["verdict"] in ("verified", "repaired")
    x = weights(11, 1, 6, 5)
    wanted = alone(tmp_path / "m.onnx", "onnx", x)
    np.testing.assert_allclose(alone(output, pair.split("2")[1], x), wanted, atol=1e-5)


def test_positions_that_are_an_input_stay_whole_numbers_in_torch(tmp_path: Path) -> None:
    onnx.save(gather("Gather", weights(1, 9, 6), ["N", 4]), tmp_path / "m.onnx")
    ids = whole(0, 9, 8, 4)
    np.savez(tmp_path / "x.npz", ids)
    done = safeconvert("onnx2torch", tmp_path / "m.onnx", "--inputs", "x.npz", "-o", "m.pt2", "--json", folder=tmp_path)
    assert done.code == 0, done.out + done.err
    report = json.loads(done.out)
    assert [i["dtype"] for i in report["target"]["inputs"]] == ["int64"]
    assert not [tried["form"] for tried in report["route"] if tried.get("form")]
    np.testing.assert_array_equal(alone(tmp_path / "m.pt2", "torch", ids), weights(1, 9, 6)[ids[:1]])
