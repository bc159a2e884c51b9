"""All twenty pairs through the command line, with the real converters, on small models of every format.

Pairs with a converter of their own start from the installed command and cold workers, as a user does; what joins these
converters runs in copies of warm processes.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from safeconvert.conversion.routes import pairs, routes
from safeconvert.reporting.document import schema
from tests.support.command import installed_safeconvert, safeconvert
from tests.support.framework_alone import alone

SUFFIX = {"torch": ".pt2", "keras": ".keras", "tf": "", "tflite": ".tflite", "onnx": ".onnx"}


@pytest.fixture(scope="module")
def sources(torch_models: Path, keras_models: Path, onnx_models: Path) -> dict[str, Path]:
    return {
        "torch": torch_models / "model.pt2",
        "keras": keras_models / "model.keras",
        "tf": keras_models / "saved_model",
        "tflite": keras_models / "model.tflite",
        "onnx": onnx_models / "labels.onnx",
    }


@pytest.mark.parametrize("pair", pairs(), ids="2".join)
def test_a_pair_gives_a_target_that_its_framework_runs_alone(
    pair: tuple[str, str], sources: dict[str, Path], tmp_path: Path
) -> None:
    source, target = pair
    nchw = source in ("torch", "onnx")
    x = np.random.default_rng(1).normal(size=(12, 3, 8, 8) if nchw else (12, 8, 8, 3)).astype("float32")
    np.savez(tmp_path / "inputs.npz", x)
    output = tmp_path / f"made{SUFFIX[target]}"
    is_direct = len(routes(source, target)[0]) == 2
    run = installed_safeconvert if is_direct else safeconvert
    done = run("2".join(pair), sources[source], "--inputs", "inputs.npz", "-o", output, "--json", folder=tmp_path)
    assert done.code == 0, done.out + done.err
    report = json.loads(done.out)
    jsonschema.validate(report, schema())
    assert report == json.loads((tmp_path / f"{output.name}.report.json").read_text())
    assert (tmp_path / f"{output.name}.report.html").read_text().startswith("<!doctype html>")
    assert report["verdict"] == "verified"
    assert report["faults"] == []
    used = [hop["hop"] for hop in report["route"] if hop["used"]]
    assert used[0].startswith(f"{source}->")
    assert used[-1].endswith(f"->{target}")
    both = report["check"]["after"]
    assert (both["calibration"]["count"], both["heldout"]["count"]) == (6, 6)
    assert [i["shape"][1:] for i in report["target"]["inputs"]] == [list(x.shape[1:])]
    expected, actual = alone(sources[source], source, x), alone(output, target, x)
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() < 1e-4


@pytest.mark.parametrize(
    ("layout", "shape"), [("nhwc", [None, 8, 8, 3]), ("nchw", [None, 3, 8, 8]), ("keep", [None, 3, 8, 8])]
)
def test_the_target_takes_the_layout_asked_for(
    layout: str, shape: list[int | None], sources: dict[str, Path], tmp_path: Path
) -> None:
    done = safeconvert(
        "torch2keras", sources["torch"], "-o", "m.keras", "--input-layout", layout, "--json", folder=tmp_path
    )
    assert done.code == 0, done.out + done.err
    assert [i["shape"] for i in json.loads(done.out)["target"]["inputs"]] == [shape]


def test_probes_are_said_to_be_weaker(sources: dict[str, Path], tmp_path: Path) -> None:
    done = safeconvert("check", sources["onnx"], sources["onnx"], "--json", folder=tmp_path)
    report = json.loads(done.out)
    assert (done.code, report["check"]["inputs"]["kind"]) == (0, "probes")
    assert "weaker" in report["check"]["inputs"]["strength"]
    assert list(tmp_path.iterdir()) == []


def test_an_8_bit_target_is_calibrated_and_judged_by_labels(sources: dict[str, Path], tmp_path: Path) -> None:
    x = np.random.default_rng(1).normal(size=(40, 8, 8, 3)).astype("float32")
    np.savez(tmp_path / "x.npz", x)
    options = ("--quantize", "int8", "--inputs", "x.npz", "--max-discrepancy", "30", "-o", "m.tflite", "--json")
    done = safeconvert("keras2tflite", sources["keras"], *options, folder=tmp_path)
    report = json.loads(done.out)
    assert done.code == 0, done.err
    assert report["target"]["quantized"]
    assert report["check"]["tolerance"]["decides"] == "labels"
    assert report["check"]["after"]["calibration"]["values_differ"] > 0


def test_a_model_too_small_to_be_quantised_says_so(sources: dict[str, Path], tmp_path: Path) -> None:
    options = ("--quantize", "dynamic", "--quantizer", "tflite-converter", "-o", "m.tflite", "--json")
    done = safeconvert("keras2tflite", sources["keras"], *options, folder=tmp_path)
    report = json.loads(done.out)
    assert report["target"]["quantized"] == (not any("nothing is quantised" in note for note in report["notes"]))
    assert not report["target"]["quantized"]


@pytest.mark.parametrize("target", ["onnx", "torch", "keras"])
def test_an_integer_source_is_spoken_to_in_real_numbers(target: str, keras_models: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", np.random.default_rng(1).normal(size=(30, 8, 8, 3)).astype("float32"))
    options = ("--inputs", "x.npz", "--max-discrepancy", "20", "-o", f"made{SUFFIX[target]}", "--json")
    done = safeconvert(f"tflite2{target}", keras_models / "integers.tflite", *options, folder=tmp_path)
    report = json.loads(done.out)
    assert done.code == 0, done.out
    assert report["source"]["quantized"]
    assert [tensor["dtype"] for side in ("source", "target") for tensor in report[side]["inputs"]] == ["float32"] * 2
    largest = report["check"]["after"]["calibration"]["max_abs"]
    assert largest < 0.5, "an integer step or two, and not another model"


@pytest.mark.parametrize(
    ("pair", "model"),
    [
        ("keras2onnx", "seq"),
        ("keras2tflite", "seq"),
        ("keras2torch", "two"),
        ("keras2tflite", "two"),
        ("keras2tf", "two"),
    ],
)
def test_sequential_models_and_several_inputs_and_outputs_convert(
    pair: str, model: str, keras_models: Path, tmp_path: Path
) -> None:
    output = tmp_path / f"made{SUFFIX[pair.partition('2')[2]]}"
    done = safeconvert(pair, keras_models / f"{model}.keras", "-o", output, "--json", folder=tmp_path)
    report = json.loads(done.out)
    assert done.code == 0, done.out
    assert len(report["route"]) <= 3
    compared = report["check"]["after"]["calibration"]["outputs"]
    assert [entry["source_shape"] for entry in compared] == [entry["target_shape"] for entry in compared]
    assert len(compared) == (2 if model == "two" else 1)


def test_a_previous_file_steps_aside_where_the_new_one_diverged(sources: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(b"an earlier model")
    np.savez(tmp_path / "x.npz", np.random.default_rng(1).normal(size=(40, 8, 8, 3)).astype("float32"))
    options = ("--inputs", "x.npz", "--rtol", "0", "--atol", "0", "--force", "-o", "m.tflite")
    done = safeconvert("keras2tflite", sources["keras"], *options, folder=tmp_path)
    assert done.code == 1, done.out + done.err
    assert not (tmp_path / "m.tflite").exists()
    assert (tmp_path / "m.previous.tflite").read_bytes() == b"an earlier model"
    assert (tmp_path / "m.unverified.tflite").exists()


def test_help_needs_no_framework_and_is_fast(tmp_path: Path) -> None:
    heavy = ("torch", "tensorflow", "onnx", "scipy", "rich")
    code = f"import sys, safeconvert.cli.main; print([n for n in {heavy} if n in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
    assert "Exit codes" in installed_safeconvert("--help", folder=tmp_path).out


def test_a_child_that_dies_of_its_converter_is_not_the_end(sources: dict[str, Path], tmp_path: Path) -> None:
    """A time limit that no converter meets: every way is recorded as timed out, and the run ends in order."""
    shutil.copy(sources["onnx"], tmp_path / "m.onnx")
    done = safeconvert("onnx2torch", "m.onnx", "--timeout", "0.01", "--json", folder=tmp_path)
    report = json.loads(done.out)
    assert (done.code, report["verdict"]) == (3, "failed")
    assert {hop["status"] for hop in report["route"]} == {"timeout"}
    assert not (tmp_path / "m.pt2").exists()
