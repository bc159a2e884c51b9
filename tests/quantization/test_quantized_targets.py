"""Quantised TFLite Targets from the command line: kinds, budgets, integer inputs, and what is said without a budget."""

from __future__ import annotations

import importlib.util
import json
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from safeconvert.reporting.document import schema
from tests.support.command import made_by, safeconvert

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("litert_quantizer") is None,
    reason="litert-quantizer (the extra quantize) is not installed",
)
MODELS = """
import keras, numpy as np, tensorflow as tf
keras.utils.set_random_seed(0)
i = keras.Input((12, 12, 3), name="photo")
x = keras.layers.Conv2D(16, 3, padding="same", activation="relu", name="first")(i)
y = keras.layers.DepthwiseConv2D(3, padding="same", name="depth")(x)
x = keras.layers.Add(name="sum")([x, y])
x = keras.layers.Conv2D(32, 3, strides=2, activation="relu", name="second")(x)
x = keras.layers.GlobalAveragePooling2D()(x)
random = np.random.default_rng(1)
photos = random.normal(size=(120, 12, 12, 3)).astype("float32")
features = keras.Model(i, x).predict(photos, verbose=0)
kernel = random.normal(size=(32, 10)) / features.std(0)[:, None]
head = keras.layers.Dense(10, activation="softmax", name="head")
model = keras.Model(i, head(x))
head.set_weights([kernel, -features.mean(0) @ kernel])
model.save("source.keras")
np.savez("x.npz", photos)

z = keras.layers.Conv2D(4, 1, name="silent")
z.build((None, 12, 12, 3))
kernel, bias = np.random.default_rng(0).normal(size=(1, 1, 3, 4)).astype("float32"), np.array([0, 2.5, 0, 0], "float32")
kernel[..., 1] = 0
z.set_weights([kernel, bias])
silent = keras.Sequential([keras.Input((12, 12, 3)), z, keras.layers.GlobalAveragePooling2D()])
open("silent.tflite", "wb").write(tf.lite.TFLiteConverter.from_keras_model(silent).convert())
"""
BIASES = """
import json, pathlib, numpy as np
from safeconvert.runtimes.litert import quantizer
from safeconvert.runtimes.litert.model import load_tflite
from safeconvert.runtimes.litert.quantization_plan import QuantizationPlan
source = load_tflite("silent.tflite")
x = {source.inputs[0].name: np.load("x.npz")["arr_0"][:8]}
expected = np.concatenate([source.run({n: a[i:i + 1] for n, a in x.items()})[0] for i in range(8)])
quantizer.activation_values("silent.tflite", x, "values.npz")
errors = {}
for name, rule in (("kept", quantizer.with_scales), ("lost", lambda path: (pathlib.Path(path).read_bytes(), []))):
    quantizer.with_scales = rule
    quantizer.quantize_file("silent.tflite", name + ".tflite", QuantizationPlan("int8"), "values.npz", x)
    target = load_tflite(name + ".tflite")
    actual = np.concatenate([target.run({n: a[i:i + 1] for n, a in x.items()})[0] for i in range(8)])
    errors[name] = float(np.abs(actual - expected)[:, 1].max())
json.dump(errors, open("errors.json", "w"))
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_by(MODELS, tmp_path_factory.mktemp("quantised"))


def run(folder: Path, *options: str, code: int | None, output: str) -> dict[str, Any]:
    arguments = ("source.keras", "--inputs", "x.npz", "-o", output, "--force", "--json", *options)
    done = safeconvert("keras2tflite", *arguments, folder=folder)
    assert code is None or done.code == code, done.out + done.err
    report: dict[str, Any] = json.loads(done.out)
    jsonschema.validate(report, schema())
    return report


@pytest.fixture(scope="module")
def without_budget(models: Path) -> dict[str, Any]:
    return run(models, "--quantize", "int8", code=4, output="none.tflite")


def test_without_a_budget_nothing_is_shipped_and_each_kind_is_priced(
    without_budget: dict[str, Any], models: Path
) -> None:
    assert not list(models.glob("none*.tflite"))
    assert without_budget["target"] is None
    assert "no budget" in without_budget["reasons"][0]
    rows = {row["kind"]: row for row in without_budget["quantization"]["table"]}
    assert list(rows) == ["float16", "weights", "dynamic", "int8", "int16x8"]
    assert rows["weights"]["size"] < rows["float16"]["size"] < without_budget["quantization"]["float"]["size"]
    assert all(row["heldout"]["count"] == 60 and row["latency_ratio"] > 0 for row in rows.values())
    assert rows["int8"]["calibration"]["percent"] >= rows["int16x8"]["calibration"]["percent"]


def test_a_discrepancy_of_0_that_is_asked_for_is_a_budget(models: Path) -> None:
    report = run(models, "--quantize", "int8", "--max-discrepancy", "0", "--no-repair", code=1, output="zero.tflite")
    assert report["verdict"] == "diverged"
    assert not any("no budget" in reason for reason in report["reasons"])
    assert not report["quantization"]["table"]


def test_the_command_of_a_row_ships_that_row(without_budget: dict[str, Any], models: Path) -> None:
    row = next(row for row in without_budget["quantization"]["table"] if row["kind"] == "int8")
    command = shlex.split(row["command"])
    assert command[:2] == ["safeconvert", "keras2tflite"]
    done = safeconvert(*command[1:], "--json", folder=models)
    assert done.code == 0, done.out
    report = json.loads(done.out)
    assert report["quantization"]["float"]["verdict"] == "verified"
    assert [step["plan"] for step in report["quantization"]["frontier"] if step["shipped"]]
    assert (models / "none.tflite").stat().st_size == report["quantization"]["frontier"][-1]["size"]
    (models / "none.tflite").unlink()


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_integer_inputs_and_outputs_are_described_with_scale_and_zero_point(dtype: str, models: Path) -> None:
    options = ("--quantize", "int8", "--io-type", dtype, "--max-discrepancy", "60")
    report = run(models, *options, code=0, output=f"{dtype}.tflite")
    part = report["quantization"]
    for tensor in (*part["inputs"], *part["outputs"]):
        assert tensor["dtype"] == dtype
        assert tensor["scale"] > 0
    assert part["operators"]["float"] == []
    assert part["operators"]["integer_multiplications_percent"] == 100
    assert report["route"][-1]["converter"] == "litert-quantizer"


@pytest.mark.parametrize(
    ("limit", "reason"), [(("--max-size", "0.001"), "--max-size"), (("--max-latency-ratio", "1e-6"), "--max-latency")]
)
def test_a_broken_limit_ships_nothing_and_is_named(limit: tuple[str, ...], reason: str, models: Path) -> None:
    options = ("--quantize", "weights", "--max-discrepancy", "60", "--repair-time", "1", *limit)
    report = run(models, *options, code=1, output="limit.tflite")
    assert any(reason in line for line in report["reasons"])
    assert not (models / "limit.tflite").exists()


def test_what_plain_int8_breaks_is_mended_by_the_error_of_margins(models: Path) -> None:
    report = run(
        models, "--quantize", "int8", "--max-size", "1", "--repair-time", "60", code=None, output="mend.tflite"
    )
    plain, *steps = report["quantization"]["frontier"]
    assert plain["plan"] == "int8"
    assert plain["calibration"]["percent"] > 0
    assert any("ranges" in step["plan"] for step in steps)
    assert any("float32" in step["plan"] for step in steps)
    assert any("int16" in step["plan"] for step in steps)
    (chosen,) = [step for step in (plain, *steps) if step["heldout"] is not None]
    assert chosen["heldout"]["count"] == 60
    assert chosen["output_error"] < plain["output_error"]
    assert chosen["shipped"] == (report["verdict"] == "verified")


def test_a_wrong_float_target_is_not_quantised(models: Path) -> None:
    report = run(models, "--quantize", "int8", "--atol", "0", "--rtol", "0", code=1, output="float.tflite")
    assert any("was not quantised" in reason for reason in report["reasons"])
    assert "quantization" not in report


def test_a_channel_without_weights_keeps_its_bias(models: Path) -> None:
    made_by(BIASES + "# import tensorflow\n", models)
    errors = json.loads((models / "errors.json").read_text())
    assert errors["kept"] < 0.05
    assert errors["lost"] > 1, "the rule is no longer needed"
    assert np.isfinite(errors["lost"])
