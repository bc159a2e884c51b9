"""``repair`` across formats, of quantised files and of what no converter shows as ONNX; and converters gone around."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from safeconvert.reporting.document import schema
from tests.support.command import made_by, safeconvert
from tests.support.framework_alone import alone
from tests.support.keras_nets import AREA

SIZES = (12, 9, 3)
MODELS = """
import keras, tensorflow as tf
keras.utils.set_random_seed(0)
layers = keras.layers
inputs = keras.Input((12, 9, 3), name="image")
x = layers.ReLU(name="act")(layers.Conv2D(8, 3, padding="same", name="first")(inputs))
x = layers.ReLU()(layers.Conv2D(32, 3, strides=2, padding="same", name="second")(x))
x = layers.ReLU()(layers.DepthwiseConv2D(3, padding="same", name="third")(x))
model = keras.Model(inputs, layers.Dense(7, name="head")(layers.Flatten()(x)))
model.save("source.keras")
kept = model.get_layer("second").get_weights()
model.get_layer("second").set_weights([kept[0] * ([1, -2.0] * 16), kept[1]])
model.export("target", format="tf_saved_model", verbose=False)
converter = tf.lite.TFLiteConverter.from_keras_model(model)
converter.optimizations = [tf.lite.Optimize.DEFAULT]
open("dynamic.tflite", "wb").write(converter.convert())
model.get_layer("second").set_weights(kept)
open("plain.tflite", "wb").write(tf.lite.TFLiteConverter.from_saved_model("target").convert())
"""
DIVISOR = """
import torch
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = torch.nn.Conv2d(3, 6, 3), torch.nn.Linear(6 * 5 * 3, 5)
        self.pool = torch.nn.AvgPool2d(2, 2, divisor_override=3)
    def forward(self, x):
        return self.head(self.pool(self.conv(x).relu()).flatten(1))
torch.manual_seed(0)
example = (torch.zeros(2, 3, 12, 9),)
program = torch.export.export(Net().eval(), example, dynamic_shapes=({0: torch.export.Dim("batch")},))
torch.export.save(program, "source.pt2")
"""
UNSTACKED = """
import numpy as np, tensorflow as tf
draw = np.random.default_rng(0).normal
first, second, head = (tf.constant(draw(size=n).astype("f4") * 0.3) for n in ((3, 3, 3, 8), (3, 3, 8, 6), (6, 5)))
@tf.function(input_signature=[tf.TensorSpec((1, 12, 9, 3), tf.float32, name="image")])
def call(x):
    x = tf.nn.conv2d(x, first, 1, "SAME", name="before")
    x = tf.reshape(tf.concat(tf.unstack(x, axis=2), axis=1, name="joined"), (1, 1, 108, 8))
    x = tf.nn.relu(tf.nn.conv2d(x, second, 1, "SAME", name="behind"))
    return {"out": tf.matmul(tf.reduce_mean(x * tf.range(1.0, 109.0)[None, None, :, None], [1, 2]), head)}
module = tf.Module(); module.call = call
tf.saved_model.save(module, "source", signatures=call)
"""
LOGARITHM = """
import torch
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(108, 5)
    def forward(self, x):
        return self.head(torch.nn.functional.logsigmoid(x[:, 0] * 300).flatten(1) * 1e-3)
torch.manual_seed(0)
example = (torch.zeros(2, 3, 12, 9),)
program = torch.export.export(Net().eval(), example, dynamic_shapes=({0: torch.export.Dim("batch")},))
torch.export.save(program, "source.pt2")
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_by(MODELS, tmp_path_factory.mktemp("formats"))


def run(folder: Path, *arguments: str, sizes: tuple[int, ...] = SIZES) -> dict[str, Any]:
    np.savez(folder / "x.npz", np.random.default_rng(0).normal(size=(24, *sizes)).astype("float32"))
    done = safeconvert(*arguments, "--inputs", "x.npz", "--json", folder=folder)
    assert done.code == 0, done.out + done.err
    report: dict[str, Any] = json.loads(done.out)
    jsonschema.validate(report, schema())
    return report


def apart(folder: Path, target: str, format: str, sizes: tuple[int, ...] = SIZES) -> float:
    """Largest difference of the two models' outputs on a fresh input, each run in a process of its own."""
    x = np.random.default_rng(1).normal(size=(1, *sizes)).astype("float32")
    a = alone(folder / "source.keras", "keras", x)
    return float(np.abs(a - alone(folder / target, format, x)).max() / np.abs(a).max())


