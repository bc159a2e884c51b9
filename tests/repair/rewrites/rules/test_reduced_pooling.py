"""Global and Lp pooling."""

from __future__ import annotations

import pytest
from safeconvert.repair.rewrites.rules import reduced_pooling

from tests.support.rewrite_cases import (
    Case,
    assert_opsets_agree,
    assert_rewritten,
    case_id,
)

CASES = [
    Case("lppool", "LpPool", {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1], "p": 2}),
    Case("globalavg", "GlobalAveragePool"),
    Case("globalmax", "GlobalMaxPool", opset=20),
    Case("globallp", "GlobalLpPool", {"p": 3}),
]


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_a_rewritten_operator_computes_the_same(case: Case) -> None:
    assert_rewritten(case, reduced_pooling.REWRITES)


@pytest.mark.parametrize("case", [case for case in CASES if case.changes_opset], ids=case_id)
def test_another_opset_keeps_values_and_names(case: Case) -> None:
    assert_opsets_agree(case)
