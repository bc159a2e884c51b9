"""Attributes that a node leaves to ONNX's defaults are written out."""

from __future__ import annotations

from typing import Any

import onnx
import pytest
from onnx import helper
from safeconvert.repair import rewrites
from safeconvert.repair.rewrites.rules import defaults

from tests.support.rewrite_cases import Case, W, assert_rewritten, build, case_id

CASES = [
    Case("conv", "Conv", {}, (W(5, 4, 3, 2),), stays=True),
    Case("max-pool", "MaxPool", {"kernel_shape": [3, 2]}, stays=True),
    Case("average-pool", "AveragePool", {"kernel_shape": [3, 2]}, stays=True),
    Case("gemm", "Gemm", {}, (W(6, 5), W(5)), shape=(6,), stays=True),
    Case("leaky-relu", "LeakyRelu", names=("explicit-attributes",), stays=True),
]
WRITTEN: dict[str, dict[str, Any]] = {
    "conv": {"kernel_shape": [3, 2], "strides": [1, 1], "dilations": [1, 1], "pads": [0, 0, 0, 0], "group": 1},
    "max-pool": {"kernel_shape": [3, 2], "strides": [1, 1], "pads": [0, 0, 0, 0], "ceil_mode": 0},
    "average-pool": {"strides": [1, 1], "pads": [0, 0, 0, 0], "count_include_pad": 0},
    "gemm": {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0},
    "leaky-relu": {"alpha": pytest.approx(0.01)},
}


def attributes(model: onnx.ModelProto, operator: str) -> dict[str, Any]:
    (node,) = (node for node in model.graph.node if node.op_type == operator)
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_a_rewritten_operator_computes_the_same(case: Case) -> None:
    assert_rewritten(case, defaults.REWRITES)


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_the_defaults_of_onnx_are_written(case: Case) -> None:
    model = build(case)
    assert not set(WRITTEN[case.id]) & (set(attributes(model, case.op)) - {"kernel_shape"})
    result, _ = rewrites.rewrite(model, names=("explicit-attributes",))
    written = attributes(result, case.op)
    assert {name: written.get(name) for name in WRITTEN[case.id]} == WRITTEN[case.id]
