"""Average pooling with pads, ceil_mode and count_include_pad."""

from __future__ import annotations

from typing import Any

import pytest
from safeconvert.repair.rewrites.rules import average_pooling

from tests.support.pool_geometry import GEOMETRY
from tests.support.rewrite_cases import (
    Case,
    assert_opsets_agree,
    assert_rewritten,
    case_id,
)


def geometry_cases() -> list[Case]:
    cases = []
    for name, a in GEOMETRY:
        gone: dict[str, Any] = {"stays": True} if name == "plain" else {"gone": "pads!"}
        for include in (0, 1):
            b = {**a, "count_include_pad": include}
            for opset in (11, 17, 20):
                cases.append(Case(f"avgpool-{name}-{include}-{opset}", "AveragePool", b, opset=opset, **gone))
            cases.append(Case(f"avgpool-conv-{name}-{include}", "AveragePool", b, names=("averagepool-convolution",)))
    return cases


CASES = [
    *geometry_cases(),
    Case(
        "avgpool-dilated",
        "AveragePool",
        {"kernel_shape": [3, 2], "dilations": [2, 3], "pads": [1, 0, 1, 1]},
        opset=20,
    ),
    Case(
        "avgpool-1d",
        "AveragePool",
        {"kernel_shape": [3], "pads": [1, 0], "strides": [2]},
        shape=(4, 9),
        stays=True,
    ),
    Case(
        "avgpool-3d",
        "AveragePool",
        {"kernel_shape": [3, 2, 2], "pads": [1, 0, 1, 0, 1, 1]},
        shape=(2, 5, 6, 7),
        gone="pads!",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_a_rewritten_operator_computes_the_same(case: Case) -> None:
    assert_rewritten(case, average_pooling.REWRITES)


@pytest.mark.parametrize("case", [case for case in CASES if case.changes_opset], ids=case_id)
def test_another_opset_keeps_values_and_names(case: Case) -> None:
    assert_opsets_agree(case)
