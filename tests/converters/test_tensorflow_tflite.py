"""Recurrent Keras models become TFLite, at a batch of 1; a batch stays free where no layer is recurrent."""

from __future__ import annotations

import json

import pytest

from tests.support.warm_processes import run_script

SCRIPT = """
import json, keras, numpy as np
from keras import layers
from safeconvert.converters import tensorflow_tflite
from safeconvert.runtimes.registry import register
from safeconvert.runtimes.tensorflow import model as tensorflow_model
from ai_edge_litert.interpreter import Interpreter

def found(*stack):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([layers.Input((6, 4), name="x"), *stack])
    register("net.keras", tensorflow_model.keras_model(model))
    tensorflow_tflite.keras_function("net.keras", "net.tflite")
    interpreter = Interpreter("net.tflite")
    interpreter.allocate_tensors()
    x = np.random.default_rng(1).normal(size=(1, 6, 4)).astype("float32")
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.set_tensor(taken["index"], x)
    interpreter.invoke()
    error = np.abs(interpreter.get_tensor(given["index"]) - model.predict_on_batch(x)).max()
    return {"batch": int(taken["shape_signature"][0]), "error": float(error)}

json.dump(
    {
        "recurrent": found(layers.Bidirectional(layers.LSTM(3, return_sequences=True)), layers.GRU(2)),
        "dense": found(layers.Dense(3)),
    },
    open("found.json", "w"),
)
"""


@pytest.mark.parametrize(("net", "batch"), [("recurrent", 1), ("dense", -1)])
def test_a_recurrent_model_is_converted_at_a_batch_of_one(
    found: dict[str, dict[str, float]], net: str, batch: int
) -> None:
    assert found[net]["batch"] == batch
    assert found[net]["error"] < 1e-5


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, float]]:
    folder = tmp_path_factory.mktemp("recurrent")
    run_script("tensorflow", SCRIPT, folder)
    loaded: dict[str, dict[str, float]] = json.loads((folder / "found.json").read_text())
    return loaded
