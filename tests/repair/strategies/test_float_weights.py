"""Weights that a TFLite file holds rounded: told from other faults, and held in float32 again, as many as fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from safeconvert.reporting.document import schema
from safeconvert.runtimes.litert import float_weights
from tests.support.command import made_by, safeconvert
from tests.support.framework_alone import alone

SIZES = (10, 7, 3)
MODELS = """
import keras, tensorflow as tf
keras.utils.set_random_seed(3)
layers = keras.layers
inputs = keras.Input((10, 7, 3), name="image")
x = layers.ReLU()(layers.Conv2D(48, 3, padding="same", name="first")(inputs))
x = layers.ReLU()(layers.DepthwiseConv2D(5, padding="same", name="second")(x))
x = layers.ReLU()(layers.Conv2D(32, 1, name="third")(x))
model = keras.Model(inputs, layers.Dense(20, name="head")(layers.Flatten()(x)))
model.save("source.keras")
def write(name, *types):
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT] if name != "float" else []
    converter.target_spec.supported_types = types
    open(f"{name}.tflite", "wb").write(converter.convert())
write("float")
write("dynamic")
write("half", tf.float16)
weights = model.get_layer("third").get_weights()
model.get_layer("third").set_weights([weights[0] * ([1, -1.5] * 16), weights[1]])
write("wrong")
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = made_by(MODELS, tmp_path_factory.mktemp("precision"))
    np.savez(folder / "x.npz", np.random.default_rng(0).normal(size=(240, *SIZES)).astype("float32"))
    return folder


def run(folder: Path, *arguments: str, code: int | None = 0) -> dict[str, Any]:
    done = safeconvert(*arguments, "--inputs", "x.npz", "--json", "--force", folder=folder)
    assert code is None or done.code == code, done.out + done.err
    report: dict[str, Any] = json.loads(done.out)
    jsonschema.validate(report, schema())
    return report


def apart(folder: Path, target: str) -> float:
    x = np.random.default_rng(1).normal(size=(1, *SIZES)).astype("float32")
    a, b = alone(folder / "source.keras", "keras", x), alone(folder / target, "tflite", x)
    return float(np.abs(a - b).max() / np.abs(a).max())


@pytest.mark.parametrize("name", ["dynamic", "half"])
def test_rounded_weights_are_told_by_content_and_restored_exactly(models: Path, tmp_path: Path, name: str) -> None:
    path, twin, target = str(models / f"{name}.tflite"), str(models / "float.tflite"), tmp_path / "made.tflite"
    weights = [weight.name for weight in float_weights.rounded_weights(path)]
    rounding = float_weights.match_roundings(path, twin)
    assert len(weights) >= 3
    assert set(rounding) == set(weights)
    assert 0 < max(rounding.values()) < 0.1
    size = float_weights.restore_float_weights(path, twin, weights, str(target))
    assert size == target.stat().st_size > Path(path).stat().st_size
    assert apart(models, f"{name}.tflite") > 1e-6
    x = np.random.default_rng(1).normal(size=(1, *SIZES)).astype("float32")
    np.testing.assert_allclose(alone(target, "tflite", x), alone(Path(twin), "tflite", x), rtol=0, atol=1e-6)
    assert float_weights.rounded_weights(str(target)) == []


def test_weights_of_another_model_are_no_rounding_of_the_twins(models: Path) -> None:
    right = float_weights.match_roundings(str(models / "dynamic.tflite"), str(models / "float.tflite"))
    wrong = float_weights.match_roundings(str(models / "wrong.tflite"), str(models / "float.tflite"))
    assert len(wrong) == len(right) - 1


def test_the_cost_of_a_rounding_is_the_change_of_the_outputs_by_it_alone(models: Path) -> None:
    path, twin = str(models / "dynamic.tflite"), str(models / "float.tflite")
    names = list(float_weights.match_roundings(path, twin))
    x = {"image": np.random.default_rng(2).normal(size=(4, *SIZES)).astype("float32")}
    costs = float_weights.rounding_costs(path, twin, names, x, 60)
    assert set(costs) == set(names)
    assert min(costs.values()) > 0
    assert (
        float_weights.rounding_costs(path, twin, names[:1], {"image": x["image"] * 3}, 60)[names[0]] > costs[names[0]]
    )


