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

def measured(*stack):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([layers.Input((6, 4), name="x"), *stack])
    register("net.keras", tensorflow_model.keras_model(model))
    tensorflow_tflite.keras_function("net.keras", "net.tflite")
    interpreter = Interpreter("net.tflite")
    interpreter.allocate_tensors()
    x = np.random.default_rng(1).normal(size=(1, 6, 4)).astype("float32")
    (input_details,), (output_details,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.set_tensor(input_details["index"], x)
    interpreter.invoke()
    error = np.abs(interpreter.get_tensor(output_details["index"]) - model.predict_on_batch(x)).max()
    return {"batch": int(input_details["shape_signature"][0]), "error": float(error)}

json.dump(
    {
        "recurrent": measured(layers.Bidirectional(layers.LSTM(3, return_sequences=True)), layers.GRU(2)),
        "dense": measured(layers.Dense(3)),
    },
    open("values.json", "w"),
)
"""


@pytest.mark.parametrize(("net", "batch"), [("recurrent", 1), ("dense", -1)])
def test_a_recurrent_model_is_converted_at_a_batch_of_one(
    measured: dict[str, dict[str, float]], net: str, batch: int
) -> None:
    assert measured[net]["batch"] == batch
    assert measured[net]["error"] < 1e-5


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, float]]:
    folder = tmp_path_factory.mktemp("recurrent")
    run_script("tensorflow", SCRIPT, folder)
    loaded: dict[str, dict[str, float]] = json.loads((folder / "values.json").read_text())
    return loaded
