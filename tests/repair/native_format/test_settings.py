"""Settings of a layer are set in the Target's own file, which stays what it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.schema_py_generated import ActivationFunctionType
from safeconvert.repair.native_format.settings import translated

from safeconvert.runtimes.litert.flatbuffer import packed, unpacked
from tests.support.command import made_by, safeconvert
from tests.support.framework_alone import alone

KERAS = """
import keras, tensorflow as tf
def net(**changed):
    keras.utils.set_random_seed(0)
    said = {"dilation_rate": 1, "negative_slope": 0.2, "padding": "same", **changed}
    image = keras.Input((12, 10, 3), name="image")
    x = keras.layers.Conv2D(8, 3, padding="same", dilation_rate=said["dilation_rate"], name="first")(image)
    x = keras.layers.LeakyReLU(negative_slope=said["negative_slope"], name="leaky")(x)
    x = keras.layers.DepthwiseConv2D(3, padding=said["padding"], name="second")(x)
    x = keras.layers.Conv2D(9, 3, activation="relu", name="third")(x)
    x = keras.layers.Conv2D(9, 1, name="fourth")(x)
    return keras.Model(image, keras.layers.Dense(7, name="head")(keras.layers.GlobalAveragePooling2D()(x)))
source = net()
source.save("source.keras")
def wrong(**changed):
    model = net(**changed)
    model.set_weights(source.get_weights())
    return model
wrong(dilation_rate=2, negative_slope=0.5).save("target.keras")
open("target.tflite", "wb").write(tf.lite.TFLiteConverter.from_keras_model(wrong(padding="valid")).convert())
"""
TORCH = """
import torch
class Net(torch.nn.Module):
    def __init__(self, dilation, counted):
        super().__init__()
        torch.manual_seed(0)
        self.conv = torch.nn.Conv2d(3, 8, 3, padding=dilation, dilation=dilation)
        self.pool = torch.nn.AvgPool2d(3, 2, padding=1, count_include_pad=counted)
        self.head = torch.nn.Linear(8 * 6 * 5, 7)
    def forward(self, x):
        return self.head(self.pool(self.conv(x).relu()).flatten(1))
batch = ({0: torch.export.Dim("batch")},)
for name, settings in (("source", (1, True)), ("target", (2, False))):
    program = torch.export.export(Net(*settings).eval(), (torch.zeros(2, 3, 12, 10),), dynamic_shapes=batch)
    torch.export.save(program, f"{name}.pt2")
