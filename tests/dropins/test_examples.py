"""The converters' own examples, as their documentation has them, with one import line changed.

Each runs the real converter and is verified; paths and sizes of models are those of small ones.
"""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from tests.support.live_scripts import run_live

STRICT = """
import warnings
from safeconvert.dropins import UnverifiedWarning, last_result
warnings.simplefilter("error", UnverifiedWarning)
"""
VERIFIED = """
assert last_result().verdict == "verified", last_result()
"""
TORCH_ONNX = """
from safeconvert.dropins import torch

class MyModel(torch.nn.Module):
    def __init__(self):
        super(MyModel, self).__init__()
        self.conv1 = torch.nn.Conv2d(1, 16, 5)

    def forward(self, x):
        return torch.relu(self.conv1(x))

input_tensor = torch.rand((1, 1, 32, 32), dtype=torch.float32)

model = MyModel()

torch.onnx.export(
    model,                  # model to export
    (input_tensor,),        # inputs of the model,
    "my_model.onnx",        # filename of the ONNX model
    input_names=["input"],  # Rename inputs for the ONNX model
    dynamo=True             # True or False to select the exporter to use
)
import onnx
assert onnx.load("my_model.onnx").graph.input[0].name == "input"
"""
ONNX2TORCH = """
import onnx
import torch
from safeconvert.dropins.onnx2torch import convert

# Path to ONNX model
onnx_model_path = "mobile_net_v2.onnx"
# You can pass the path to the onnx model to convert it or...
torch_model_1 = convert(onnx_model_path)

# Or you can load a regular onnx model and pass it to the converter
onnx_model = onnx.load(onnx_model_path)
torch_model_2 = convert(onnx_model)

import onnxruntime as ort

# Create example data
x = torch.ones((1, 3, 8, 8))

out_torch = torch_model_1(x)

ort_sess = ort.InferenceSession(onnx_model_path)
outputs_ort = ort_sess.run(None, {"x": x.numpy()})

# Check the Onnx output against PyTorch
print(np.max(np.abs(outputs_ort[0] - out_torch.detach().numpy())))
print(np.allclose(outputs_ort[0], out_torch.detach().numpy(), atol=1.0e-7))

assert isinstance(torch_model_2, torch.nn.Module) and torch_model_2.train().training
torch_model_2(x).sum().backward()
"""
TF2ONNX = """
import tensorflow as tf
from safeconvert.dropins import tf2onnx
import onnx

model = tf.keras.models.Sequential()
model.add(tf.keras.layers.Dense(4, activation="relu"))
model.add(tf.keras.layers.Dense(2))

input_signature = [tf.TensorSpec([3, 3], tf.float32, name='x')]
# Use from_function for tf functions
with warnings.catch_warnings(record=True) as caught:  # tf2onnx 1.17 raises for every Sequential model of Keras 3
    warnings.simplefilter("always")
    onnx_model, _ = tf2onnx.convert.from_keras(model, input_signature, opset=13)
onnx.save(onnx_model, "model.onnx")
assert any("from_keras raised KeyError; another conversion is verified" in str(warning.message) for warning in caught)
assert last_result().verdict == "verified", last_result()

function = tf.function(lambda x: tf.nn.relu(x) + 1.0)
onnx_model, _ = tf2onnx.convert.from_function(function, input_signature=[tf.TensorSpec([None, 3], name="x")], opset=13)
assert last_result().verdict == "verified", last_result()

onnx_model, _ = tf2onnx.convert.from_tflite("model.tflite", opset=13, output_path="from_tflite.onnx")
assert onnx.load("from_tflite.onnx") == onnx_model
"""
ONNXMLTOOLS = """
from safeconvert.dropins import onnxmltools
from keras.layers import Input, Dense, Add
from keras.models import Model

# N: batch size, C: sub-model input dimension, D: final output dimension
N, C, D = 2, 3, 3

# Define a sub-model, it will become a part of our final model
sub_input1 = Input(shape=(C,))
sub_mapped1 = Dense(D)(sub_input1)
sub_model1 = Model(inputs=sub_input1, outputs=sub_mapped1)

# Define another sub-model, it will become a part of our final model
sub_input2 = Input(shape=(C,))
sub_mapped2 = Dense(D)(sub_input2)
sub_model2 = Model(inputs=sub_input2, outputs=sub_mapped2)

# Define a model built upon the previous two sub-models
input1 = Input(shape=(D,))
input2 = Input(shape=(D,))
mapped1_2 = sub_model1(input1)
mapped2_2 = sub_model2(input2)
sub_sum = Add()([mapped1_2, mapped2_2])
keras_model = Model(inputs=[input1, input2], outputs=sub_sum)

# Convert it! The target_opset parameter is optional.
onnx_model = onnxmltools.convert_keras(keras_model, target_opset=13)
assert len(onnx_model.graph.input) == 2
"""
ONNX2KERAS = """
import onnx
from safeconvert.dropins.onnx2keras import onnx_to_keras

# Load ONNX model
onnx_model = onnx.load('resnet18.onnx')

# Call the converter (input - is the main model input name, can be different for your model)
k_model = onnx_to_keras(onnx_model, ['x'])
assert k_model.input_shape == (None, 3, 8, 8)
"""
TFLITE = """
from safeconvert.dropins import tensorflow as tf

# Convert the model
converter = tf.lite.TFLiteConverter.from_saved_model("saved_model") # path to the SavedModel directory
tflite_model = converter.convert()

# Save the model.
with open('model.tflite', 'wb') as f:
  f.write(tflite_model)
assert last_result().verdict == "verified", last_result()

# Convert the model
model = tf.keras.models.load_model("model.keras")
converter = tf.lite.TFLiteConverter.from_keras_model(model)
converter.optimizations = [tf.lite.Optimize.DEFAULT]
def representative_dataset():
  for seed in range(100):
    yield [tf.random.stateless_normal((1, 8, 8, 3), (0, seed))]
converter.representative_dataset = representative_dataset
tflite_quant_model = converter.convert()
assert converter.optimizations == [tf.lite.Optimize.DEFAULT] and b"TFL3" in tflite_quant_model[:8]
assert last_result().report["check"]["inputs"]["count"] == 100
assert last_result().report["target"]["sha256"]

# Convert the model
concrete_func = tf.function(lambda x: x * 2.0, input_signature=[tf.TensorSpec([1, 4])]).get_concrete_function()
converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete_func])
tflite_model = converter.convert()
"""


