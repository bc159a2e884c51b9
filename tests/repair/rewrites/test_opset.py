"""A model is brought to an opset with its meaning: what older opsets mean otherwise, and what cannot be brought."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper
from safeconvert.repair.rewrites.application import load, settle
from safeconvert.repair.rewrites.opset import FLOOR, prepare
from safeconvert.repair.rewrites.opset_lowering import lower
from safeconvert.repair.rewrites.rule import NotConvertible

from tests.support.rewrite_cases import TOLERANCE, Case, W, build, difference, ints


def opset(model: onnx.ModelProto) -> int:
    return int(next(entry.version for entry in model.opset_import if entry.domain == ""))


def test_a_softmax_before_opset_13_spans_the_axes_behind_its_own() -> None:
    """The same node without a change of form would be normalised over one axis alone."""
    case = Case("", "Softmax", {"axis": 1}, opset=11)
    model = build(case)
    raised = prepare(model, None)
    assert opset(raised) == FLOOR
    assert difference(model, raised, case.shape) <= TOLERANCE
    relabelled = onnx.ModelProto.FromString(model.SerializeToString())
    relabelled.opset_import[0].version = FLOOR
    assert difference(model, relabelled, case.shape) > 0.1


def test_a_resize_of_opset_10_still_reads_where_it_did() -> None:
    case = Case("", "Resize", {"mode": "nearest"}, (np.asarray([1, 1, 2.5, 0.7], np.float32),), opset=10)
    raised = prepare(build(case), None)
    assert {n.op_type for n in raised.graph.node} >= {"Resize"}
    assert difference(build(case), raised, case.shape) == 0


def test_a_model_between_the_two_opsets_comes_back_as_it_is() -> None:
    model = build(Case("", "Identity", opset=15))
    assert [n.op_type for n in prepare(model, 17).graph.node] == [n.op_type for n in model.graph.node]
    assert opset(prepare(model, 17)) == 15


@pytest.mark.parametrize(
    ("case", "gone"),
    [
        (Case("", "LayerNormalization", {"axis": -1}, (W(10),), opset=17), "LayerNormalization"),
        (Case("", "ReduceMean", {"keepdims": 0}, (ints(-1),), opset=18), ""),
        (Case("", "Split", {"axis": 3, "num_outputs": 3}, opset=18, outputs=3), ""),
        (Case("", "Gelu", {}, opset=20), "Gelu"),
    ],
    ids=lambda value: getattr(value, "op", None),
)
def test_operators_are_lowered_one_by_one(case: Case, gone: str) -> None:
    graph = load(build(case))
    settle(graph)
    lower(graph, case.opset, FLOOR)
    lowered = ir.to_proto(graph)
    assert opset(lowered) == FLOOR
    onnx.checker.check_model(lowered, full_check=True)
    assert gone not in {node.op_type for node in lowered.graph.node}
    assert difference(build(case), lowered, case.shape) <= TOLERANCE


def test_an_operator_without_a_form_is_named() -> None:
    model = build(Case("", "Identity", opset=20), tail=False)
    model.graph.node.append(helper.make_node("DFT", ["y0", "", ""], ["z"], name="dft"))
    graph = load(model)
    with pytest.raises(NotConvertible) as refused:
        lower(graph, 20, FLOOR)
    assert (refused.value.op_type, refused.value.source, refused.value.target) == ("DFT", 20, FLOOR)
