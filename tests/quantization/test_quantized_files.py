"""What the worker says of a quantised file: on files that TFLiteConverter made, without litert-quantizer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from safeconvert.quantization.quantize import PERCENT_STEP
from safeconvert.runtimes.litert import integer_io, quantized_file, saturation, silent_channels
from safeconvert.runtimes.litert.flatbuffer import packed, unpacked
from safeconvert.runtimes.litert.model import load_tflite
from tests.support.command import made_by

MODELS = """
import keras, numpy as np, tensorflow as tf
keras.utils.set_random_seed(0)
i = keras.Input((8, 8, 3), batch_size=1)
x = keras.layers.Conv2D(4, 3, activation="relu")(i)
model = keras.Model(i, keras.layers.Dense(5)(keras.layers.Flatten()(x)))
open("float.tflite", "wb").write(tf.lite.TFLiteConverter.from_keras_model(model).convert())
x = np.random.default_rng(0).normal(size=(20, 1, 8, 8, 3)).astype("float32")
np.save("x.npy", x[:, 0])
converter = tf.lite.TFLiteConverter.from_saved_model(model.export("saved", verbose=False) or "saved")
converter.optimizations = [tf.lite.Optimize.DEFAULT]
converter.representative_dataset = lambda: ([row] for row in x)
converter.inference_input_type = converter.inference_output_type = tf.int8
open("int8.tflite", "wb").write(converter.convert())
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_by(MODELS, tmp_path_factory.mktemp("files"))


def outputs(path: Path, x: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    model = load_tflite(str(path))
    return np.concatenate([model.run({model.inputs[0].name: row[None]})[0] for row in x])


def test_operators_are_told_by_their_arithmetic_with_their_multiplications(files: Path) -> None:
    floats = quantized_file.operator_uses(str(files / "float.tflite"))
    integers = quantized_file.operator_uses(str(files / "int8.tflite"))
    assert {use.arithmetic for use in floats} == {"float"}
    assert {use.arithmetic for use in integers} == {"integer"}
    expected = [6 * 6 * 4 * 27, 5 * 144]
    for uses in (floats, integers):
        assert [use.multiplications for use in uses if use.multiplications] == expected


def test_uint8_inputs_and_outputs_give_what_int8_ones_do(files: Path) -> None:
    data = packed(integer_io.with_uint8(unpacked((files / "int8.tflite").read_bytes())))
    (files / "uint8.tflite").write_bytes(data)
    x = np.load(files / "x.npy")
    assert np.array_equal(outputs(files / "uint8.tflite", x), outputs(files / "int8.tflite", x))
    for before, after in zip(
        quantized_file.integer_tensors(str(files / "int8.tflite")),
        quantized_file.integer_tensors(str(files / "uint8.tflite")),
        strict=True,
    ):
        assert (before[0].dtype, after[0].dtype) == ("int8", "uint8")
        assert after[0].zero_point == before[0].zero_point + 128
        assert after[0].scale == before[0].scale


def test_an_activation_with_too_narrow_a_range_is_named_and_healthy_files_have_none(files: Path) -> None:
    x = {load_tflite(str(files / "int8.tflite")).inputs[0].name: np.load(files / "x.npy")[:8]}
    assert saturation.saturated_activations(str(files / "int8.tflite"), x) == []
    float_input = {load_tflite(str(files / "float.tflite")).inputs[0].name: np.load(files / "x.npy")[:8]}
    assert saturation.saturated_activations(str(files / "float.tflite"), float_input) == []
    model = unpacked((files / "int8.tflite").read_bytes())
    graph = model.subgraphs[0]
    outputs_of_operators = [graph.tensors[index] for operator in graph.operators for index in operator.outputs]
    integers = [
        tensor for tensor in outputs_of_operators if tensor.quantization and tensor.quantization.scale is not None
    ]
    scale = float(integers[0].quantization.scale[0])
    for tensor in integers:  # the convolution's output, and that of the Reshape that moves its values on
        if float(tensor.quantization.scale[0]) == scale:
            tensor.quantization.scale = [0.5 * scale]
    (files / "narrow.tflite").write_bytes(packed(model))
    named = saturation.saturated_activations(str(files / "narrow.tflite"), x)
    assert [each.share > 0.01 for each in named] == [True]
    assert "reach an end of its range" in named[0].words


def test_a_signature_says_which_integers_an_application_fills_and_reads(files: Path) -> None:
    signature = load_tflite(str(files / "int8.tflite")).signature()
    read = quantized_file.integer_tensors(str(files / "int8.tflite"))
    for specs, tensors in zip((signature.inputs, signature.outputs), read, strict=True):
        stored = specs[0].stored
        assert stored is not None
        assert (stored.dtype, stored.scale, stored.zero_point) == ("int8", tensors[0].scale, tensors[0].zero_point)
        assert specs[0].dtype == "float32"
        assert specs[0].to_json()["stored"] == {
            "dtype": "int8",
            "scale": stored.scale,
            "zero_point": stored.zero_point,
        }
    floats = load_tflite(str(files / "float.tflite")).signature()
    assert "stored" not in floats.inputs[0].to_json()


def test_layers_of_the_same_file_have_no_error_and_those_of_the_rounded_one_do(files: Path) -> None:
    x = {"x": np.load(files / "x.npy")[:4]}
    same = quantized_file.layer_errors(str(files / "float.tflite"), str(files / "float.tflite"), x)
    assert same
    assert all(error.noise_to_signal == 0 for error in same)
    path = str(files / "float.tflite")
    before, after = quantized_file.latencies(path, path, x, 5)
    assert len(before) == len(after) == 5
    assert min(before + after) > 0


def test_a_file_whose_channels_have_scales_stays_as_it_is(files: Path) -> None:
    data, changed = silent_channels.with_scales(str(files / "float.tflite"))
    assert (data, changed) == ((files / "float.tflite").read_bytes(), [])
    assert 0 < PERCENT_STEP < 1