def files(onnx_models: Path, keras_models: Path, folder: Path) -> None:
    for name, original in {
        "mobile_net_v2.onnx": onnx_models / "labels.onnx",
        "resnet18.onnx": onnx_models / "labels.onnx",
        "model.tflite": keras_models / "model.tflite",
        "model.keras": keras_models / "model.keras",
        "saved_model": keras_models / "saved_model",
    }.items():
        (folder / name).symlink_to(original)


@pytest.mark.parametrize(
    ("framework", "example"),
    [
        ("torch", TORCH_ONNX),
        ("torch", ONNX2TORCH),
        ("tensorflow", TF2ONNX),
        ("tensorflow", ONNXMLTOOLS),
        ("tensorflow", ONNX2KERAS),
        ("tensorflow", TFLITE),
    ],
    ids=["torch.onnx", "onnx2torch", "tf2onnx", "onnxmltools", "onnx2keras", "TFLiteConverter"],
)
def test_an_example_runs_verified(
    framework: str, example: str, onnx_models: Path, keras_models: Path, tmp_path: Path
) -> None:
    files(onnx_models, keras_models, tmp_path)
    (tmp_path / "model.tflite").unlink() if example == TFLITE else None
    head = TORCHVISION if framework == "torch" else ""
    run_live(framework, f"{head}\n{STRICT}\n{example}\n{VERIFIED}", tmp_path)


TORCHVISION = inspect.cleandoc("""
    import torch
    from safeconvert.runtimes.pytorch.model import import_torchvision
    import_torchvision()  # with or without its compiled part
    torch.set_grad_enabled(True)
""")
SIGNATURES = """
import importlib, inspect
for module, path in json.loads(sys.argv[2]):
    original, ours = importlib.import_module(module), importlib.import_module(f"safeconvert.dropins.{module}")
    for name in path:
        original, ours = getattr(original, name), getattr(ours, name)
    assert ours is not original, (module, path)
    assert inspect.signature(ours) == inspect.signature(original), (module, path)
    assert (ours.__name__, ours.__doc__) == (original.__name__, original.__doc__), (module, path)
"""


def test_the_signatures_are_the_originals(tmp_path: Path) -> None:
    torch_calls = [("torch", ["onnx", "export"]), ("onnx2torch", ["convert"])]
    converter = ["lite", "TFLiteConverter"]
    constructors = ["from_keras_model", "from_saved_model", "from_concrete_functions"]
    tensorflow_calls = [
        *(("tf2onnx", ["convert", name]) for name in ("from_keras", "from_function", "from_tflite")),
        ("onnxmltools", ["convert_keras"]),
        ("onnx2keras", ["onnx_to_keras"]),
        *(("tensorflow", [*converter, name]) for name in constructors),
    ]
    for framework, head, calls in (("torch", TORCHVISION, torch_calls), ("tensorflow", "", tensorflow_calls)):
        code = f"{head}\ncalls = {calls!r}\n{SIGNATURES.replace('json.loads(sys.argv[2])', 'calls')}"
        run_live(framework, code, tmp_path)


def test_all_else_of_a_module_is_the_originals(tmp_path: Path) -> None:
    run_live(
        "torch",
        """
import torch as original
from safeconvert.dropins import torch
assert torch.nn is original.nn and torch.__version__ == original.__version__ and torch.onnx.ops is original.onnx.ops
assert torch.float32 is original.float32 and torch.onnx.__name__ == "torch.onnx"
try:
    torch.no_such_thing
except AttributeError as error:
    assert "no_such_thing" in str(error)
else:
    raise AssertionError("it was there")
""",
        tmp_path,
    )