def test_repair_restores_what_rounding_changed_and_shows_the_choice(models: Path) -> None:
    report = run(models, "repair", "source.keras", "dynamic.tflite", "-o", "whole.tflite")
    assert report["verdict"] == "repaired"
    assert report["check"]["before"]["heldout"]["percent"] > 0
    assert {(entry["type"], entry["status"]) for entry in report["faults"]} == {("WB", "repaired")}
    assert {entry["source_node"] for entry in report["faults"]} == {"first", "second", "third", "head"}
    assert not report["target"]["quantized"]
    assert apart(models, "whole.tflite") < 1e-5
    note = next(entry for entry in report["notes"] if "rounded" in entry)
    assert "all rounded" in note
    assert "--max-size" in note


def test_a_size_is_kept_to_and_too_small_a_one_repairs_nothing(models: Path) -> None:
    smallest, whole = ((models / name).stat().st_size / 1e6 for name in ("dynamic.tflite", "float.tflite"))
    roomy = run(
        models, "repair", "source.keras", "dynamic.tflite", "-o", "mixed.tflite",
        "--max-size", f"{whole - 0.02:.4f}", code=None,
    )  # fmt: skip
    if roomy["verdict"] == "repaired":
        assert 1 <= len(roomy["faults"]) <= 3
    written = models / ("mixed.tflite" if roomy["verdict"] == "repaired" else "mixed.unverified.tflite")
    assert smallest * 1e6 < written.stat().st_size <= (whole - 0.02) * 1e6
    tight = run(
        models,
        "repair",
        "source.keras",
        "dynamic.tflite",
        "-o",
        "tight.tflite",
        "--max-size",
        f"{smallest:.4f}",
        code=1,
    )
    assert tight["verdict"] == "diverged"
    assert [fault["status"] for fault in tight["faults"]] == ["unrepaired"] * 4
    assert not (models / "tight.tflite").exists()


def test_a_wrong_weight_in_a_quantised_file_is_not_taken_for_rounding(models: Path) -> None:
    report = run(models, "repair", "source.keras", "wrong.tflite", "-o", "right.tflite", "--max-discrepancy", "20")
    assert [(fault["type"], fault["status"]) for fault in report["faults"]] == [("WB", "repaired")]
    assert "third" in report["faults"][0]["target_node"]
    assert report["target"]["quantized"]


def test_a_conversion_with_rounded_weights_says_how_to_have_them_finer(models: Path) -> None:
    report = run(
        models,
        "keras2tflite",
        "source.keras",
        "--quantize",
        "dynamic",
        "--quantizer",
        "tflite-converter",
        "-o",
        "own.tflite",
        code=1,
    )
    assert any("--max-size" in reason for reason in report["reasons"])
    finer = run(
        models,
        "keras2tflite",
        "source.keras",
        "--quantize",
        "dynamic",
        "--quantizer",
        "tflite-converter",
        "-o",
        "own.tflite",
        "--max-size",
        "10",
    )
    assert finer["verdict"] == "repaired"
    assert finer["faults"]
    assert apart(models, "own.tflite") < 1e-5


def test_a_size_is_asked_for_only_where_weights_are_rounded(models: Path) -> None:
    for arguments in (
        ("keras2onnx", "source.keras", "-o", "o.onnx"),
        ("keras2tflite", "source.keras", "-o", "o.tflite"),
        ("repair", "source.keras", "source.keras", "-o", "o.keras"),
    ):
        done = safeconvert(*arguments, "--inputs", "x.npz", "--max-size", "1", folder=models)
        assert (done.code, "--max-size" in done.err) == (2, True)


def test_rounding_left_behind_a_wrong_weight_is_restored_as_well(models: Path) -> None:
    report = run(models, "repair", "source.keras", "wrong.tflite", "-o", "both.tflite")
    assert report["verdict"] == "repaired"
    assert {entry["status"] for entry in report["faults"]} == {"repaired"}
    first, *others = report["faults"]
    assert (first["type"], "third" in first["target_node"]) == ("WB", True)
    assert "third" in first["source_node"]
    assert others
    assert all(entry["repair"] == "float32 instead of its rounding" for entry in others)
    assert apart(models, "both.tflite") < 1e-5
