"""Image inputs in the other layout: the model takes them so and answers as before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
from safeconvert.converters.hop_function import InputPermutation
from safeconvert.converters.support.input_layout import permute_onnx_inputs, permuted_shape

from tests.support.warm_processes import run_script

TO_CHANNELS_FIRST = (0, 3, 1, 2)


def test_a_shape_is_permuted_back_by_the_axes() -> None:
    assert permuted_shape(["n", 3, 8, 6], TO_CHANNELS_FIRST) == ["n", 8, 6, 3]
    assert permuted_shape([2, 8, 6, 3], (0, 2, 3, 1)) == [2, 3, 8, 6]


def test_an_onnx_model_takes_channels_last(onnx_models: Path, tmp_path: Path) -> None:
    source, target = str(onnx_models / "labels.onnx"), str(tmp_path / "last.onnx")
    permute_onnx_inputs(source, target, InputPermutation(("x",), TO_CHANNELS_FIRST))
    x = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
    cpu = ["CPUExecutionProvider"]
    before, after = (onnxruntime.InferenceSession(path, providers=cpu) for path in (source, target))
    assert after.get_inputs()[0].shape == ["batch", 8, 8, 3]
    expected = before.run(None, {"x": x})[0]
    np.testing.assert_allclose(after.run(None, {"x": np.moveaxis(x, 1, -1)})[0], expected, rtol=1e-6)


def test_a_keras_model_takes_channels_first(keras_models: Path, tmp_path: Path) -> None:
    script = """
import sys
sys.path.insert(0, sys.argv[1])
import keras, numpy
from safeconvert.converters.hop_function import InputPermutation
from safeconvert.converters.support.input_layout import permute_keras_inputs
model = keras.saving.load_model(sys.argv[2])
changed = permute_keras_inputs(model, InputPermutation((model.inputs[0].name,), (0, 2, 3, 1)))
assert changed.inputs[0].shape == (None, 3, 8, 8), changed.inputs
x = numpy.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
numpy.testing.assert_allclose(changed(numpy.moveaxis(x, -1, 1)), model(x), rtol=1e-5, atol=1e-6)
"""
    run_script("tensorflow", script, tmp_path, [str(Path(__file__).parents[3]), str(keras_models / "model.keras")])
