"""OneHot, Compress, TopK, Hardmax, and gathers and scatters by constant positions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from safeconvert.repair import rewrites
from safeconvert.repair.rewrites.rules import selection

from tests.support.rewrite_cases import (
    BATCH,
    Case,
    W,
    assert_opsets_agree,
    assert_rewritten,
    case_id,
    execute,
    ints,
    noise,
    one_operator,
)


def selection_cases() -> list[Case]:
    chosen = np.random.default_rng(3)
    elements = chosen.integers(-10, 10, (1, 4, 7, 6)).repeat(BATCH, 0)
    places = np.asarray([[0, 3, -1], [2, 0, 6], [1, -2, 5]])
    updates = noise(3, 10)
    settings: dict[str, Any] = {"static": True}
    return [
        Case("hardmax-11", "Hardmax", {"axis": 1}, opset=11),
        Case("hardmax-11-axis2", "Hardmax", {"axis": 2}, opset=11),
        *(Case(f"hardmax-{axis}", "Hardmax", {"axis": axis}) for axis in (1, -3, -1)),
        Case("onehot", "OneHot", {"axis": 1}, (np.int64(5), W(2)), shape=(4, 3), cast=TensorProto.INT64),
        Case("onehot-last", "OneHot", {}, (ints(9), ints(0, 1)), shape=(4,), cast=TensorProto.INT64),
        Case("compress", "Compress", {"axis": -2}, (np.arange(5) % 2 == 0,)),
        Case("compress-flat", "Compress", {}, (np.arange(30) % 7 == 0,), **settings),
        Case("gather-elements", "GatherElements", {"axis": 3}, (elements,), **settings),
        Case("gather-nd", "GatherND", {"batch_dims": 1}, (ints(2, 0, -1)[None, :, None].repeat(BATCH, 0),), **settings),
        Case("scatter-nd", "ScatterND", {}, (places, updates), **settings),
        *(
            Case(f"scatter-nd-{how}", "ScatterND", {"reduction": how}, (places, updates), opset=16, **settings)
            for how in ("add", "mul")
        ),
        Case(
            "scatter-elements",
            "ScatterElements",
            {"axis": -1},
            (np.arange(10)[None, None, None] % 7 - 3, noise(1, 1, 1, 10)),
            opset=16,
            **settings,
        ),
        Case(
            "scatter-elements-add",
            "ScatterElements",
            {"axis": 1, "reduction": "add"},
            (np.arange(10)[None, None, None] % 4, noise(1, 1, 1, 10)),
            opset=16,
            **settings,
        ),
    ]


CASES = selection_cases()


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_a_rewritten_operator_computes_the_same(case: Case) -> None:
    assert_rewritten(case, selection.REWRITES)


@pytest.mark.parametrize("case", [case for case in CASES if case.changes_opset], ids=case_id)
def test_another_opset_keeps_values_and_names(case: Case) -> None:
    assert_opsets_agree(case)


@pytest.mark.parametrize("attributes", [{}, {"largest": 0}, {"axis": 1}, {"axis": -2, "largest": 0}])
def test_the_largest_come_in_order_with_their_positions(attributes: dict[str, Any]) -> None:
    x = np.float32([[1, 5, 5, -2, 5, 1], [0, 0, 0, 0, 0, 0], [-1, -3e38, 3e38, -7, 2, -7], [2, 5, 1, 1, -1, 0]])
    for shape in ((1, 4, 6), (4, 6, 1), (2, 6, 2)):
        data = np.ascontiguousarray(x.reshape(shape))
        if attributes.get("axis", -1) == -1 and shape[-1] < 2:
            continue
        model = one_operator("TopK", attributes, data, ints(2), outputs=2)
        result, _ = rewrites.rewrite(model)
        assert not [n for n in result.graph.node if n.op_type == "TopK"]
        for wanted, got in zip(execute(model, data), execute(result, data), strict=True):
            np.testing.assert_array_equal(got, wanted)


def test_what_is_gathered_from_a_constant_is_a_constant() -> None:
    """ONNX's reference implementation, which folds other constants, fails on a long row with several indices."""
    table, places = np.arange(40).reshape(1, 40), np.array([[3, 0, -1]])
    model = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("GatherElements", ["table", "places"], ["g"], axis=1),
                helper.make_node("Add", ["x", "g"], ["y"]),
            ],
            "constants",
            [helper.make_tensor_value_info("x", TensorProto.INT64, ["N", 3])],
            [helper.make_tensor_value_info("y", TensorProto.INT64, ["N", 3])],
            [numpy_helper.from_array(table, "table"), numpy_helper.from_array(places, "places")],
        ),
        opset_imports=[helper.make_opsetid("", 13)],
        ir_version=8,
    )
    result, _ = rewrites.rewrite(model, names=["gathered-constant"])
    assert [node.op_type for node in result.graph.node] == ["Add"]
    x = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(execute(result, x)[0], x + np.array([3, 0, 39]))
