"""``auto_pad`` becomes explicit pads, for every operator that has it."""

from __future__ import annotations

import pytest
from safeconvert.repair.rewrites.rules import auto_pad

from tests.support.rewrite_cases import (
    Case,
    W,
    assert_opsets_agree,
    assert_rewritten,
    case_id,
)


def auto_pad_cases() -> list[Case]:
    cases = []
    for mode in ("SAME_UPPER", "SAME_LOWER", "VALID"):
        for stride in ([1, 1], [2, 3]):
            a = {"auto_pad": mode, "strides": stride}
            cases += [
                Case(
                    f"conv-{mode}-{stride}",
                    "Conv",
                    a,
                    (W(5, 4, 3, 4), W(5)),
                    gone="auto_pad",
                    names=("auto-pad",),
                ),
                Case(f"maxpool-{mode}-{stride}", "MaxPool", {**a, "kernel_shape": [3, 2]}, gone="auto_pad"),
                Case(f"avgpool-{mode}-{stride}", "AveragePool", {**a, "kernel_shape": [3, 2]}, gone="auto_pad"),
                Case(f"lppool-{mode}-{stride}", "LpPool", {**a, "kernel_shape": [3, 3], "p": 3}, opset=11),
                Case(f"transposed-{mode}-{stride}", "ConvTranspose", a, (W(4, 5, 4, 3), W(5)), gone="auto_pad"),
            ]
    return cases


CASES = auto_pad_cases()


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_a_rewritten_operator_computes_the_same(case: Case) -> None:
    assert_rewritten(case, auto_pad.REWRITES)


@pytest.mark.parametrize("case", [case for case in CASES if case.changes_opset], ids=case_id)
def test_another_opset_keeps_values_and_names(case: Case) -> None:
    assert_opsets_agree(case)
