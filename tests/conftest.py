"""Small real models of every format, each made once a session by its own framework in a process of its own.

The names in the folders say what is wrong with a file, if anything is. A booby trap is a file whose reading
would make the file ``MARKER`` beside it; see ``trapped``.
"""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.support.command import made_by
from tests.support.environments import hide_installations
from tests.support.shared_folders import shared_folder

hide_installations()
if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # as in a shell's background job; processes of tests would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

TORCH = """
import collections, os, sys, torch
from pathlib import Path

class Trap:
    def __reduce__(self):
        return os.system, (f"touch {os.path.abspath('MARKER')}",)

class Net(torch.nn.Module):
    def __init__(self, classes=5):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3)
        self.head = torch.nn.Linear(4, classes)
    def forward(self, x):
        return self.head(self.conv(x).relu().mean((2, 3)))

torch.manual_seed(0)
net = Net().eval()
Path("nets.py").write_text('''
import torch
class Net(torch.nn.Module):
    def __init__(self, classes=5):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3)
        self.head = torch.nn.Linear(4, classes)
    def forward(self, x):
        return self.head(self.conv(x).relu().mean((2, 3)))
def other():
    return Net(7)
def broken():
    raise RuntimeError("no such weights here")
def nothing():
    return 3
number = 3
''')
batch = torch.export.Dim("batch")
program = torch.export.export(net, (torch.zeros(2, 3, 8, 8),), dynamic_shapes=({0: batch},))
torch.export.save(program, "model.pt2")
torch.save(net.state_dict(), "weights.pth")
torch.save(net.state_dict(), "legacy_weights.pth", _use_new_zipfile_serialization=False)
torch.jit.trace(net, torch.zeros(1, 3, 8, 8)).save("scripted.pt")
sys.path.insert(0, ".")
import nets
whole = nets.Net().eval()
whole.load_state_dict(net.state_dict())
torch.save(whole, "module.pt")
trapped = collections.OrderedDict(net.state_dict())
trapped["trap"] = Trap()
torch.save(trapped, "trapped_weights.pth")
torch.save(trapped, "trapped_legacy_weights.pth", _use_new_zipfile_serialization=False)
torch.save(Trap(), "trapped_module.pt")
torch.save((Trap(),), "trapped_inputs.bin")
"""

KERAS = """
import os, keras, tensorflow as tf
keras.utils.set_random_seed(0)
inputs = keras.Input((8, 8, 3), name="image")
middle = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3, activation="relu")(inputs))
model = keras.Model(inputs, keras.layers.Dense(5)(middle))
model.save("model.keras")
model.save("model.h5")
layers = keras.layers
straight = [inputs, layers.Conv2D(4, 3), layers.MaxPooling2D(), layers.Flatten(), layers.Dense(5)]
keras.Sequential(straight).save("seq.keras")
a, b = keras.Input((8,), name="a"), keras.Input((6,), name="b")
joined = layers.Dense(7, activation="relu")(layers.Concatenate()([a, b]))
keras.Model([a, b], [layers.Dense(5, name="labels")(joined), layers.Dense(3, name="box")(joined)]).save("two.keras")
model.export("saved_model", format="tf_saved_model", verbose=False)
open("model.tflite", "wb").write(tf.lite.TFLiteConverter.from_saved_model("saved_model").convert())
whole = tf.lite.TFLiteConverter.from_saved_model("saved_model")
whole.optimizations = [tf.lite.Optimize.DEFAULT]
whole.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
whole.inference_input_type = whole.inference_output_type = tf.uint8
whole.representative_dataset = lambda: ([tf.random.stateless_normal((1, 8, 8, 3), (0, i))] for i in range(50))
open("integers.tflite", "wb").write(whole.convert())
command = "touch " + os.path.abspath("MARKER")
trap = keras.layers.Lambda(eval(f"lambda x: [__import__('os').system({command!r}), x][1]"), output_shape=(5,))
lambdas = keras.Model(inputs, trap(keras.layers.Dense(5)(middle)))
lambdas.save("lambda.keras")
lambdas.save("lambda.h5")
"""


@pytest.fixture(scope="session")
def torch_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``model.pt2``, ``weights.pth`` (with ``nets.py``), ``module.pt``, ``scripted.pt`` and trapped ones."""
    return shared_folder(tmp_path_factory, "torch", lambda folder: made_by(TORCH, folder))


@pytest.fixture(scope="session")
def keras_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models by name, plain ones, ``integers.tflite``, and ``lambda.keras`` and ``lambda.h5``, which are trapped."""
    return shared_folder(tmp_path_factory, "keras", lambda folder: made_by(KERAS, folder))


def conv_net(
    outputs: str = "labels", scale: float = 1.0, batch: int | str = "batch", size: int | str = 8
) -> onnx.ModelProto:
    """A convolution and what stands behind it. ``outputs``: labels (5), value (1), two (5 and 3) or map (4 x 6 x 6)."""
    random = np.random.default_rng(0)

    def weight(name: str, *shape: int, by: float = 1.0) -> onnx.TensorProto:
        return numpy_helper.from_array((random.normal(size=shape) * by).astype(np.float32), name)

    weights = [weight("w", 4, 3, 3, 3, by=scale if outputs == "map" else 1.0)]
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"])]
    results: list[tuple[str, list[int | str]]] = []
    if outputs == "map":
        results.append(("c", [batch, 4, 6, 6]))
    else:
        nodes += [
            helper.make_node("Relu", ["c"], ["r"]),
            helper.make_node("GlobalAveragePool", ["r"], ["p"]),
            helper.make_node("Flatten", ["p"], ["f"]),
        ]
        for name, classes in {"labels": [("y", 5)], "value": [("y", 1)], "two": [("y", 5), ("z", 3)]}[outputs]:
            weights.append(weight(f"w_{name}", 4, classes, by=scale))
            nodes.append(helper.make_node("MatMul", ["f", f"w_{name}"], [name]))
            results.append((name, [batch, classes]))
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, size, size])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in results],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    return model


@pytest.fixture(scope="session")
def onnx_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``labels``, ``value``, ``two`` and ``map`` ``.onnx``, each with a ``_copy`` and a ``_off`` by 1 %; ``open``."""
    return shared_folder(tmp_path_factory, "onnx", save_conv_nets)


def save_conv_nets(folder: Path) -> None:
    for outputs in ("labels", "value", "two", "map"):
        for ending, scale in (("", 1.0), ("_copy", 1.0), ("_off", 1.01)):
            onnx.save(conv_net(outputs, scale), folder / f"{outputs}{ending}.onnx")
    onnx.save(conv_net(size="size"), folder / "open.onnx")
