"""What every rewrite keeps: names, the model given, the nodes not asked for; and refusals that say why."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
import pytest
from onnx import TensorProto, helper
from safeconvert.repair import rewrites

from tests.support.rewrite_cases import (
    BATCH,
    TOLERANCE,
    Array,
    Case,
    W,
    build,
    case_id,
    difference,
    execute,
    ints,
    one_operator,
)

AT_THE_END = [
    Case("identity", "Identity"),
    Case("clip", "Clip", {}, (np.float32(-0.5), np.float32(0.7))),
    Case("globalavg", "GlobalAveragePool"),
    Case("split", "Split", {"axis": 1}, (ints(1, 3),), outputs=2),
    Case("maxpool", "MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 0, 1, 2]}, opset=17),
    Case("cast", "Cast", {"to": TensorProto.FLOAT}),
    Case("squeeze", "Squeeze", {"axes": [1]}, shape=(1, 5, 4), opset=11),
]


@pytest.mark.parametrize("case", AT_THE_END, ids=case_id)
def test_an_output_of_the_graph_keeps_its_name_when_its_node_is_replaced(case: Case) -> None:
    model = build(case, tail=False)
    result, _ = rewrites.rewrite(model)
    assert [o.name for o in result.graph.output] == [o.name for o in model.graph.output]
    assert difference(model, result, case.shape) <= TOLERANCE


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        (
            Case(
                "",
                "Resize",
                {"mode": "linear", "antialias": 1, "coordinate_transformation_mode": "tf_crop_and_resize"},
                (np.zeros(8, np.float32), np.asarray([1, 1, 0.5, 0.5], np.float32)),
                opset=18,
            ),
            "antialias of a region of interest",
        ),
        (
            Case("", "MaxPool", {"kernel_shape": [2, 2], "pads": [1, 0, 0, 0]}, outputs=2),
            "the Indices output counts in the unpadded tensor",
        ),
        (Case("", "CumSum", {}, (np.int64(0),)), "the axis is not static, or too long for a matrix"),
        (Case("", "Pow", {}, (np.float32(-2),), place=1), "a base that is not above 0"),
        (Case("", "Compress", {"axis": 1}, (np.zeros(4, bool),)), "nothing is kept"),
        (Case("", "Einsum", {"equation": "nchh->nch"}, shape=(4, 7, 7)), "a diagonal"),
        (
            Case("", "Einsum", {"equation": "nchw,nd->cdhw"}, (W(BATCH, 5),)),
            "axes that may be broadcast",
        ),
        (
            Case("", "Where", {}, (np.float32(np.inf), np.float32(1)), cast=TensorProto.BOOL),
            "an infinite constant by a computed condition",
        ),
        (
            Case("", "AveragePool", {"kernel_shape": [2, 2], "auto_pad": "VALID", "ceil_mode": 1}),
            "auto_pad VALID with ceil_mode is read differently by different runtimes",
        ),
        (Case("", "Pad", {"mode": "edge"}, (ints(0, 0, -1, 0, 0, 0, 1, 0),)), "negative pads in mode edge"),
        (Case("", "Tile", {}, (ints(1, 200, 1, 1),)), "computed or many repeats"),
    ],
)
def test_a_refusal_says_why(case: Case, reason: str) -> None:
    model = build(case)
    if case.op == "MaxPool":
        model.graph.output[1].type.tensor_type.elem_type = TensorProto.FLOAT
        cast = helper.make_node("Cast", ["y1"], ["c"], name="c", to=TensorProto.FLOAT)
        model.graph.node.insert(2, cast)
        model.graph.node[-1].input[0] = "c"
    assert reason in {s.reason for s in rewrites.refusals(model) if s.node == "target"}


def _two_pools() -> onnx.ModelProto:
    nodes = [
        helper.make_node("MaxPool", ["x"], ["a"], name=name, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        for name in ("one",)
    ]
    nodes.append(helper.make_node("MaxPool", ["a"], ["y"], kernel_shape=[3, 3], pads=[1, 0, 1, 0]))
    graph = helper.make_graph(
        nodes,
        "two",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2, 6, 9])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def test_only_the_given_nodes_are_rewritten() -> None:
    model = _two_pools()
    assert [n.name for n in rewrites.named(model).graph.node] == ["one", "MaxPool:y"]
    for name in ("one", "MaxPool:y"):
        result, applied = rewrites.rewrite(model, nodes=[name])
        assert {a.node for a in applied} == {name}
        assert sum(n.op_type == "Pad" for n in result.graph.node) == 1
        assert difference(model, result, (2, 6, 9)) <= TOLERANCE
        origins = {p.value for n in result.graph.node for p in n.metadata_props if p.key == "safeconvert.origin"}
        assert origins == {"one", "MaxPool:y"}


def test_the_model_given_is_left_alone_and_the_result_is_the_same_each_time() -> None:
    model = _two_pools()
    before = model.SerializeToString()
    first, second = rewrites.rewrite(model)[0], rewrites.rewrite(model)[0]
    assert model.SerializeToString() == before
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True)


def test_every_rewrite_is_named_once_and_every_group_names_rewrites() -> None:
    names = [r.name for r in rewrites.REWRITES]
    assert len(names) == len(set(names))
    assert {r.fault_type for r in rewrites.REWRITES} <= {"LH", "CG", "TSS", "WB", "ID"}
    grouped = {*rewrites.PLAIN, *rewrites.MISSING, *rewrites.ALTERNATIVES, *rewrites.ON_REQUEST}
    assert grouped == set(names)
    with pytest.raises(ValueError, match="no rewrite is called"):
        rewrites.rewrite(_two_pools(), names=["magic"])


def test_what_has_no_form_at_an_opset_is_named() -> None:
    case = Case("", "BitShift", {}, ())
    model = build(Case("", "Identity", opset=20))
    grid = helper.make_node("DFT", ["mid", "", ""], ["z"], name="dft")
    model.graph.node.append(grid)
    model.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, None))
    with pytest.raises(rewrites.NotConvertible, match="DFT cannot be taken from opset 20 to 13"):
        rewrites.prepare(model, 13)
    with pytest.raises(ValueError, match="the lowest that can be prepared is 13"):
        rewrites.prepare(build(case), 11)


HALVES = (np.arange(-41, 42, dtype=np.float32) / 2).reshape(-1, 1)


NEAR = np.concatenate([np.nextafter(HALVES, np.float32(side)) for side in (-100, 100)])


TINY = np.asarray([[0], [1e-30], [-1e-30], [1e-38], [8388607.5], [-4194303.5], [3e38], [-3e38]], np.float32)


FLOATS = np.concatenate([HALVES, NEAR, TINY])


WHOLE = np.asarray([*range(-20, 21), 2**31 - 1, -(2**31), 2**31 - 2, 46341 * 46340, 49 * 7, -49 * 7], np.int32)


@pytest.mark.parametrize(
    ("op", "attributes", "x", "constants", "place"),
    [
        *((op, {}, FLOATS, (), 0) for op in ("Ceil", "Sign", "Round")),
        *(
            (op, {}, FLOATS, (np.float32(edge),), 0)
            for op in ("Greater", "Less", "GreaterOrEqual", "LessOrEqual", "Equal")
            for edge in (0, 0.5, 1e-30)
        ),
        *(
            (op, {}, WHOLE.astype(kind)[:, None] * kind(far), (kind(-7 * far),), 0)
            for op in ("Greater", "LessOrEqual", "Equal")
            for kind, far in ((np.int32, 1), (np.int64, 2**32))
        ),
        *(("Mod", {"fmod": 1}, FLOATS[:-4], (np.float32(y),), 0) for y in (0.3, -1.7, 1000.1, 2, 0.0078125)),
        *(("Mod", {"fmod": f}, WHOLE[:, None], (np.int32(y),), 0) for f in (0, 1) for y in (7, -7, 1, 49, 46341)),
        *(("Div", {}, WHOLE[:, None], (np.int32(y),), 0) for y in (7, -7, 1, 49, 46341)),
        ("Div", {}, WHOLE[WHOLE != 0][:, None], (np.int32(2**31 - 1),), 1),
        *((op, {"axis": 1}, np.stack([WHOLE, WHOLE[::-1], 0 * WHOLE, WHOLE % 5]), (), 0) for op in ("ArgMin",)),
        *(
            (op, {"axis": 1, "select_last_index": last}, np.float32([[1, 3, 3, 1], [2, 2, 2, 2], [-1, -3, -3, -2]]),
             (), 0)
            for op in ("ArgMax", "ArgMin")
            for last in (0, 1)
        ),
        ("Hardmax", {}, np.float32([[1, 3, 3, 1], [2, 2, 2, 2], [-1, -3, -3, -1]]), (), 0),
        ("OneHot", {}, np.asarray([0, 3, -1, -4, 4, -5, 2**40]), (np.int64(4), np.float32([2, 7])), 0),
    ],
)  # fmt: skip
def test_what_jumps_or_counts_is_equal_to_the_last_bit(
    op: str, attributes: dict[str, Any], x: Array, constants: tuple[Array, ...], place: int
) -> None:
    model = one_operator(op, attributes, x, *(np.asarray(c) for c in constants), place=place)
    result, applied = rewrites.rewrite(model)
    assert {a.rewrite for a in applied} - set(rewrites.CANONICAL)
    wanted, got = execute(model, x)[0], execute(result, x)[0]
    assert wanted.dtype == got.dtype
    np.testing.assert_array_equal(got, wanted)


def test_shapes_computed_from_the_batch_become_constants() -> None:
    """What torch exporters write for x.view(x.shape[0], -1, 5)."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["n"], axis=0),
        helper.make_node("Unsqueeze", ["n", "axes"], ["n1"]),
        helper.make_node("Concat", ["n1", "rest"], ["shape"], axis=0),
        helper.make_node("Reshape", ["x", "shape"], ["r"], name="view"),
        helper.make_node("Relu", ["r"], ["y"], name="act"),
    ]
    constants = {"zero": np.int64(0), "axes": ints(0), "rest": ints(4, 14, 5)}
    graph = helper.make_graph(
        nodes,
        "computed",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4, 7, 10])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    result, _ = rewrites.rewrite(model, names=())
    assert [n.op_type for n in result.graph.node] == ["Reshape", "Relu"]
    shape = next(i for i in result.graph.initializer if i.name == result.graph.node[0].input[1])
    assert onnx.numpy_helper.to_array(shape).tolist() == [-1, 4, 14, 5]
    assert difference(model, result, (4, 7, 10)) == 0
