"""Operators that ONNX defines as functions of others."""

from __future__ import annotations

import numpy as np
import pytest
from safeconvert.repair.rewrites.rules import functions

from tests.support.rewrite_cases import (
    BATCH,
    Case,
    W,
    assert_opsets_agree,
    assert_rewritten,
    case_id,
    ints,
)

CASES = [
    Case("swish", "Swish", {"alpha": 0.7}, opset=24),
    *(Case(f"rms-{axis}", "RMSNormalization", {"axis": axis}, (W(10),), opset=23) for axis in (-1, 2)),
    Case("rms-channels", "RMSNormalization", {"axis": 1, "epsilon": 1e-3}, (W(4, 7, 10),), opset=23),
    Case("crop-pad", "CenterCropPad", {"axes": [2, -1]}, (ints(5, 13),), opset=18, stays=True),
    Case("crop-pad-all", "CenterCropPad", {}, (ints(BATCH, 2, 9, 10),), opset=18, static=True, settles_later=True),
    Case("greaterequal-body", "CastLike", {}, (np.float32(1),), opset=15, stays=True),
]


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_a_rewritten_operator_computes_the_same(case: Case) -> None:
    assert_rewritten(case, functions.REWRITES)


@pytest.mark.parametrize("case", [case for case in CASES if case.changes_opset], ids=case_id)
def test_another_opset_keeps_values_and_names(case: Case) -> None:
    assert_opsets_agree(case)
