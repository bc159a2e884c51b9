"""Softmax and LogSoftmax over any axis, as each opset defines them."""

from __future__ import annotations

import pytest
from safeconvert.repair.rewrites.rules import softmax

from tests.support.rewrite_cases import (
    Case,
    assert_opsets_agree,
    assert_rewritten,
    case_id,
)

CASES = [
    Case("softmax-11", "Softmax", {"axis": 1}, opset=11, stays=True),
    Case("softmax-11-default", "Softmax", {}, opset=7, stays=True),
    Case("softmax-11-axis2", "Softmax", {"axis": 2}, opset=12, stays=True),
    Case("softmax-11-axis0", "Softmax", {"axis": 0}, opset=12, stays=True, static=True),
    Case("logsoftmax-11-axis-2", "LogSoftmax", {"axis": -2}, opset=11),
    Case("logsoftmax-11", "LogSoftmax", {"axis": 1}, opset=11),
    Case("logsoftmax", "LogSoftmax", {"axis": 2}),
    Case("softmax-last", "Softmax", {"axis": 1}, names=("softmax-last-axis",), stays=True),
    Case("softmax-exp", "Softmax", {"axis": 1}, opset=18, names=("softmax-exponentials",)),
]


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_a_rewritten_operator_computes_the_same(case: Case) -> None:
    assert_rewritten(case, softmax.REWRITES)


@pytest.mark.parametrize("case", [case for case in CASES if case.changes_opset], ids=case_id)
def test_another_opset_keeps_values_and_names(case: Case) -> None:
    assert_opsets_agree(case)
