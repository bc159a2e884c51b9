"""TFLite files are run in LiteRT and in TensorFlow's own interpreter, and are right only where both say so."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safeconvert.repair.second_runtime_faults import differing_operators

from safeconvert.checking.second_runtime import in_second_runtime, unavailable_reason
from safeconvert.comparison.tolerance import Tolerance
from safeconvert.formats import KERAS, TFLITE
from safeconvert.models.input_mapping import Mismatch, map_inputs
from safeconvert.models.loaded_model import LoadedModel
from safeconvert.workers.pool import WorkerPool
from tests.support.command import made_by, safeconvert

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
# The same beside a branch that is right, which outvotes it on most inputs; its weights are rounded.
keras.utils.set_random_seed(2)
right = layers.Conv2D(24, 3, strides=2, padding="same", activation="relu")(inputs)
wide = layers.Conv2D(24, 3, padding="same", activation="relu")(inputs)
wide = layers.Conv2D(48, 3, strides=4, padding="same", activation="relu")(wide)
one, other = layers.Dense(10)(layers.Flatten()(right)), layers.Dense(10)(layers.Flatten()(wide))
model = keras.Model(inputs, layers.Add(name="out")([one, layers.Rescaling(0.8)(other)]))
model.save("outvoted.keras")
converter = tf.lite.TFLiteConverter.from_keras_model(model)
converter.optimizations = [tf.lite.Optimize.DEFAULT]
open("outvoted.tflite", "wb").write(converter.convert())
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
right = keras.models.load_model("SOURCE").predict(x, verbose=0)
labels = (np.stack(rows).argmax(1) != right.argmax(1)).mean()
np.save("apart.npy", [np.abs(np.stack(rows) - right).max(), labels])
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runtimes")
    made_by(MODEL, folder)
    np.savez(folder / "x.npz", image=np.random.default_rng(0).normal(size=(16, *SIZES)).astype("float32"))
    return folder


def apart(folder: Path, name: str, source: str = "source.keras", *, labels: bool = False) -> float:
    """The largest difference of the file in TensorFlow's own interpreter from the Source, or the share of labels."""
    made_by(IN_TENSORFLOW.replace("FILE", name).replace("SOURCE", source), folder)
    return float(np.load(folder / "apart.npy")[int(labels)])


def report(done: Any) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(done.out)
    return said


def test_a_file_that_only_one_runtime_answers_rightly_is_not_verified(models: Path) -> None:
    by = apart(models, "plain.tflite")
    said = report(safeconvert("check", "source.keras", "plain.tflite", "--inputs", "x.npz", "--json", folder=models))
    assert (said["verdict"] == "verified") == (by < 1e-3)
    assert by < 1e-3 or "TensorFlow's own interpreter" in said["reasons"][0]


def test_a_conversion_gives_a_file_that_both_runtimes_answer_rightly(models: Path) -> None:
    done = safeconvert("keras2tflite", "source.keras", "--inputs", "x.npz", "-o", "out.tflite", "--json", folder=models)
    assert done.code == 0, done.out + done.err
    assert apart(models, "out.tflite") < 1e-4
    said = report(done)
    if apart(models, "plain.tflite") > 1e-3:  # the converter's own file
        assert said["verdict"] == "repaired"
        assert said["check"]["before"]["calibration"]["max_abs"] > 1e-3
        assert [(fault["type"], fault["source_node"], fault["status"]) for fault in said["faults"]] == [
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
        assert [(fault["type"], fault["source_node"]) for fault in report(done)["faults"]] == [("LH", "sparse")]


def test_rounded_weights_excuse_no_label_in_the_second_runtime(models: Path) -> None:
    wrong = apart(models, "outvoted.tflite", "outvoted.keras", labels=True)
    done = safeconvert("check", "outvoted.keras", "outvoted.tflite", "--inputs", "x.npz", "--json", folder=models)
    said = report(done)
    assert (said["verdict"], wrong < 0.1) in {("diverged", False), ("verified", True)}
    if wrong > 0.1:
        counts = [said["check"]["after"][part]["labels_differ"] for part in ("calibration", "heldout")]
        assert sum(counts) == round(wrong * 16)  # what was measured is what the second runtime answers


def test_operators_are_named_that_the_two_runtimes_compute_differently(models: Path) -> None:
    by = apart(models, "plain.tflite")
    with WorkerPool() as workers:
        source = LoadedModel(workers, "source", KERAS.written_at(models / "source.keras"))
        target = LoadedModel(workers, "target", TFLITE.written_at(models / "plain.tflite"))
        source.worker()
        target.worker()
        other = in_second_runtime(source, target)
        assert other is not None
        other.worker()
        mapping = map_inputs(source.signature, {"image": (None, *SIZES)}, target.signature)
        assert not isinstance(mapping, Mismatch)
        arrays = {"image": np.load(models / "x.npz")["image"][:1]}
        faults = differing_operators(source, other, mapping, arrays, Tolerance())
    assert [(fault.type, fault.source_node) for fault in faults] == ([] if by < 1e-3 else [("LH", "sparse")])


@pytest.mark.parametrize(("deaths", "asked"), [(1, True), (2, False)])
def test_a_second_runtime_whose_process_dies_is_asked_once_more(models: Path, deaths: int, asked: bool) -> None:
    with WorkerPool() as workers:
        source = LoadedModel(workers, "source", KERAS.written_at(models / "source.keras"))
        target = LoadedModel(workers, "target", TFLITE.written_at(models / "plain.tflite"))
        target.worker()
        other = in_second_runtime(source, target)
        assert other is not None
        assert in_second_runtime(source, target) is other  # loaded once

        def kill() -> None:
            """As it loads TensorFlow, so often."""
            seen = set[int]()
            while len(seen) < deaths:
                worker = workers._workers.get(other.worker_name)
                if worker is not None and worker.process.pid not in seen:
                    seen.add(worker.process.pid)
                    worker.process.kill()
                time.sleep(0.01)

        killer = threading.Thread(target=kill)
        killer.start()
        why = unavailable_reason(other)
        killer.join()
        assert (why == "") == asked
        assert asked or "could not be asked" in why
