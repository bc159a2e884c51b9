"""Layer, group, instance, batch and local response normalisation."""

from __future__ import annotations

import numpy as np
import pytest
from safeconvert.repair.rewrites.rules import normalization

from tests.support.rewrite_cases import (
    Case,
    W,
    assert_opsets_agree,
    assert_rewritten,
    case_id,
)

CASES = [
    Case("layernorm", "LayerNormalization", {"axis": -2}, (W(7, 10), W(7, 10)), opset=17),
    Case("layernorm-20", "LayerNormalization", {"epsilon": 1e-3}, (W(10),), opset=20),
    Case("groupnorm-18", "GroupNormalization", {"num_groups": 2}, (W(2), W(2)), opset=18),
    Case("groupnorm-21", "GroupNormalization", {"num_groups": 2}, (W(4), W(4)), opset=21),
    Case("instancenorm", "InstanceNormalization", {"epsilon": 1e-3}, (W(4), W(4))),
    Case("mvn", "MeanVarianceNormalization"),
    Case("lpnorm", "LpNormalization", {"axis": 1, "p": 2}),
    Case("lpnorm1", "LpNormalization", {"axis": -1, "p": 1}),
    *(Case(f"lrn-{n}", "LRN", {"size": n, "alpha": 0.02, "beta": 0.6, "bias": 1.3}, shape=(6, 5, 4)) for n in (3, 5)),
    Case(
        "batchnorm",
        "BatchNormalization",
        {"epsilon": 1e-3},
        (W(4), W(4), W(4), np.abs(W(4))),
        names=("batchnorm",),
    ),
    Case(
        "batchnorm-7",
        "BatchNormalization",
        {},
        (W(4), W(4), W(4), np.abs(W(4))),
        opset=7,
        names=("batchnorm",),
    ),
    Case(
        "batchnorm-conv",
        "BatchNormalization",
        {},
        (W(4), W(4), W(4), np.abs(W(4))),
        opset=17,
        names=("batchnorm-as-convolution",),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_a_rewritten_operator_computes_the_same(case: Case) -> None:
    assert_rewritten(case, normalization.REWRITES)


@pytest.mark.parametrize("case", [case for case in CASES if case.changes_opset], ids=case_id)
def test_another_opset_keeps_values_and_names(case: Case) -> None:
    assert_opsets_agree(case)
