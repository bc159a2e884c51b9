"""Hyperbolic functions, and powers of a constant."""

from __future__ import annotations

import numpy as np
import pytest
from safeconvert.repair import rewrites
from safeconvert.repair.rewrites.rules import exponentials

from tests.support.rewrite_cases import (
    Case,
    W,
    assert_rewritten,
    case_id,
    execute,
    one_operator,
)

CUT = W(4, 1, 1)
CASES = [
    *(Case(op.lower(), op) for op in ("Sinh", "Cosh")),
    Case("power-of-constant", "Pow", {}, (np.abs(CUT) + np.float32(0.5),), place=1),
    Case("power-of-number", "Pow", {}, (np.float32(2),), place=1),
]


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_a_rewritten_operator_computes_the_same(case: Case) -> None:
    assert_rewritten(case, exponentials.REWRITES)


@pytest.mark.parametrize("op", ["Sinh", "Cosh"])
def test_hyperbolic_functions_lose_nothing_near_zero_or_far_out(op: str) -> None:
    x = np.asarray([[1e-6], [-1e-3], [0.3], [-1], [1.001], [5], [-30], [88.6], [89.3]], np.float32)
    model = one_operator(op, {}, x)
    got = execute(rewrites.rewrite(model)[0], x)[0]
    np.testing.assert_allclose(got, getattr(np, op.lower())(x.astype(np.float64)), rtol=2e-6)
