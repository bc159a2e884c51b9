"""Pad in every mode, with negative pads and on odd axes."""

from __future__ import annotations

import numpy as np
import pytest
from safeconvert.repair.rewrites.rules import pads

from tests.support.rewrite_cases import (
    Case,
    assert_opsets_agree,
    assert_rewritten,
    case_id,
    ints,
)


def pad_cases() -> list[Case]:
    p = ints(0, 0, 1, 2, 0, 0, 3, 0)
    zero, half = np.float32(0), np.float32(-0.5)
    return [
        *(Case(f"pad-{m}", "Pad", {"mode": m}, (p,)) for m in ("reflect", "edge")),
        Case("pad-edge-7", "Pad", {"mode": "edge", "pads": p.tolist()}, opset=7),
        Case(
            "pad-constant-7",
            "Pad",
            {"mode": "constant", "pads": p.tolist(), "value": -0.5},
            opset=7,
            stays=True,
        ),
        Case("pad-wrap", "Pad", {"mode": "wrap"}, (p,), opset=19),
        Case("pad-value", "Pad", {"mode": "constant"}, (p, half), stays=True),
        Case("pad-negative", "Pad", {}, (ints(0, 0, -1, 2, 0, 0, 3, -2), half), stays=True),
        Case("pad-channels", "Pad", {}, (ints(0, 2, 1, 0, 0, 1, 0, 1),), stays=True),
        Case("pad-channels-edge", "Pad", {"mode": "edge"}, (ints(0, 2, 1, 0, 0, 1, 0, 1),)),
        Case("pad-batch", "Pad", {}, (ints(1, 0, 1, 0, 0, 0, 0, 2),), stays=True),
        Case("pad-axes", "Pad", {}, (ints(1, 2, 0, 1), half, ints(-1, 2)), opset=18, stays=True),
        Case("pad-concat", "Pad", {}, (p,), names=("pad-zeros-as-concat",)),
        Case("pad-rank2", "Pad", {}, (ints(0, 2, 0, 1), zero), shape=(5,)),
    ]


CASES = pad_cases()


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_a_rewritten_operator_computes_the_same(case: Case) -> None:
    assert_rewritten(case, pads.REWRITES)


@pytest.mark.parametrize("case", [case for case in CASES if case.changes_opset], ids=case_id)
def test_another_opset_keeps_values_and_names(case: Case) -> None:
    assert_opsets_agree(case)
