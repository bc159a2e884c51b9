"""Targets made for another size of image, in each format: the Source's sizes are declared in their own file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.command import made_by, safeconvert
from tests.support.framework_alone import alone

KERAS = """
import keras, tensorflow as tf
layers = keras.layers
def net(height, width):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((height, width, 3), name="image")
    x = layers.ReLU()(layers.Conv2D(8, 3, padding="same", name="first")(inputs))
    x = layers.ReLU()(layers.Conv2D(12, 3, strides=2, name="second")(x))
    return keras.Model(inputs, layers.Dense(7, name="head")(layers.GlobalAveragePooling2D()(x)))
right, other = net(12, 9), net(20, 16)
right.save("source.keras")
other.save("other.keras")
open("other.tflite", "wb").write(tf.lite.TFLiteConverter.from_keras_model(other).convert())
second = other.get_layer("second")
second.set_weights([second.get_weights()[0] * ([1, -2.0] * 6), second.get_weights()[1]])
other.save("both.keras")
"""
TORCH = """
import torch
torch.manual_seed(0)
net = torch.nn.Sequential(
    torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
    torch.nn.Linear(8, 7),
).eval()
for name, sizes in (("source", (12, 9)), ("other", (20, 16))):
    torch.export.save(torch.export.export(net, (torch.zeros(1, 3, *sizes),)), f"{name}.pt2")
"""


def repaired(folder: Path, source: str, target: str, sizes: tuple[int, ...]) -> dict[str, Any]:
    np.savez(folder / "x.npz", np.random.default_rng(0).normal(size=(20, *sizes)).astype("float32"))
    fixed = f"fixed{Path(target).suffix}"
    done = safeconvert("repair", source, target, "-o", fixed, "--inputs", "x.npz", "--json", "--force", folder=folder)
    assert done.code == 0, done.out + done.err
    report: dict[str, Any] = json.loads(done.out)
    assert report["verdict"] == "repaired"
    x = np.random.default_rng(1).normal(size=(1, *sizes)).astype("float32")
    formats = [{".pt2": "torch"}.get(Path(name).suffix, Path(name).suffix[1:]) for name in (source, fixed)]
    a, b = (alone(folder / name, format, x) for name, format in zip((source, fixed), formats, strict=True))
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    return report


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_by(KERAS, tmp_path_factory.mktemp("sizes"))


@pytest.mark.parametrize("target", ["other.keras", "other.tflite"])
def test_another_size_is_declared_in_the_file_itself(models: Path, target: str) -> None:
    report = repaired(models, "source.keras", target, (12, 9, 3))
    assert [(fault["type"], fault["source_node"]) for fault in report["faults"]] == [("ID", "image")]
    assert report["route"] == [], "no converter was needed"


def test_what_else_is_wrong_is_named_by_the_targets_own_layers(models: Path) -> None:
    report = repaired(models, "source.keras", "both.keras", (12, 9, 3))
    assert [(fault["type"], fault["target_node"]) for fault in report["faults"]] == [("ID", "image"), ("WB", "second")]


def test_a_torch_program_for_another_size_is_exported_anew(tmp_path: Path) -> None:
    made_by(TORCH, tmp_path)
    report = repaired(tmp_path, "source.pt2", "other.pt2", (3, 12, 9))
    assert [fault["type"] for fault in report["faults"]] == ["ID"]
    assert report["route"] == []


TURNED = """
import keras
layers = keras.layers
def net(sizes, turn):
    keras.utils.set_random_seed(0)
    inputs = x = keras.Input(sizes, name="image")
    x = layers.Permute((2, 1, 3), name="swap")(x) if turn else x
    x = layers.ReLU(name="after")(layers.Conv2D(8, 3, padding="same", name="first")(x))
    x = layers.Conv2D(12, 3, strides=2, name="second")(x)
    return keras.Model(inputs, layers.Dense(7, name="head")(layers.Flatten()(x)))
net((12, 9, 3), False).save("source.keras")
other = net((9, 12, 3), True)
second = other.get_layer("second")
second.set_weights([second.get_weights()[0] * ([1, -2.0] * 6), second.get_weights()[1]])
other.save("other.keras")
"""


def test_behind_turned_axes_faults_have_the_names_of_the_target_as_it_was_given(tmp_path: Path) -> None:
    made_by(TURNED, tmp_path)
    report = repaired(tmp_path, "source.keras", "other.keras", (12, 9, 3))
    assert [(fault["type"], fault["target_node"]) for fault in report["faults"]] == [("ID", "image"), ("WB", "second")]
