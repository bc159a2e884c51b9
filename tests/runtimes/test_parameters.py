"""Trained arrays of an ONNX file and of a TFLite file: which they are, whose, and that others are refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from safeconvert.runtimes.litert import parameters as litert_parameters
from safeconvert.runtimes.onnxruntime.parameters import read_parameters
from safeconvert.runtimes.trace_store import ParameterRecord
from tests.support.command import made_by

KERNEL, BIAS = np.arange(8, dtype=np.float32).reshape(2, 4), np.float32([1, 2])

DENSE = """
import keras, tensorflow as tf
model = keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(3, name="dense")])
open("dense.tflite", "wb").write(tf.lite.TFLiteConverter.from_keras_model(model).convert())
"""


def test_initializers_and_constants_of_an_onnx_file_are_its_parameters(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Constant", [], ["scale"], name="made", value=numpy_helper.from_array(np.float32([3]), "s")),
        helper.make_node("Gemm", ["x", "kernel", "bias"], ["a"], name="dense", transB=1),
        helper.make_node("Mul", ["a", "scale"], ["b"], name="scaled"),
        helper.make_node("Add", ["b", "bias"], ["c"], name="shifted"),
        helper.make_node("Reshape", ["c", "shape"], ["y"], name="view"),
    ]
    constants = {"kernel": KERNEL, "bias": BIAS, "shape": np.array([0, 2]), "lone": np.array(5, np.float32)}
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    onnx.save(helper.make_model(graph), tmp_path / "net.onnx")
    records = read_parameters(str(tmp_path / "net.onnx"), str(tmp_path / "store.npz"))
    assert records == [
        ParameterRecord("kernel", "dense", (2, 4), "float32", False, "arr_0"),
        ParameterRecord("bias", "dense", (2,), "float32", False, "arr_1"),
        ParameterRecord("scale", "scaled", (1,), "float32", False, "arr_2"),
    ]
    with np.load(tmp_path / "store.npz") as stored:
        assert np.array_equal(stored["arr_0"], KERNEL)
        assert np.array_equal(stored["arr_1"], BIAS)


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_by(DENSE, tmp_path_factory.mktemp("dense")) / "dense.tflite"


def test_a_constant_of_a_tflite_file_is_replaced_in_place(dense: Path, tmp_path: Path) -> None:
    (kernel,) = [r for r in litert_parameters.read_parameters(str(dense), str(tmp_path / "a")) if r.shape == (3, 4)]
    values = {kernel.name: np.full((3, 4), 7, np.float32)}
    target = tmp_path / "other.tflite"
    assert litert_parameters.replace_parameters(str(dense), str(target), values) == "tflite"
    assert target.stat().st_size == dense.stat().st_size
    records = litert_parameters.read_parameters(str(target), str(tmp_path / "b"))
    with np.load(tmp_path / "b") as stored:
        assert all((stored[r.key] == 7).all() == (r.name == kernel.name) for r in records)


def test_an_unknown_name_and_another_shape_are_refused(dense: Path, tmp_path: Path) -> None:
    (kernel,) = [r for r in litert_parameters.read_parameters(str(dense), str(tmp_path / "a")) if r.shape == (3, 4)]
    target = str(tmp_path / "other.tflite")
    with pytest.raises(ValueError, match="no parameter 'nothing' in the model"):
        litert_parameters.replace_parameters(str(dense), target, {"nothing": np.zeros(1, np.float32)})
    with pytest.raises(ValueError, match=r"has the shape \[3, 4\], not \[4, 3\]"):
        litert_parameters.replace_parameters(str(dense), target, {kernel.name: np.zeros((4, 3), np.float32)})


TORCH = """
import json, numpy as np, torch
from safeconvert.records import LoadOptions, TensorSpec
from safeconvert.runtimes import registry
from safeconvert.runtimes.pytorch import exporter, model, parameters, settings, input_shapes
net = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3), torch.nn.LeakyReLU(0.25)).eval()
spec = TensorSpec("x", (None, 3, 8, 8), "float32")
found = {"flavour": exporter.save_module(net, "net.pt2", [spec])}
try:
    exporter.save_module(net, "other.pt2", [TensorSpec("x", None, "float32")])
except ValueError as error:
    found["unknown"] = str(error)
