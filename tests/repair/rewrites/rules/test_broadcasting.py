"""Element by element operators with constants of other ranks, and of many inputs."""

from __future__ import annotations

import pytest
from safeconvert.repair.rewrites.rules import broadcasting

from tests.support.rewrite_cases import (
    Case,
    W,
    assert_rewritten,
    case_id,
)

CASES = [
    *(Case(f"{op.lower()}-row", op, {}, (W(10) + 2,), stays=True) for op in ("Add", "Sub", "Mul", "Div", "Min", "Max")),
    Case("mul-batchnorm", "Mul", {}, (W(4, 1, 1),), names=("channel-constant-as-batchnorm",)),
    Case("add-convolution", "Add", {}, (W(1, 4, 1, 1),), names=("channel-constant-as-convolution",)),
    Case("sum", "Sum", {}, (W(10), W(4, 1, 1))),
    Case("mean", "Mean", {}, (W(10), W(4, 1, 1))),
    Case("max3", "Max", {}, (W(10), W(4, 1, 1)), stays=True),
]


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_a_rewritten_operator_computes_the_same(case: Case) -> None:
    assert_rewritten(case, broadcasting.REWRITES)
