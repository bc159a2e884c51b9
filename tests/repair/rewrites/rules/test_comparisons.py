"""Comparisons, logic, and choices by a condition."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto
from safeconvert.repair import rewrites
from safeconvert.repair.rewrites.rules import comparisons

from tests.support.rewrite_cases import (
    BATCH,
    TO_BOOL,
    Case,
    W,
    assert_opsets_agree,
    assert_rewritten,
    case_id,
    execute,
    noise,
    one_operator,
)

ROW = np.asarray([2, -3, 5, -7, 1, -1, 4, 9, -2, 3])
CUT = W(4, 1, 1)
MASK = np.arange(10) % 3 == 0
TALL = np.arange(4).reshape(4, 1, 1) > 1
WHOLE_NUMBERS, TRUTHS = TensorProto.INT64, TensorProto.BOOL
CASES = [
    *(Case(f"{op.lower()}", op, {}, (CUT,), opset=16) for op in TO_BOOL[:5]),
    *(Case(f"{op.lower()}-int", op, {}, (ROW,), cast=WHOLE_NUMBERS) for op in TO_BOOL[:5]),
    *(Case(f"{op.lower()}", op, {}, (MASK,), cast=TRUTHS, settles_later=True) for op in ("And", "Or", "Xor")),
    Case("not", "Not", {}, cast=TRUTHS),
    Case("where-condition", "Where", {}, (W(10), CUT), cast=TRUTHS),
    Case("where-zero", "Where", {}, (W(7, 1), np.float32(0)), cast=TRUTHS),
    Case(
        "where-zeros-wide",
        "Where",
        {},
        (np.zeros((4, 7, 10), np.float32), np.float32(1)),
        cast=TRUTHS,
        shape=(4, 7, 1),
    ),
    Case("where-zeros-rank", "Where", {}, (np.zeros((1, 1, 1, 1), np.float32), W(10)), cast=TRUTHS, shape=(10,)),
    Case("where-zeros-one", "Where", {}, (np.zeros((1, 4, 1, 10), np.float32), W(7, 1)), cast=TRUTHS, shape=(4, 1, 10)),
    Case("where-constant", "Where", {}, (MASK, W(4, 1, 1)), place=1),
    Case("where-constant-zero", "Where", {}, (TALL, np.float32(0)), place=2),
    Case("where-constant-wide", "Where", {}, (np.ones((4, 7, 10), bool), np.float32(0)), place=1, shape=(4, 7, 1)),
]


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_a_rewritten_operator_computes_the_same(case: Case) -> None:
    assert_rewritten(case, comparisons.REWRITES)


@pytest.mark.parametrize("case", [case for case in CASES if case.changes_opset], ids=case_id)
def test_another_opset_keeps_values_and_names(case: Case) -> None:
    assert_opsets_agree(case)


def test_a_mask_may_cut_off_infinities() -> None:
    """What attention writes: Where(constant mask, x, -inf), and Trilu of what holds an infinity."""
    x = noise(BATCH, 4, 4)
    mask = np.tril(np.ones((4, 4), bool))
    model = one_operator("Where", {}, x, mask, np.float32(-np.inf), place=1)
    result, _ = rewrites.rewrite(model)
    assert not [n for n in result.graph.node if n.op_type == "Where"]
    np.testing.assert_array_equal(execute(result, x)[0], np.where(mask, x, -np.inf))
    x[:, 0, 3] = np.inf
    model = one_operator("Trilu", {"upper": 0}, x)
    result, _ = rewrites.rewrite(model, names=rewrites.MISSING)
    np.testing.assert_array_equal(execute(result, x)[0], np.tril(x))