signature = model.load("net.pt2", "pt2", LoadOptions())
found["inputs"] = [str(spec) for spec in signature.inputs]
found["parameters"] = [r.name for r in parameters.read_parameters("net.pt2", "a.npz")]
zeros = {"0.bias": np.zeros(2, np.float32)}
parameters.replace_parameters("net.pt2", "zeros.pt2", zeros)
model.load("zeros.pt2", "pt2")
x = {signature.inputs[0].name: np.zeros((2, 3, 8, 8), np.float32)}
found["zeros"] = float(np.abs(registry.run("zeros.pt2", x).outputs[0]).max())
place = next(n.name for n in registry.MODELS["net.pt2"].native[0].graph.nodes if "leaky" in n.name)
found["slope"] = settings.read_settings("net.pt2", place)["negative_slope"]
settings.change_settings("net.pt2", "slope.pt2", place, {"negative_slope": 0.5})
model.load("slope.pt2", "pt2")
found["other slope"] = settings.read_settings("slope.pt2", place)["negative_slope"]
input_shapes.change_input_shapes("net.pt2", "wide.pt2", {signature.inputs[0].name: [None, 3, 12, 12]})
found["wide"] = str(model.load("wide.pt2", "pt2").outputs[0])
json.dump(found, open("torch.json", "w"))
"""

KERAS = """
import json, keras, numpy as np
from safeconvert.runtimes import registry
from safeconvert.runtimes.tensorflow import model, parameters, settings, input_shapes
layers = [keras.Input((8, 8, 3), name="x"), keras.layers.Conv2D(2, 3, name="conv")]
layers.append(keras.layers.LeakyReLU(0.25, name="act"))
keras.Sequential(layers).save("net.keras")
signature = model.load("net.keras", "keras")
found = {"parameters": [(r.layer, list(r.shape)) for r in parameters.read_parameters("net.keras", "b.npz")]}
kernel, bias = (r.name for r in parameters.read_parameters("net.keras", "b.npz"))
parameters.replace_parameters("net.keras", "zeros.keras", {kernel: np.zeros((3, 3, 3, 2), np.float32)})
model.load("zeros.keras", "keras")
x = {signature.inputs[0].name: np.ones((2, 8, 8, 3), np.float32)}
found["zeros"] = float(np.abs(registry.run("zeros.keras", x).outputs[0]).max())
found["slope"] = settings.read_settings("net.keras", "act")["negative_slope"]
settings.change_settings("net.keras", "slope.keras", "act", {"negative_slope": 0.5})
model.load("slope.keras", "keras")
found["other slope"] = settings.read_settings("slope.keras", "act")["negative_slope"]
input_shapes.change_input_shapes("net.keras", "wide.keras", {signature.inputs[0].name: [None, 12, 12, 3]})
found["wide"] = list(model.load("wide.keras", "keras").outputs[0].shape)
keras.saving.load_model("net.keras").export("saved", verbose=False)
model.load("saved", "savedmodel")
try:
    settings.read_settings("saved", "act")
except ValueError as error:
    found["saved"] = str(error)
json.dump(found, open("keras.json", "w"))
"""


def test_a_torch_program_is_read_and_changed_by_its_own_names(tmp_path: Path) -> None:
    made_by(TORCH, tmp_path)
    answers = json.loads((tmp_path / "torch.json").read_text())
    assert answers == {
        "flavour": "pt2",
        "unknown": "the shape of input 'x' is not known",
        "inputs": ["input: float32[?x3x8x8]"],
        "parameters": ["0.weight", "0.bias"],
        "zeros": 0.0,
        "slope": 0.25,
        "other slope": 0.5,
        "wide": "output_0: float32[?x2x10x10]",
    }


def test_a_keras_model_is_read_and_changed_by_its_own_names(tmp_path: Path) -> None:
    made_by(KERAS, tmp_path)
    answers = json.loads((tmp_path / "keras.json").read_text())
    assert answers == {
        "parameters": [["conv", [3, 3, 3, 2]], ["conv", [2]]],
        "zeros": 0.0,
        "slope": 0.25,
        "other slope": 0.5,
        "wide": [None, 10, 10, 2],
        "saved": "the layers of a SavedModel are a graph",
    }
