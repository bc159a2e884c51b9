"""Reductions over any axes."""

from __future__ import annotations

from typing import Any

import pytest
from safeconvert.repair.rewrites.rules import reduction

from tests.support.rewrite_cases import (
    Case,
    assert_opsets_agree,
    assert_rewritten,
    case_id,
    ints,
)


def reduce_cases() -> list[Case]:
    kinds = ("L1", "L2", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare", "LogSum")
    cases = []
    for k in kinds:
        more: dict[str, Any] = {
            "positive": k == "LogSum",
            "stays": k in ("Max", "Mean", "Sum"),
            "shape": (2, 3, 4),
        }
        cases.append(Case(f"reduce-{k}-11", f"Reduce{k}", {"axes": [-1, 1], "keepdims": 0}, opset=11, **more))
        cases.append(Case(f"reduce-{k}-18", f"Reduce{k}", {"keepdims": 0}, (ints(-1, 2),), opset=18, **more))
    return [
        *cases,
        Case("reduce-all", "ReduceMean", {"keepdims": 1}, static=True, stays=True),
        *(Case(f"reduce-one-{k}", f"Reduce{k}", {}, static=True, stays=True) for k in ("Max", "L2")),
        Case("reduce-noop", "ReduceSum", {"noop_with_empty_axes": 1}, opset=13),
        Case("reduce-matmul", "ReduceMean", {"axes": [3]}, names=("reduce-as-matmul",)),
        Case("argmax", "ArgMax", {"axis": -3}, stays=True),
    ]


CASES = reduce_cases()


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_a_rewritten_operator_computes_the_same(case: Case) -> None:
    assert_rewritten(case, reduction.REWRITES)


@pytest.mark.parametrize("case", [case for case in CASES if case.changes_opset], ids=case_id)
def test_another_opset_keeps_values_and_names(case: Case) -> None:
    assert_opsets_agree(case)
