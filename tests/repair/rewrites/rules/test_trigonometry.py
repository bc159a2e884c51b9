"""Sine, cosine, tangent and their inverses."""

from __future__ import annotations

import numpy as np
import pytest
from safeconvert.repair import rewrites
from safeconvert.repair.rewrites.rules import trigonometry

from tests.support.rewrite_cases import (
    Case,
    assert_rewritten,
    case_id,
    execute,
    one_operator,
)

CASES = [Case(op.lower(), op) for op in ("Sin", "Cos", "Atan")]


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_a_rewritten_operator_computes_the_same(case: Case) -> None:
    assert_rewritten(case, trigonometry.REWRITES)


def test_waves_are_right_far_from_zero_and_angles_near_it() -> None:
    x = np.concatenate([np.linspace(-3000, 3000, 4001), np.linspace(-4, 4, 801)]).astype(np.float32)[:, None]
    for op in ("Sin", "Cos", "Atan"):
        got = execute(rewrites.rewrite(one_operator(op, {}, x))[0], x)[0]
        np.testing.assert_allclose(got, getattr(np, op.lower().replace("at", "arct"))(x.astype(float)), atol=4e-7)
    small = np.asarray([[1e-20], [-1e-6], [0.01]], np.float32)
    for op in ("Sin", "Tan", "Atan"):
        got = execute(rewrites.rewrite(one_operator(op, {}, small))[0], small)[0]
        wanted = getattr(np, op.lower().replace("at", "arct"))(small.astype(float))
        np.testing.assert_allclose(got, wanted, rtol=1e-6)
