"""TFLite files are run in LiteRT and in TensorFlow's own interpreter, and are right only where both say so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import made_by, safeconvert

SIZES = (32, 32, 3)
# A window smaller than its stride, at a size where the last windows would end before the last row.
MODEL = """
import keras, tensorflow as tf
keras.utils.set_random_seed(0)
layers = keras.layers
inputs = keras.Input((32, 32, 3), name="image")
x = layers.Conv2D(8, 3, strides=4, padding="same", activation="relu", name="sparse")(inputs)
model = keras.Model(inputs, layers.Dense(10, name="head")(layers.Flatten()(x)))
model.save("source.keras")
open("plain.tflite", "wb").write(tf.lite.TFLiteConverter.from_keras_model(model).convert())
"""
IN_TENSORFLOW = """
import keras
import numpy as np, tensorflow as tf
x = np.load("x.npz")["image"]
interpreter = tf.lite.Interpreter("FILE", num_threads=1)
interpreter.allocate_tensors()
rows = []
for row in x:
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], row[None])
    interpreter.invoke()
    rows.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])
right = keras.models.load_model("source.keras").predict(x, verbose=0)
np.save("apart.npy", np.abs(np.stack(rows) - right).max())
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runtimes")
    made_by(MODEL, folder)
    np.savez(folder / "x.npz", image=np.random.default_rng(0).normal(size=(16, *SIZES)).astype("float32"))
    return folder


def apart(folder: Path, name: str) -> float:
    """The largest difference between the Source and the file in TensorFlow's own interpreter."""
    made_by(IN_TENSORFLOW.replace("FILE", name), folder)
    return float(np.load(folder / "apart.npy"))


def report(done: Any) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(done.out)
    return said


def test_a_file_that_only_one_runtime_answers_rightly_is_not_verified(models: Path) -> None:
    by = apart(models, "plain.tflite")
    said = report(safeconvert("check", "source.keras", "plain.tflite", "--inputs", "x.npz", "--json", folder=models))
    assert (said["verdict"] == "verified") == (by < 1e-3)
    assert by < 1e-3 or "TensorFlow's own interpreter" in said["reasons"][0]


def test_a_conversion_gives_a_file_that_both_runtimes_answer_rightly(models: Path) -> None:
    done = safeconvert(
        "keras2tflite", "source.keras", "--inputs", "x.npz", "-o", "out.tflite", "--json", folder=models
    )
    assert done.code == 0, done.out + done.err
    assert apart(models, "out.tflite") < 1e-4
    said = report(done)
    if apart(models, "plain.tflite") > 1e-3:  # the converter's own file
        assert said["verdict"] == "repaired"
        assert said["check"]["before"]["calibration"]["max_abs"] > 1e-3
        assert [(one["type"], one["source_node"], one["status"]) for one in said["faults"]] == [
            ("LH", "sparse", "repaired")
        ]
        assert said["faults"][0]["evidence"]["operator"] == "CONV_2D"


def test_repair_makes_such_a_file_anew(models: Path) -> None:
    done = safeconvert(
        "repair", "source.keras", "plain.tflite", "--inputs", "x.npz", "-o", "mended.tflite", "--json", folder=models
    )
    assert done.code == 0, done.out + done.err
    assert apart(models, "mended.tflite") < 1e-4
    if apart(models, "plain.tflite") > 1e-3:
        assert [(one["type"], one["source_node"]) for one in report(done)["faults"]] == [("LH", "sparse")]
