"""``repair`` as a person runs it: a Target with something wrong comes back mended, in its own format and pieces."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import onnx
import pytest

from safeconvert.reporting.document import schema
from tests.support.command import made_by, safeconvert
from tests.support.framework_alone import alone
from tests.support.seeded_faults import ENOUGH, broken
from tests.support.seeded_nets import behind, net, weights

TORCH = """
import torch
program = torch.export.load("source.pt2")
program.state_dict["head.weight"].data[2] *= -0.5
torch.export.save(program, "target.pt2")
"""
KERAS = """
import keras
keras.utils.set_random_seed(0)
layers = keras.layers
inputs = keras.Input((12, 9, 3), name="image")
x = layers.Conv2D(6, 3, padding="same", name="first")(inputs)
x = layers.ReLU()(layers.BatchNormalization(name="norm")(x))
x = layers.Conv2D(8, 3, strides=2, padding="same", name="second")(x)
model = keras.Model(inputs, layers.Dense(5, name="head")(layers.Flatten()(x)))
model.save("source.keras")
layer = model.get_layer("norm")
values = layer.get_weights()
values[0] = values[0] * [1, 1, 3, 1, 1, -1]
layer.set_weights(values)
model.save("target.keras")
"""


def repair(folder: Path, suffix: str, sizes: tuple[int, ...], code: int = 0) -> dict[str, Any]:
    np.savez(folder / "x.npz", np.random.default_rng(0).normal(size=(24, *sizes)).astype("float32"))
    models = [f"{name}{suffix}" for name in ("source", "target", "fixed")]
    done = safeconvert("repair", *models[:2], "-o", models[2], "--inputs", "x.npz", "--json", folder=folder)
    assert done.code == code, done.out + done.err
    report: dict[str, Any] = json.loads(done.out)
    jsonschema.validate(report, schema())
    return report


def same(folder: Path, suffix: str, format: str, sizes: tuple[int, ...]) -> bool:
    """Do Source and repaired Target, each in a fresh process with its framework alone, agree on fresh inputs?"""
    x = np.random.default_rng(1).normal(size=(1, *sizes)).astype("float32")
    a, b = (alone(folder / f"{name}{suffix}", format, x) for name in ("source", "fixed"))
    return bool(np.abs(a - b).max() <= ENOUGH * np.abs(a).max())


def test_an_onnx_target_comes_back_with_all_faults_repaired(tmp_path: Path) -> None:
    onnx.save(net(), tmp_path / "source.onnx")
    onnx.save(broken("epsilon", "alpha", "head bias"), tmp_path / "target.onnx")
    report = repair(tmp_path, ".onnx", (3, 20, 14))
    assert report["verdict"] == "repaired"
    named = {(fault["type"], fault["target_node"], fault["status"]) for fault in report["faults"]}
    assert named == {("LH", "b1", "repaired"), ("LH", "lr", "repaired"), ("WB", "y", "repaired")}
    assert same(tmp_path, ".onnx", "onnx", (3, 20, 14))


def test_a_weight_of_a_torch_target_is_set_and_nothing_else(torch_models: Path, tmp_path: Path) -> None:
    (tmp_path / "source.pt2").write_bytes((torch_models / "model.pt2").read_bytes())
    made_by(TORCH, tmp_path)
    report = repair(tmp_path, ".pt2", (3, 8, 8))
    assert [(fault["type"], fault["target_node"]) for fault in report["faults"]] == [("WB", "head")]
    made_by(
        "import torch\n"
        "a, b = (torch.export.load(f'{name}.pt2').state_dict for name in ('source', 'fixed'))\n"
        "assert a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)",
        tmp_path,
    )
    assert same(tmp_path, ".pt2", "torch", (3, 8, 8))


def test_a_weight_of_a_keras_target_is_set_and_its_layers_keep_their_names(tmp_path: Path) -> None:
    made_by(KERAS, tmp_path)
    report = repair(tmp_path, ".keras", (12, 9, 3))
    assert report["verdict"] == "repaired"
    assert [(fault["type"], fault["target_node"]) for fault in report["faults"]] == [("WB", "norm")]
    made_by(
        "import keras\n"
        "a, b = (keras.saving.load_model(f'{name}.keras') for name in ('target', 'fixed'))\n"
        "assert [x.name for x in a.layers] == [x.name for x in b.layers]\n"
        "for x, y in zip(a.layers, b.layers):\n"
        "    for v, w in zip(x.get_weights(), y.get_weights()):\n"
        "        assert (v == w).all() or x.name == 'norm'\n",
        tmp_path,
    )
    assert same(tmp_path, ".keras", "keras", (12, 9, 3))


def test_a_right_target_is_verified_and_copied(tmp_path: Path) -> None:
    for name in ("source", "target"):
        onnx.save(net(), tmp_path / f"{name}.onnx")
    report = repair(tmp_path, ".onnx", (3, 20, 14))
    assert (report["verdict"], report["faults"]) == ("verified", [])
    assert (tmp_path / "fixed.onnx").read_bytes() == (tmp_path / "target.onnx").read_bytes()


def test_a_target_with_other_weights_is_said_to_be_another_model(tmp_path: Path) -> None:
    onnx.save(net(), tmp_path / "source.onnx")
    onnx.save(net(seed=5), tmp_path / "target.onnx")
    report = repair(tmp_path, ".onnx", (3, 20, 14), code=1)
    assert report["verdict"] == "diverged"
    assert "another model" in json.dumps(report)
    assert not (tmp_path / "fixed.onnx").exists()
    assert (tmp_path / "fixed.unverified.onnx").exists()


@pytest.mark.parametrize("output", ["source.onnx", "target.onnx"])
def test_neither_model_is_overwritten(output: str, tmp_path: Path) -> None:
    target = net()
    weights(target, "c1_w", lambda a: a * 2)
    behind(target, "r2", "Sigmoid")
    onnx.save(net(), tmp_path / "source.onnx")
    onnx.save(target, tmp_path / "target.onnx")
    before = (tmp_path / output).read_bytes()
    done = safeconvert("repair", "source.onnx", "target.onnx", "-o", output, "--force", folder=tmp_path)
    assert done.code == 2
    assert "itself" in done.err
    assert (tmp_path / output).read_bytes() == before
