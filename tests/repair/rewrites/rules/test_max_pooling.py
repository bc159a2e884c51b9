"""Max pooling with pads, ceil_mode and dilations."""

from __future__ import annotations

from typing import Any

import pytest
from safeconvert.repair import rewrites
from safeconvert.repair.rewrites.rules import max_pooling

from tests.support.pool_geometry import GEOMETRY
from tests.support.rewrite_cases import (
    TOLERANCE,
    Case,
    assert_opsets_agree,
    assert_rewritten,
    build,
    case_id,
    difference,
)


def geometry_cases() -> list[Case]:
    cases = []
    for name, a in GEOMETRY:
        gone: dict[str, Any] = {"stays": True} if name == "plain" else {"gone": "pads!"}
        for opset in (11, 17):
            cases.append(Case(f"maxpool-{name}-{opset}", "MaxPool", a, opset=opset, **gone))
        cases.append(Case(f"maxpool-value-{name}", "MaxPool", a, names=(*rewrites.MISSING,), **gone))
        cases.append(Case(f"maxpool-slices-{name}", "MaxPool", a, names=("maxpool-slices",), stays=True))
    return cases


CASES = [
    *geometry_cases(),
    Case(
        "maxpool-dilated",
        "MaxPool",
        {"kernel_shape": [3, 2], "dilations": [2, 3], "strides": [1, 2], "pads": [1, 0, 1, 1]},
        gone="dilations",
    ),
    Case(
        "maxpool-dilated-ceil",
        "MaxPool",
        {"kernel_shape": [2, 2], "dilations": [2, 1], "strides": [2, 3], "ceil_mode": 1},
        gone="dilations",
    ),
    Case(
        "maxpool-1d",
        "MaxPool",
        {"kernel_shape": [3], "pads": [1, 0], "strides": [2]},
        shape=(4, 9),
        stays=True,
    ),
    Case(
        "maxpool-3d",
        "MaxPool",
        {"kernel_shape": [3, 2, 2], "pads": [1, 0, 1, 0, 1, 1]},
        shape=(2, 5, 6, 7),
        gone="pads!",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_a_rewritten_operator_computes_the_same(case: Case) -> None:
    assert_rewritten(case, max_pooling.REWRITES)


@pytest.mark.parametrize("case", [case for case in CASES if case.changes_opset], ids=case_id)
def test_another_opset_keeps_values_and_names(case: Case) -> None:
    assert_opsets_agree(case)


def test_a_wrong_rewrite_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison of these tests, on the fault that converters really have: zeros around a max."""
    original = max_pooling.fill_border

    def zeros(at: Any, x: Any, sizes: Any, begins: Any, ends: Any, value: float) -> Any:
        return original(at, x, sizes, begins, ends, 0.0)

    case = next(c for c in CASES if c.id == "maxpool-pads-17")
    monkeypatch.setattr(max_pooling, "fill_border", zeros)
    result, _ = rewrites.rewrite(build(case))
    assert difference(build(case), result, case.shape) > 100 * TOLERANCE
