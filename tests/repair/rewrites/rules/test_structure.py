"""Operators that move or repeat values and compute none."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto
from safeconvert.repair.rewrites.rules import structure

from tests.support.rewrite_cases import (
    Case,
    assert_opsets_agree,
    assert_rewritten,
    case_id,
    ints,
)

CASES = [
    Case("identity", "Identity"),
    Case("dropout-7", "Dropout", {"ratio": 0.4}, opset=7),
    Case("dropout", "Dropout", {}, (np.float32(0.4),)),
    Case("cast", "Cast", {"to": TensorProto.FLOAT}),
    Case("flatten", "Flatten", {"axis": 2}, static=True),
    Case("flatten-0", "Flatten", {"axis": 0}),
    Case("flatten-reshape", "Flatten", {}, names=("flatten-as-reshape",)),
    Case("reshape-0", "Reshape", {}, (ints(0, 0, -1),), stays=True),
    Case("reshape-allowzero", "Reshape", {"allowzero": 1}, (ints(-1, 28, 10),), opset=17, gone="allowzero"),
    Case("squeeze-11", "Squeeze", {"axes": [1]}, shape=(1, 5, 4), opset=11),
    Case("unsqueeze", "Unsqueeze", {}, (ints(2, -1),)),
    Case("expand", "Expand", {}, (ints(1, 4, 1, 10),), shape=(4, 7, 1)),
    Case("tile", "Tile", {}, (ints(1, 2, 1, 3),)),
    Case("dts-dcr", "DepthToSpace", {"blocksize": 2}, shape=(8, 3, 5)),
    Case("dts-crd", "DepthToSpace", {"blocksize": 2, "mode": "CRD"}, shape=(8, 3, 5)),
    Case("std", "SpaceToDepth", {"blocksize": 2}, shape=(3, 4, 6)),
]


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_a_rewritten_operator_computes_the_same(case: Case) -> None:
    assert_rewritten(case, structure.REWRITES)


@pytest.mark.parametrize("case", [case for case in CASES if case.changes_opset], ids=case_id)
def test_another_opset_keeps_values_and_names(case: Case) -> None:
    assert_opsets_agree(case)
