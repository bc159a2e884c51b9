"""The package's functions as they meet a person who types: their parameters, the name ``repair``, their result."""

from __future__ import annotations

import dataclasses
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import safeconvert
from safeconvert import api
from safeconvert.errors import BadInput, Diverged
from safeconvert.live.output_folder import new_folder
from safeconvert.options import Options
from safeconvert.records import Verdict
from safeconvert.runs import argument_checks
from safeconvert.runs.result import Result

OWN_PARAMETERS = {"source", "target", "to", "output", "observer"}
NOT_FOR = {
    "convert": set(),
    "check": {
        "embed_preprocessing", "input_layout", "quantize", "quantizer", "io_type", "opset", "timeout", "no_repair",
        "ranking", "core_layers", "repair_time", "max_size", "max_latency_ratio", "auto_env", "force",
    },
    "repair": {"input_layout", "quantize", "quantizer", "io_type", "opset", "max_latency_ratio"},
}  # fmt: skip


@pytest.mark.parametrize("name", NOT_FOR)
def test_the_parameters_are_the_options_with_their_defaults_and_types(name: str) -> None:
    parameters = inspect.signature(getattr(safeconvert, name)).parameters
    fields = {field.name: field for field in dataclasses.fields(Options)}
    assert set(parameters) - OWN_PARAMETERS == set(fields) - NOT_FOR[name]
    for option in set(parameters) & set(fields):
        parameter, field = parameters[option], fields[option]
        assert parameter.kind is parameter.KEYWORD_ONLY
        assert parameter.annotation is not parameter.empty
        assert parameter.default == (None if field.default is dataclasses.MISSING else field.default), option


@pytest.mark.parametrize("first", ["safeconvert.repair", "import safeconvert.repair.context", "import safeconvert.api"])
def test_repair_is_a_function_and_a_package_whatever_is_imported_first(first: str) -> None:
    code = f"""
import safeconvert
{first}
assert callable(safeconvert.repair)
import safeconvert.repair.acceptance
from safeconvert import repair
from safeconvert.repair import FAULT_TYPES
assert callable(safeconvert.repair) and safeconvert.repair is repair and safeconvert.repair.acceptance
try:
    safeconvert.repair("missing.pt2", "missing.onnx", output="out.onnx")
except safeconvert.BadInput as error:
    assert "missing.pt2 does not exist" in str(error)
else:
    raise AssertionError("nothing was raised")
"""
    subprocess.run([sys.executable, "-P", "-c", code], check=True, timeout=60)


def test_all_public_names_are_there_and_listed() -> None:
    assert set(safeconvert.__all__) <= set(dir(safeconvert))
    assert all(getattr(safeconvert, name) is not None for name in safeconvert.__all__)
    with pytest.raises(AttributeError, match="no attribute 'converts'"):
        _ = safeconvert.converts


def test_a_verdict_equals_its_word_and_has_no_truth_value() -> None:
    assert Verdict.VERIFIED == "verified"
    assert f"{Verdict.REPAIRED}" == "repaired"
    assert Verdict.VERIFIED != "diverged"
    with pytest.raises(TypeError, match="no truth value"):
        bool(Verdict.VERIFIED)


def result(verdict: Verdict, target: Path | None = None, *reasons: str) -> Result:
    fault = {"type": "LH", "source_node": "<stem>", "target_node": "", "repair": "explicit pads", "status": "repaired"}
    return Result(verdict, target, None, {"faults": [fault]}, reasons)


def test_a_result_is_one_line_and_a_table() -> None:
    shown = result(Verdict.DIVERGED, None, "labels\ndiffer " * 40)
    assert repr(shown).startswith("<Result diverged, labels differ")
    assert len(repr(shown)) < 170
    assert "LH at &lt;stem&gt;: explicit pads" in shown._repr_html_()


def test_only_a_good_verdict_passes() -> None:
    for verdict in Verdict:
        if verdict in (Verdict.VERIFIED, Verdict.REPAIRED):
            result(verdict).raise_for_verdict()
        else:
            with pytest.raises(Diverged, match=f"{verdict}: why"):
                result(verdict, None, "why").raise_for_verdict()
    with pytest.raises(Diverged):
        _ = result(Verdict.FAILED).model
    with pytest.raises(BadInput, match="check makes no model"):
        _ = result(Verdict.VERIFIED).model


def test_the_model_is_loaded_when_it_is_asked_for(keras_models: Path) -> None:
    content = (keras_models / "model.tflite").read_bytes()
    assert result(Verdict.VERIFIED, keras_models / "model.tflite").model == content


def test_the_folder_of_a_live_target_is_new_each_time() -> None:
    assert new_folder().is_dir()
    assert new_folder() != new_folder()


def test_a_repaired_file_needs_a_place(onnx_models: Path) -> None:
    with pytest.raises(BadInput, match="output is missing"):
        api.repair(onnx_models / "labels.onnx", onnx_models / "labels.onnx")


def test_arguments_that_do_not_go_together_are_refused(onnx_models: Path, tmp_path: Path) -> None:
    source = onnx_models / "labels.onnx"
    for saying, options in {
        "is an onnx model already|is a onnx model already": {"to": "onnx"},
        "is for TFLite Targets": {"to": "keras", "quantize": "float16"},
        "is for SavedModels": {"to": "keras", "signature": "x"},
        "calibrated on real inputs": {"to": "tflite", "quantize": "int8"},
    }.items():
        with pytest.raises(BadInput, match=saying):
            api.convert(source, output=tmp_path / "out", **options)
    with pytest.raises(BadInput, match="neither of these"):
        argument_checks.check_check([], Options(signature="x"), None)
    with pytest.raises(TypeError, match="quantise"):
        api.convert(source, "tflite", quantise="int8")  # type: ignore[call-arg]
