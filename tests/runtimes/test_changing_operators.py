"""Which operators of a model are random or in training mode, in each runtime's own process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.command import made_by

TORCH = """
import json, torch
from pathlib import Path
from safeconvert.runtimes.pytorch.changing_operators import program_operators, script_operators
nn = torch.nn
def program(net):
    return program_operators(torch.export.export(net, (torch.randn(4, 6),)))
class Noise(nn.Module):
    def forward(self, x):
        return x + torch.randn_like(x)
train = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5)).train()
found = {
    "training": program(train), "evaluation": program(train.eval()), "noise": program(Noise()),
    "script": script_operators(torch.jit.trace(train.train(), torch.randn(4, 6), check_trace=False)),
    "script evaluated": script_operators(torch.jit.trace(train.eval(), torch.randn(4, 6))),
    "module": script_operators(train),
}
Path("found.json").write_text(json.dumps({name: sorted(set(names)) for name, names in found.items()}))
"""
TENSORFLOW = """
import json, keras, tensorflow as tf
from pathlib import Path
from safeconvert.runtimes.tensorflow.model import changing_operators, keras_model
layers = keras.layers
x = keras.Input((8, 8, 3))
quiet = keras.Model(x, layers.Dropout(0.5)(layers.BatchNormalization()(layers.GaussianNoise(1.0)(x))))
def of(function):
    spec = tf.TensorSpec([None, 8, 8, 3], tf.float32)
    return sorted(set(changing_operators(tf.function(function, input_signature=[spec]).get_concrete_function())))
inner = tf.function(lambda x: x + tf.random.uniform(tf.shape(x)))
ones = tf.ones([3])
found = {
    "plain": sorted(set(keras_model(quiet).changing_operators())),
    "random": of(inner),
    "statistics": of(lambda x: tf.compat.v1.nn.fused_batch_norm(x, ones, ones, is_training=True)[0]),
}
Path("found.json").write_text(json.dumps(found))
"""


def changing_operators(script: str, folder: Path) -> dict[str, list[str]]:
    names: dict[str, list[str]] = json.loads((made_by(script, folder) / "found.json").read_text())
    return names


@pytest.fixture(scope="module")
def torch_operators(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    return changing_operators(TORCH, tmp_path_factory.mktemp("torch"))


def test_torch_operators_in_training_mode_and_random_ones_are_named(torch_operators: dict[str, list[str]]) -> None:
    both = ["aten.batch_norm in training mode", "aten.dropout in training mode"]
    assert torch_operators["training"] == both
    assert torch_operators["script"] == both
    assert torch_operators["noise"] == ["aten.randn_like"]


@pytest.mark.parametrize("name", ["evaluation", "script evaluated", "module"])
def test_torch_models_in_evaluation_mode_have_none(torch_operators: dict[str, list[str]], name: str) -> None:
    assert torch_operators[name] == []


def test_tensorflow_operators_are_named_also_in_called_functions(tmp_path: Path) -> None:
    names = changing_operators(TENSORFLOW, tmp_path)
    assert names["plain"] == []
    assert names["random"] == ["RandomUniform"]
    assert names["statistics"] == ["FusedBatchNormV3 in training mode"]
