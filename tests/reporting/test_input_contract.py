"""The contract beside a Target: enough to run it where safeconvert is not installed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from safeconvert.formats import FORMATS, Format
from safeconvert.inputs.preprocess import Preprocess
from safeconvert.quantization.engine import quantizes_float_target
from safeconvert.reporting.input_contract import with_test_vector
from tests.support.command import safeconvert


def net(path: Path) -> Path:
    """A classifier of 8 x 8 images, NCHW, with random weights."""
    random = np.random.default_rng(0)
    weights = numpy_helper.from_array(random.normal(size=(3, 5)).astype(np.float32), "w")
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["logits"]),
    ]
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 8, 8])]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 5])]
    graph = helper.make_graph(nodes, "net", inputs, outputs, [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("contract")
    random = np.random.default_rng(1)
    (folder / "photos").mkdir()
    for row in range(6):
        Image.fromarray(random.integers(0, 256, (10, 12, 3), np.uint8)).save(folder / "photos" / f"{row}.png")
    net(folder / "a.onnx")
    net(folder / "b.onnx")
    done = safeconvert("repair", "a.onnx", "b.onnx", "-o", "out.onnx", "--images", "photos", "-q", folder=folder)
    assert done.code == 0, done.err
    return folder


def test_the_contract_says_what_was_assumed_and_what_comes_out(folder: Path) -> None:
    contract = json.loads((folder / "out.onnx.input.json").read_text())
    assert contract["origin"].startswith("assumed")
    assert contract["antialias"] is True
    assert [(each["name"], each["kind"], each["class_axis"]) for each in contract["outputs"]] == [
        ("logits", "labels", 1)
    ]
    assert "largest" in contract["outputs"][0]["meaning"]
    assert isinstance(Preprocess.from_json(contract), Preprocess), "it can be passed to --preprocess"


def test_the_snippet_runs_on_the_runtime_alone_and_notices_another_model(folder: Path) -> None:
    contract = json.loads((folder / "out.onnx.input.json").read_text())
    assert "safeconvert" not in contract["snippet"]
    script = contract["snippet"] + "import sys\nassert 'safeconvert' not in sys.modules\n"
    run = [sys.executable, "-I", "-c", script]
    done = subprocess.run(run, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "answers as it did" in done.stdout
    with np.load(folder / "out.onnx.test.npz") as stored:
        arrays = {name: stored[name] for name in stored.files}
    assert arrays["input"].shape == (1, 3, 8, 8)
    np.savez(folder / "out.onnx.test.npz", **{**arrays, "expected_0": arrays["expected_0"] + 1})  # type: ignore[arg-type]
    done = subprocess.run(run, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode != 0
    assert "AssertionError" in done.stderr


def runs_by_itself(folder: Path, name: str) -> dict[str, Any]:
    """Run the snippet of a Target in its folder, without safeconvert; return the contract."""
    contract: dict[str, Any] = json.loads((folder / f"{name}.input.json").read_text())
    script = contract["snippet"] + "import sys\nassert 'safeconvert' not in sys.modules\n"
    done = subprocess.run(
        [sys.executable, "-I", "-c", script], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return contract


def with_two_outputs(path: Path) -> None:
    """Add the pooled colours as a second output, whose name comes before the first's in the alphabet."""
    model = onnx.load(path)
    model.graph.output.append(helper.make_tensor_value_info("pooled", TensorProto.FLOAT, ["n", 3, 1, 1]))
    model.graph.output[0].name = "z_logits"
    model.graph.node[-1].output[0] = "z_logits"
    onnx.save(model, path)


@pytest.mark.parametrize(("target", "name"), [("tflite", "two.tflite"), ("tf", "two_saved")])
def test_the_snippet_of_a_target_with_several_outputs_runs(target: str, name: str, folder: Path) -> None:
    with_two_outputs(net(folder / "two.onnx"))
    command = (f"onnx2{target}", "two.onnx", "-o", name, "--images", "photos", "--preprocess", "unit", "-q", "--force")
    done = safeconvert(*command, folder=folder, timeout=300)
    assert done.code == 0, done.err
    contract = runs_by_itself(folder, name)
    assert len(contract["outputs"]) == 2
    assert contract["stored"] is None


def test_the_snippet_of_an_integer_target_turns_numbers_into_its_integers(folder: Path) -> None:
    if not quantizes_float_target("int8", "auto"):
        pytest.skip("integer inputs need litert-quantizer")
    options = ("--quantize", "int8", "--io-type", "int8", "--max-discrepancy", "100")
    command = ("onnx2tflite", "a.onnx", "-o", "int8.tflite", "--images", "photos", "--preprocess", "unit", "-q")
    done = safeconvert(*command, *options, folder=folder, timeout=300)
    assert done.code == 0, done.err
    contract = runs_by_itself(folder, "int8.tflite")
    assert contract["stored"]["dtype"] == "int8"
    assert contract["stored"]["scale"] > 0
    assert contract["outputs"][0]["stored"]["dtype"] == "int8"


@pytest.mark.parametrize("format", FORMATS, ids=str)
def test_every_snippet_is_python_that_names_its_files(format: Format) -> None:
    contract = with_test_vector(
        {"input_name": "it's", "outputs": [{"name": "a'b"}, {"name": "c"}]},
        format=format,
        model_name="m'n",
        test_name="t.npz",
        image="0.png",
        output_count=2,
    )
    compile(contract["snippet"], "snippet", "exec")
    assert "'t.npz'" in contract["snippet"]
    assert '"m\'n"' in contract["snippet"]
    words = set(contract["snippet"].replace("(", " ").replace("{", " ").replace(")", " ").split())
    assert not {"MODEL", "TEST", "INPUT", "OUTPUTS"} & words
