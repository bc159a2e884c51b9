"""Convolutions with pads, groups, dilations, strides and bias."""

from __future__ import annotations

import onnx
import onnx.numpy_helper
import pytest
from safeconvert.repair import rewrites
from safeconvert.repair.rewrites.rules import convolution

from tests.support.rewrite_cases import (
    TOLERANCE,
    Case,
    W,
    assert_opsets_agree,
    assert_rewritten,
    build,
    case_id,
    difference,
)

CASES = [
    Case(
        "conv-pads",
        "Conv",
        {"pads": [1, 0, 2, 3], "strides": [2, 1]},
        (W(5, 4, 3, 3), W(5)),
        gone="pads!",
    ),
    Case(
        "conv-asymmetric",
        "Conv",
        {"pads": [1, 0, 2, 3]},
        (W(5, 4, 3, 3),),
        gone="pads!",
        names=rewrites.MISSING,
    ),
    Case("conv-pads-opset20", "Conv", {"pads": [1, 0, 2, 3]}, (W(5, 4, 3, 3),), gone="pads!", opset=20),
    Case("conv-group", "Conv", {"group": 2, "pads": [1, 1, 1, 1]}, (W(6, 2, 3, 3), W(6)), gone="group!"),
    Case("conv-depthwise2", "Conv", {"group": 4}, (W(8, 1, 3, 3), W(8)), gone="group!", opset=17),
    Case("conv-dilations", "Conv", {"dilations": [2, 3]}, (W(5, 4, 3, 2),), gone="dilations!"),
    Case(
        "conv-strides",
        "Conv",
        {"strides": [2, 3], "pads": [1, 1, 0, 0]},
        (W(5, 4, 3, 2),),
        gone="strides!",
        names=("conv-strides",),
    ),
    Case("conv-bias", "Conv", {}, (W(5, 4, 3, 2), W(5)), stays=True, names=("conv-bias",)),
    Case("conv-1d", "Conv", {"pads": [1, 2], "strides": [2]}, (W(5, 4, 3), W(5)), shape=(4, 11), stays=True),
    Case(
        "conv-3d",
        "Conv",
        {"pads": [1, 2, 0, 0, 1, 1], "group": 2},
        (W(6, 2, 3, 2, 2), W(6)),
        shape=(4, 5, 6, 7),
        gone="group!",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_a_rewritten_operator_computes_the_same(case: Case) -> None:
    assert_rewritten(case, convolution.REWRITES)


@pytest.mark.parametrize("case", [case for case in CASES if case.changes_opset], ids=case_id)
def test_another_opset_keeps_values_and_names(case: Case) -> None:
    assert_opsets_agree(case)


def _groups(model: onnx.ModelProto) -> list[int]:
    return [a.i for n in model.graph.node for a in n.attribute if a.name == "group"]


def test_a_depthwise_conv_with_one_filter_a_channel_stays_unless_asked_for() -> None:
    case = Case("", "Conv", {"group": 4}, (W(4, 1, 3, 3), W(4)))
    assert _groups(rewrites.rewrite(build(case))[0]) == [4]
    assert _groups(rewrites.rewrite(build(case), names=["conv-depthwise"])[0]) == [1]


@pytest.mark.parametrize(("limit", "kinds"), [(287, ["Conv"] * 2), (20, ["Slice"] * 4 + ["Conv"] * 4 + ["Concat"])])
def test_large_groups_are_not_made_dense(monkeypatch: pytest.MonkeyPatch, limit: int, kinds: list[str]) -> None:
    monkeypatch.setattr(convolution, "MAX_DENSE_ELEMENTS", limit)
    case = Case("", "Conv", {"group": 4, "strides": [2, 1]}, (W(8, 1, 3, 3), W(8)))
    result, _ = rewrites.rewrite(build(case), names=["conv-group"])
    inner = [n.op_type for n in result.graph.node if n.name.startswith("target")]
    assert sorted(inner) == sorted(kinds)
    assert difference(build(case), result, case.shape) <= TOLERANCE