"""


def repaired(folder: Path, source: str, target: str, sizes: tuple[int, ...]) -> dict[str, Any]:
    np.savez(folder / "x.npz", np.random.default_rng(0).normal(size=(24, *sizes)).astype("float32"))
    fixed = f"fixed{Path(target).suffix}"
    done = safeconvert("repair", source, target, "-o", fixed, "--inputs", "x.npz", "--json", folder=folder)
    assert done.code == 0, done.out + done.err
    report: dict[str, Any] = json.loads(done.out)
    assert report["verdict"] == "repaired"
    assert not [hop for hop in report["route"] if hop["hop"].startswith("onnx->")]  # no converter made it anew
    x = np.random.default_rng(1).normal(size=(1, *sizes)).astype("float32")
    formats = {".keras": "keras", ".tflite": "tflite", ".pt2": "torch"}
    a, b = (alone(folder / name, formats[Path(name).suffix], x) for name in (source, fixed))
    assert float(np.abs(a - b).max()) < 1e-4 * float(np.abs(a).max())
    return report


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_by(KERAS, tmp_path_factory.mktemp("settings"))


def test_two_layers_of_a_keras_model_get_their_settings(models: Path) -> None:
    report = repaired(models, "source.keras", "target.keras", (12, 10, 3))
    faults = {fault["target_node"]: fault for fault in report["faults"]}
    assert {name: fault["type"] for name, fault in faults.items()} == {"first": "LH", "leaky": "LH"}
    assert faults["first"]["evidence"]["set"] == {"dilation_rate": [1, 1]}
    assert faults["leaky"]["evidence"]["set"]["negative_slope"] == pytest.approx(0.2)


def test_operators_of_a_tflite_file_get_their_padding_and_the_activation_in_them(models: Path) -> None:
    model = unpacked((models / "target.tflite").read_bytes())
    fused = [
        operator.builtinOptions
        for operator in model.subgraphs[0].operators
        if _fused(operator) == ActivationFunctionType.RELU
    ]
    fused[-1].fusedActivationFunction = ActivationFunctionType.NONE
    (models / "target.tflite").write_bytes(packed(model))
    report = repaired(models, "source.keras", "target.tflite", (12, 10, 3))
    padded, activated = report["faults"]
    assert (padded["type"], padded["evidence"]["set"]) == ("LH", {"padding": "same"})
    assert (activated["type"], activated["evidence"]["set"]) == ("CG", {"fused_activation": "relu"})
    assert "third" in activated["target_node"]  # and not the one that reads it


def _fused(operator: Any) -> int:
    return int(getattr(operator.builtinOptions, "fusedActivationFunction", 0))


def test_operators_of_an_exported_program_get_their_settings(tmp_path: Path) -> None:
    report = repaired(made_by(TORCH, tmp_path), "source.pt2", "target.pt2", (3, 12, 10))
    assert {fault["target_node"]: fault["evidence"]["set"] for fault in report["faults"]} == {
        "conv": {"dilation": [1, 1], "padding": [1, 1]},
        "pool": {"count_include_pad": True},
    }


@pytest.mark.parametrize(
    ("evidence", "change", "meant"),
    [
        ({"stride": [2, 2]}, ("strides", [2, 2], [1, 1]), {"stride": [1, 1]}),
        ({"stride": 2}, ("strides", [2, 2], [1, 1]), {"stride": 1}),
        ({"stride": [3, 3]}, ("strides", [2, 2], [1, 1]), None),
        ({"stride": (1, 1)}, ("strides", [2, 2], [1, 1]), {"stride": (1, 1)}),  # called twice, and set already
        ({"padding": [1]}, ("pads", [1, 1, 1, 1], [0, 2, 0, 2]), {"padding": [0, 2]}),
        ({"padding": [1, 1]}, ("pads", [1, 1, 1, 1], [0, 0, 2, 2]), None),
        ({"padding": "valid"}, ("pads", [0, 0, 0, 0], [1, 1, 1, 1]), {"padding": "same"}),
        ({"padding": "causal"}, ("pads", [0, 0], [1, 1]), None),
        ({"ceil_mode": False}, ("ceil_mode", 0, 1), {"ceil_mode": True}),
        ({"epsilon": 1e-3}, ("epsilon", 1e-5, 1e-4), None),
        ({"epsilon": 1e-3}, ("momentum", 0.9, 0.8), None),
        ({"alpha": 0.5}, ("alpha", None, 0.2), None),
        ({"fused_activation": "relu6"}, ("fused_activation", "none", "relu"), None),
    ],
)
def test_a_setting_in_the_frameworks_words(
    evidence: dict[str, Any], change: tuple[str, Any, Any], meant: dict[str, Any] | None
) -> None:
    assert translated(evidence, *change) == meant


UNSCALED = """
import keras, numpy as np
def net(epsilon=1e-3, variance=1 - 1e-3, factor=None):
    keras.utils.set_random_seed(0)
    image = keras.Input((12, 10, 3), name="image")
    x = keras.layers.DepthwiseConv2D(3, padding="same", depth_multiplier=3, name="depth")(image)
    norm = keras.layers.BatchNormalization(epsilon=epsilon, name="norm")
    x = norm(x)
    if factor is not None:
        x = keras.layers.Rescaling(factor, name="factor")(x)
    x = keras.layers.ReLU(max_value=6.0, name="act")(x)
    model = keras.Model(image, keras.layers.Dense(7, name="head")(keras.layers.GlobalAveragePooling2D()(x)))
    shift = np.linspace(-0.3, 0.3, 9)
    norm.set_weights([np.ones(9), shift, np.zeros(9), np.full(9, variance)])
    return model
net().save("source.keras")
net(epsilon=2.0).save("setting.keras")
net(variance=3.0).save("weights.keras")
net(factor=1.7).save("added.keras")
"""


@pytest.fixture(scope="module")
def unscaled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_by(UNSCALED, tmp_path_factory.mktemp("unscaled"))


@pytest.mark.parametrize(
    ("target", "kind", "place"), [("setting", "LH", "norm"), ("weights", "WB", "norm"), ("added", "CG", "factor")]
)
def test_a_factor_of_one_that_the_view_leaves_out_is_no_missing_node(
    target: str, kind: str, place: str, unscaled: Path
) -> None:
    np.savez(unscaled / "x.npz", np.random.default_rng(0).normal(size=(24, 12, 10, 3)).astype("float32"))
    names = ("source.keras", f"{target}.keras", "-o", f"{target}-fixed.keras", "--inputs", "x.npz", "--json")
    done = safeconvert("repair", *names, folder=unscaled)
    assert [(fault["type"], fault["target_node"]) for fault in json.loads(done.out)["faults"]] == [(kind, place)]
