"""Split, Slice and Gather."""

from __future__ import annotations

import numpy as np
import pytest
from safeconvert.repair.rewrites.rules import slicing

from tests.support.rewrite_cases import (
    Case,
    assert_opsets_agree,
    assert_rewritten,
    case_id,
    ints,
)

CASES = [
    Case("split", "Split", {"axis": 1}, (ints(1, 3),), outputs=2),
    Case("split-11", "Split", {"axis": -1, "split": [4, 6]}, opset=11, outputs=2),
    Case("split-18", "Split", {"axis": 3, "num_outputs": 3}, opset=18, outputs=3),
    Case("slice-9", "Slice", {"starts": [-3, 1], "ends": [2000, -1], "axes": [3, 2]}, opset=9, stays=True),
    Case("slice-steps", "Slice", {}, (ints(1, 0), ints(9, 100), ints(-1, 1), ints(3, 2)), stays=True),
    Case("slice-back", "Slice", {}, (ints(-1), ints(-1000), ints(2), ints(-2)), stays=True),
    Case("gather", "Gather", {"axis": 2}, (ints(3, -1, 0, 1),)),
    Case("gather-scalar", "Gather", {"axis": 1}, (np.int64(2),)),
]


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_a_rewritten_operator_computes_the_same(case: Case) -> None:
    assert_rewritten(case, slicing.REWRITES)


@pytest.mark.parametrize("case", [case for case in CASES if case.changes_opset], ids=case_id)
def test_another_opset_keeps_values_and_names(case: Case) -> None:
    assert_opsets_agree(case)
