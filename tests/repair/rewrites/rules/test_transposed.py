"""Transposed convolutions."""

from __future__ import annotations

from typing import Any

import pytest
from safeconvert.repair.rewrites.rules import transposed

from tests.support.rewrite_cases import (
    Array,
    Case,
    W,
    assert_rewritten,
    case_id,
)


def transposed_cases() -> list[Case]:
    cases = []
    t: list[tuple[str, dict[str, Any], Array]] = [
        ("asymmetric", {"pads": [0, 2, 2, 0]}, W(4, 5, 3, 3)),
        ("strided", {"pads": [1, 0, 2, 1], "strides": [2, 3]}, W(4, 5, 3, 4)),
        (
            "output-padding",
            {"output_padding": [1, 2], "strides": [2, 3], "pads": [1, 1, 1, 1]},
            W(4, 5, 3, 3),
        ),
        ("output-padding-only", {"output_padding": [1, 2], "strides": [2, 3]}, W(4, 5, 3, 3)),
        ("output-shape", {"output_shape": [14, 29], "strides": [2, 3]}, W(4, 5, 3, 3)),
        (
            "output-shape-upper",
            {"output_shape": [14, 29], "strides": [2, 3], "auto_pad": "SAME_UPPER"},
            W(4, 5, 3, 3),
        ),
        (
            "output-shape-lower",
            {"output_shape": [14, 29], "strides": [2, 3], "auto_pad": "SAME_LOWER"},
            W(4, 5, 3, 3),
        ),
        ("group-dilated", {"group": 2, "dilations": [2, 1]}, W(4, 3, 3, 2)),
        ("small-kernel", {"strides": [3, 2]}, W(4, 5, 2, 1)),
    ]
    for name, attributes, weight in t:
        bias = W(weight.shape[1] * attributes.get("group", 1))
        cases.append(Case(f"transposed-{name}", "ConvTranspose", attributes, (weight, bias), gone="pads!"))
        cases.append(
            Case(
                f"transposed-conv-{name}",
                "ConvTranspose",
                attributes,
                (weight, bias),
                names=("convtranspose-as-convolution",),
            )
        )
    cases.append(
        Case(
            "transposed-1d",
            "ConvTranspose",
            {"pads": [1, 0], "strides": [2]},
            (W(4, 5, 3), W(5)),
            shape=(4, 9),
            stays=True,
        )
    )
    return cases


CASES = transposed_cases()


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_a_rewritten_operator_computes_the_same(case: Case) -> None:
    assert_rewritten(case, transposed.REWRITES)
