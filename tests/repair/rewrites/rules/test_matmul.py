"""Gemm and stacks of matrices."""

from __future__ import annotations

from typing import Any

import pytest
from safeconvert.repair.rewrites.rules import matmul

from tests.support.rewrite_cases import (
    BATCH,
    Case,
    W,
    assert_opsets_agree,
    assert_rewritten,
    case_id,
)

WIDE: dict[str, Any] = {"shape": (6,)}
CASES = [
    Case("gemm", "Gemm", {"alpha": 0.5, "beta": 2.0, "transB": 1}, (W(5, 6), W(5)), gone="alpha!", **WIDE),
    Case(
        "gemm-scalar",
        "Gemm",
        {"alpha": 0.5, "beta": 2.0},
        (W(6, 5), W(1)),
        opset=7,
        gone="alpha!",
        **WIDE,
    ),
    Case("gemm-column", "Gemm", {"beta": 2.0}, (W(6, 5), W(BATCH, 1)), static=True, **WIDE),
    Case("gemm-transA", "Gemm", {"transA": 1}, (W(BATCH, 5), W(5)), static=True, gone="transA!", **WIDE),
    Case("gemm-matmul", "Gemm", {"transB": 1}, (W(5, 6), W(5)), names=("gemm-as-matmul",), **WIDE),
    Case("matmul-stack", "MatMul", {}, (W(4, 10, 5),), stays=True),
    Case("matmul-stacks", "MatMul", {}, (W(1, 2, 3, 10, 5),), shape=(2, 3, 7, 10), stays=True),
    Case("matmul-stack-wide", "MatMul", {}, (W(4, 10, 5),), shape=(1, 7, 10), stays=True),
    Case("gemm-constant-left", "Gemm", {"transA": 1, "transB": 1}, (W(6, 5),), shape=(6,), place=1, gone="transA!"),
]


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_a_rewritten_operator_computes_the_same(case: Case) -> None:
    assert_rewritten(case, matmul.REWRITES)


@pytest.mark.parametrize("case", [case for case in CASES if case.changes_opset], ids=case_id)
def test_another_opset_keeps_values_and_names(case: Case) -> None:
    assert_opsets_agree(case)
