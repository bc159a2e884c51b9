"""Cumulative sums and triangles of matrices."""

from __future__ import annotations

import numpy as np
import pytest
from safeconvert.repair.rewrites.rules import cumulative

from tests.support.rewrite_cases import (
    Case,
    assert_opsets_agree,
    assert_rewritten,
    case_id,
    ints,
)

CASES = [
    Case("cumsum", "CumSum", {}, (np.int64(2),)),
    Case("cumsum-last", "CumSum", {"exclusive": 1}, (np.int32(-1),), opset=14),
    Case("cumsum-channels", "CumSum", {"reverse": 1}, (ints(1),), opset=11),
    Case("cumsum-both", "CumSum", {"reverse": 1, "exclusive": 1}, (np.int64(-2),)),
    Case("trilu", "Trilu", opset=14),
    Case("trilu-low", "Trilu", {"upper": 0}, (np.int64(-2),), opset=14),
    Case("trilu-high", "Trilu", {"upper": 1}, (np.int64(3),), opset=18),
]


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_a_rewritten_operator_computes_the_same(case: Case) -> None:
    assert_rewritten(case, cumulative.REWRITES)


@pytest.mark.parametrize("case", [case for case in CASES if case.changes_opset], ids=case_id)
def test_another_opset_keeps_values_and_names(case: Case) -> None:
    assert_opsets_agree(case)
