"""Constants that a converter turned into inputs are faults of weights, named by the layer they belong to."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from safeconvert.repair.exporter_faults import explain

from safeconvert.records import Attempt, TensorSpec

DIVERGED = Attempt("keras->onnx", "tf2onnx", "1.0", "diverged", 0.0)


def model(*names: str) -> Any:
    specs = tuple(TensorSpec(name, (None, 4), "float32") for name in names)
    return SimpleNamespace(signature=SimpleNamespace(inputs=specs))


def explained(target: Any, used: Attempt | None = None) -> list[Any]:
    nothing: Any = None
    stage: Any = SimpleNamespace(mapping=(), model=target)
    diagnoses, localisation = explain(nothing, model("x"), nothing, stage, DIVERGED, used, nothing)
    assert localisation is None
    return diagnoses


def test_an_input_too_many_is_a_constant_of_its_layer() -> None:
    (diagnosis,) = explained(model("x", "functional_1/norm_1/Sub/y:0"))
    assert (diagnosis.type, diagnosis.source_node, diagnosis.is_repaired) == ("WB", "norm", False)
    assert diagnosis.evidence["difference"] == "a constant became an input"
    assert diagnosis.repair == "no way around it was found"


def test_several_constants_of_one_layer_are_one_fault_and_what_took_its_place_is_told() -> None:
    names = ("functional_1/norm_1/Sub/y:0", "functional_1/norm_2/Mul/y:0")
    (diagnosis,) = explained(model("x", *names), Attempt("keras->onnx", "tf2onnx", "1.0", "ok", 0.0, form="plain"))
    assert diagnosis.is_repaired
    assert "plain form" in diagnosis.repair
    two = explained(model("x", "net/norm/Sub/y:0", "net/scale/Mul/y:0"))
    assert [each.source_node for each in two] == ["norm", "scale"]


def test_inputs_that_only_have_other_names_are_no_fault() -> None:
    assert explained(model("image")) == []
