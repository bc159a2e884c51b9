"""TFLite files in another form, where tf2onnx is wrong about them as they are."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.schema_py_generated import ActivationFunctionType, BuiltinOperator
from safeconvert.converters.forms.tflite import plain

from safeconvert.runtimes.litert import model as litert_model
from safeconvert.runtimes.litert.flatbuffer import packed, unpacked
from tests.support.command import made_by, safeconvert
from tests.support.framework_alone import alone

MODEL = """
import keras, tensorflow as tf
keras.utils.set_random_seed(0)
inputs = keras.Input((6, 5, 3), name="image")
middle = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3, activation="relu")(inputs))
model = keras.Model(inputs, keras.layers.Dense(5, activation="softmax")(middle))
open("model.tflite", "wb").write(tf.lite.TFLiteConverter.from_keras_model(model).convert())
"""


@pytest.fixture(scope="module")
def tempered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier whose softmax has a temperature."""
    path = made_by(MODEL, tmp_path_factory.mktemp("tflite")) / "model.tflite"
    model = unpacked(path.read_bytes())
    (softmax,) = [operator for operator in model.subgraphs[0].operators if hasattr(operator.builtinOptions, "beta")]
    softmax.builtinOptions.beta = 4.0
    path.write_bytes(packed(model))
    return path


def test_the_plain_form_computes_the_same_without_the_setting(tempered: Path, tmp_path: Path) -> None:
    form = plain(tempered.read_bytes())
    assert form is not None
    (tmp_path / "plain.tflite").write_bytes(form)
    x = np.random.default_rng(2).normal(size=(1, 6, 5, 3)).astype("float32")
    np.testing.assert_allclose(
        alone(tmp_path / "plain.tflite", "tflite", x), alone(tempered, "tflite", x), rtol=1e-5, atol=1e-7
    )
    assert plain((tmp_path / "plain.tflite").read_bytes()) is None


@pytest.mark.parametrize("fused", [True, False])
def test_a_limit_that_tf2onnx_lacks_reaches_onnx(fused: bool, tempered: Path, tmp_path: Path) -> None:
    model = unpacked(tempered.read_bytes())
    conv, softmax = model.subgraphs[0].operators[0], model.subgraphs[0].operators[-1]
    conv.builtinOptions.fusedActivationFunction = ActivationFunctionType.RELU_N1_TO_1 if fused else 0
    if not fused:  # the softmax becomes the operator
        code = model.operatorCodes[softmax.opcodeIndex]
        code.builtinCode = code.deprecatedBuiltinCode = BuiltinOperator.RELU_N1_TO_1
        softmax.builtinOptions, softmax.builtinOptionsType = None, 0
    (tmp_path / "limited.tflite").write_bytes(packed(model))
    x = np.random.default_rng(1).normal(size=(24, 6, 5, 3)).astype("float32") * 60
    np.savez(tmp_path / "x.npz", x)
    options = ("limited.tflite", "--inputs", "x.npz", "-o", "made.onnx", "--json")
    done = safeconvert("tflite2onnx", *options, folder=tmp_path)
    assert done.code == 0, done.out + done.err
    expected, actual = (
        alone(tmp_path / name, kind, x[:1]) for name, kind in (("limited.tflite", "tflite"), ("made.onnx", "onnx"))
    )
    np.testing.assert_allclose(actual, expected, atol=1e-5)
    assert fused or np.abs(expected).max() == 1, "the limit is met"


def test_the_temperature_of_a_softmax_reaches_onnx(tempered: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", np.random.default_rng(1).normal(size=(24, 6, 5, 3)).astype("float32"))
    done = safeconvert("tflite2onnx", tempered, "--inputs", "x.npz", "-o", "made.onnx", "--json", folder=tmp_path)
    report = json.loads(done.out)
    assert (done.code, report["verdict"]) == (0, "repaired"), done.out + done.err
    assert report["check"]["before"]["calibration"]["values_differ"] == 12
    assert [fault["evidence"]["operator"] for fault in report["faults"]] == ["Mul"]
    x = np.random.default_rng(2).normal(size=(1, 6, 5, 3)).astype("float32")
    np.testing.assert_allclose(alone(tmp_path / "made.onnx", "onnx", x), alone(tempered, "tflite", x), atol=1e-5)


def test_a_file_that_has_no_plainer_form_is_not_converted_again_as_one(tempered: Path, tmp_path: Path) -> None:
    form = plain(tempered.read_bytes())
    assert form is not None
    (tmp_path / "plain.tflite").write_bytes(form)
    np.savez(tmp_path / "x.npz", np.random.default_rng(1).normal(size=(8, 6, 5, 3)).astype("float32"))
    exact = ("--inputs", "x.npz", "--atol", "0", "--rtol", "0", "-o", "made.onnx", "--json")
    report = json.loads(safeconvert("tflite2onnx", "plain.tflite", *exact, folder=tmp_path).out)
    assert [attempt["status"] for attempt in report["route"]] == ["diverged", "diverged"], "both ways, each as it is"


def test_a_file_with_several_signatures_says_which_graph_is_used(tempered: Path, tmp_path: Path) -> None:
    model = unpacked(tempered.read_bytes())
    other = copy.copy(model.signatureDefs[0])
    other.signatureKey = b"other"
    model.signatureDefs.append(other)
    (tmp_path / "two.tflite").write_bytes(packed(model))
    assert not litert_model.load(str(tempered), "tflite").notes
    (note,) = litert_model.load(str(tmp_path / "two.tflite"), "tflite").notes
    assert "serving_default, other: its first graph" in note
