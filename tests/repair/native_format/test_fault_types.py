"""Types of faults as the models' own layers show them, and one fault for what a view shows in several nodes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from safeconvert.repair.native_format.fault_types import merged, natively_typed

from safeconvert.records import Diagnosis


@dataclass
class Layers:
    """What the models' own arrays show: ``changed`` layers of Target and Source, and which layers have right arrays."""

    changed: tuple[list[str], list[str]] | None = None
    trained: dict[str, bool] = field(default_factory=dict)


def fault(kind: str, node: str = "norm", repair: str = "set", **evidence: Any) -> Diagnosis:
    return Diagnosis(type=kind, hop="", source_node="source", target_node=node, evidence=evidence, repair=repair)


FACTOR = {"difference": "a node too many", "operator": "Mul"}


@pytest.mark.parametrize(
    ("trained", "kind"),
    [
        ({"norm": False, "conv": True}, "WB"),  # the layer's own arrays are not the Source's
        ({"norm": True, "conv": True}, "LH"),  # those of all layers are: a setting differs
        ({"norm": True, "conv": False}, "CG"),
        ({"conv": True}, "CG"),  # the layer has no arrays
    ],
)
def test_a_factor_that_one_view_leaves_out_is_of_its_layer(trained: dict[str, bool], kind: str) -> None:
    (result,) = natively_typed([fault("CG", **FACTOR)], Layers(([], ["a"]), trained))  # type: ignore[arg-type]
    assert result.type == kind


@pytest.mark.parametrize(
    ("operator", "source_nodes", "trained", "kind"),
    [
        ("Mul", [], {"conv": True}, "CG"),
        ("Add", [], {"conv": True}, "CG"),
        ("Mul", ["scale"], {"conv": True}, "WB"),  # the Source has it too
        ("MatMul", [], {"conv": True}, "WB"),
        ("Mul", [], {"norm": False, "conv": True}, "WB"),  # the layer has arrays, so a weight is wrong
        ("Mul", [], {}, "WB"),  # the layers cannot be told
    ],
)
def test_a_scaling_layer_without_arrays_that_the_source_lacks_is_a_node_too_many(
    operator: str, source_nodes: list[str], trained: dict[str, bool], kind: str
) -> None:
    layers = Layers((["conv"], ["conv"]), trained)
    evidence = {"operator": operator, "source_nodes": source_nodes}
    (result,) = natively_typed([fault("WB", **evidence)], layers)  # type: ignore[arg-type]
    assert result.type == kind


def test_another_operator_too_many_stays_what_it_is() -> None:
    layers = Layers(trained={"norm": False})
    for evidence in ({"difference": "a node too many", "operator": "Relu"}, {"difference": "other", "operator": "Mul"}):
        (result,) = natively_typed([fault("CG", **evidence)], layers)  # type: ignore[arg-type]
        assert result.type == "CG"


def test_weights_that_are_the_sources_make_it_a_setting() -> None:
    """A view folds an epsilon into weights."""
    layers = Layers(changed=([], []))
    typed = natively_typed([fault("WB"), fault("TSS")], layers)  # type: ignore[arg-type]
    assert [named.type for named in typed] == ["LH", "TSS"]
    assert "a setting of the layer differs" in typed[0].evidence["weights"]
    (kept,) = natively_typed([fault("WB")], Layers(changed=(["norm"], [])))  # type: ignore[arg-type]
    assert kept.type == "WB"


def test_one_layers_fault_in_several_nodes_is_one() -> None:
    faults = [fault("WB", repair="weights"), fault("WB", repair="bias"), fault("WB", repair="bias"), fault("LH")]
    assert [(named.type, named.repair) for named in merged(faults)] == [("WB", "weights; bias"), ("LH", "set")]
    assert len(merged([fault("WB", "a"), fault("WB", "b")])) == 2
