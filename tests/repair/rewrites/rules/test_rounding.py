"""Rounding, division of integers, remainders, and positions of extremes."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto
from safeconvert.repair.rewrites.rules import rounding

from tests.support.rewrite_cases import (
    Case,
    W,
    assert_opsets_agree,
    assert_rewritten,
    case_id,
)

ROW = np.asarray([2, -3, 5, -7, 1, -1, 4, 9, -2, 3])
CASES = [
    *(Case(op.lower(), op) for op in ("Ceil", "Sign", "Round")),
    Case("mod-float", "Mod", {"fmod": 1}, (ROW.astype(np.float32) / 3,)),
    Case("mod-float-channel", "Mod", {"fmod": 1}, (W(4, 1, 1),)),
    Case("mod-int", "Mod", {}, (ROW.astype(np.int32),), cast=TensorProto.INT32),
    Case("mod-int-fmod", "Mod", {"fmod": 1}, (ROW.astype(np.int32),), cast=TensorProto.INT32),
    Case("div-int", "Div", {}, (ROW.astype(np.int32),), cast=TensorProto.INT32, opset=14, stays=True),
    Case("div-int-left", "Div", {}, (np.int32(100),), positive=True, cast=TensorProto.INT32, place=1, stays=True),
    Case("mod-int64", "Mod", {}, (ROW,), cast=TensorProto.INT64),
    Case("div-int64", "Div", {}, (ROW,), cast=TensorProto.INT64, opset=14, stays=True),
    Case("argmin", "ArgMin", {"axis": 1, "keepdims": 0}),
    Case("argmin-default", "ArgMin", static=True),
    Case("argmax-last", "ArgMax", {"axis": -2, "select_last_index": 1}, gone="select_last_index"),
    Case("argmin-last", "ArgMin", {"axis": 1, "select_last_index": 1, "keepdims": 0}),
]


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_a_rewritten_operator_computes_the_same(case: Case) -> None:
    assert_rewritten(case, rounding.REWRITES)


@pytest.mark.parametrize("case", [case for case in CASES if case.changes_opset], ids=case_id)
def test_another_opset_keeps_values_and_names(case: Case) -> None:
    assert_opsets_agree(case)