def test_weights_of_a_saved_model_are_set_in_it(models: Path) -> None:
    report = run(models, "repair", "source.keras", "target", "-o", "fixed")
    fault = report["faults"][0]
    assert (report["verdict"], len(report["faults"]), fault["type"]) == ("repaired", 1, "WB")
    assert "second" in fault["target_node"]
    assert apart(models, "target", "tf") > 0.01
    assert apart(models, "fixed", "tf") < 1e-4


def test_weights_of_a_tflite_file_are_set_in_it(models: Path) -> None:
    report = run(models, "repair", "source.keras", "plain.tflite", "-o", "fixed.tflite")
    fault = report["faults"][0]
    assert (report["verdict"], len(report["faults"]), fault["type"]) == ("repaired", 1, "WB")
    assert "second" in fault["target_node"]
    assert fault["evidence"]["parameters"]
    sizes = [(models / name).stat().st_size for name in ("plain.tflite", "fixed.tflite")]
    assert sizes[0] == sizes[1]
    assert apart(models, "fixed.tflite", "tflite") < 1e-4


def test_a_quantised_file_is_repaired_in_its_own_integers(models: Path) -> None:
    report = run(models, "repair", "source.keras", "dynamic.tflite", "-o", "whole.tflite", "--max-discrepancy", "10")
    fault = report["faults"][0]
    assert (report["verdict"], len(report["faults"]), fault["type"]) == ("repaired", 1, "WB")
    assert "second" in fault["target_node"]
    assert report["target"]["quantized"]
    sizes = [(models / name).stat().st_size for name in ("dynamic.tflite", "whole.tflite")]
    assert sizes[0] == sizes[1]
    assert apart(models, "dynamic.tflite", "tflite") > apart(models, "whole.tflite", "tflite")


def test_a_keras_layer_that_tf2onnx_gets_wrong_is_named_though_another_form_solved_it(tmp_path: Path) -> None:
    made_by(AREA, tmp_path)
    report = run(tmp_path, "keras2onnx", "source.keras", "-o", "target.onnx")
    assert report["verdict"] == "repaired"
    assert [(fault["type"], fault["source_node"], fault["status"]) for fault in report["faults"]] == [
        ("PP", "smaller", "repaired")
    ]
    assert report["faults"][0]["evidence"]["operator"] == "Resize"
    assert report["faults"][0]["percent_before"] > 0
    assert apart(tmp_path, "target.onnx", "onnx") < 1e-4


def test_a_torch_module_that_the_exporter_gets_wrong_is_named_though_another_form_solved_it(tmp_path: Path) -> None:
    made_by(DIVISOR, tmp_path)
    report = run(tmp_path, "torch2onnx", "source.pt2", "-o", "target.onnx", sizes=(3, 12, 9))
    assert report["verdict"] == "repaired"
    assert [(fault["type"], fault["source_node"]) for fault in report["faults"]] == [("LH", "pool")]
    assert report["faults"][0]["evidence"]["operator"] == "AveragePool"


def test_what_only_the_source_does_names_the_fault_and_not_the_layer_behind_it(tmp_path: Path) -> None:
    made_by(UNSTACKED, tmp_path)
    report = run(tmp_path, "tf2tflite", "source", "-o", "target.tflite")
    assert report["route"][0]["status"] == "diverged"
    assert report["verdict"] == "repaired"
    assert [fault["evidence"]["source_operator"] for fault in report["faults"]] == ["ConcatV2"]
    assert "joined" in report["faults"][0]["source_node"]


def test_a_target_that_differs_on_probes_alone_is_verified_only_where_the_person_says_so(tmp_path: Path) -> None:
    """LogSigmoid exported as Log(Sigmoid) is minus infinity far below zero, where these inputs do not go."""
    made_by(LOGARITHM, tmp_path)
    np.savez(tmp_path / "x.npz", np.random.default_rng(0).uniform(0, 1, size=(24, 3, 12, 9)).astype("float32"))
    options = ("--inputs", "x.npz", "--no-repair", "--json", "--force", "-o", "target.onnx")
    verdicts = []
    for more in ((), ("--own-inputs-only",)):
        done = safeconvert("torch2onnx", "source.pt2", *options, *more, folder=tmp_path)
        report = json.loads(done.out)
        verdicts.append((done.code, report["verdict"]))
        # A converter whose environment is not installed is refused without being run.
        assert {attempt["status"] for attempt in report["route"]} - {"refused"} == {"diverged"}
        assert "probes" in json.dumps([report["reasons"], report["notes"], report["check"]["further"]])
    assert verdicts == [(1, "diverged"), (0, "verified")]
