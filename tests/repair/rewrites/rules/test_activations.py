"""Activations that converters lack or get wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper
from safeconvert.repair import rewrites
from safeconvert.repair.rewrites.rules import activations

from tests.support.rewrite_cases import (
    BATCH,
    TOLERANCE,
    Case,
    W,
    assert_opsets_agree,
    assert_rewritten,
    build,
    case_id,
    difference,
    execute,
)


def activation_cases() -> list[Case]:
    both: list[tuple[str, dict[str, Any], int]] = [
        ("Gelu", {}, 20),
        ("Gelu", {"approximate": "tanh"}, 20),
        ("HardSwish", {}, 14),
        ("HardSigmoid", {"alpha": 0.3}, 13),
        ("HardSigmoid", {}, 7),
        ("Mish", {}, 18),
        ("Celu", {"alpha": 0.7}, 13),
        ("Softplus", {}, 7),
        ("Softsign", {}, 13),
        ("ThresholdedRelu", {"alpha": 0.5}, 13),
        ("Elu", {"alpha": 0.6}, 7),
        ("Selu", {}, 17),
        ("LeakyRelu", {}, 13),
        ("Shrink", {"bias": 0.2, "lambd": 0.4}, 13),
        ("Erf", {}, 13),
        ("Abs", {}, 13),
        ("Neg", {}, 13),
    ]
    lo, hi = np.float32(-0.5), np.float32(0.7)
    return [
        *(Case(f"{op.lower()}-{i}", op, a, opset=o, shape=(3, 5, 4)) for i, (op, a, o) in enumerate(both)),
        Case("reciprocal", "Reciprocal", positive=True),
        Case("clip", "Clip", {}, (lo, hi)),
        Case("clip-max", "Clip", {}, ("", hi)),
        Case("clip-6", "Clip", {"min": -0.5, "max": 0.7}, opset=7),
        *(
            Case(f"prelu-{i}", "PRelu", {}, (W(*s),))
            for i, s in enumerate([(10,), (4, 1, 1), (1, 4, 1, 1), (7, 10), (1,)])
        ),
    ]


CASES = activation_cases()


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_a_rewritten_operator_computes_the_same(case: Case) -> None:
    assert_rewritten(case, activations.REWRITES)


@pytest.mark.parametrize("case", [case for case in CASES if case.changes_opset], ids=case_id)
def test_another_opset_keeps_values_and_names(case: Case) -> None:
    assert_opsets_agree(case)


def test_a_log_of_a_sigmoid_is_made_stable_only_on_request() -> None:
    model = build(Case("", "Sigmoid"), tail=False)
    model.graph.node.append(helper.make_node("Log", ["y0"], ["z"], name="log"))
    model.graph.output[0].name = "z"
    far = np.full((BATCH, 4, 7, 10), -200, np.float32)
    assert not any(a.rewrite == "stable-logsigmoid" for a in rewrites.rewrite(model)[1])
    result, _ = rewrites.rewrite(model, names=rewrites.ON_REQUEST)
    assert np.isneginf(execute(model, far)[0]).all()
    np.testing.assert_allclose(execute(result, far)[0], -300, rtol=1e-6)
    assert difference(model, result, (4, 7, 10)) <= 100 * TOLERANCE  # the original itself rounds
