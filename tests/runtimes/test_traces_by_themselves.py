"""Traces of torch and TensorFlow models, called as in a worker: the last record is the model's output."""

from __future__ import annotations

from pathlib import Path

from tests.support.warm_processes import run_script

ROOT = str(Path(__file__).parents[2])
PYTORCH = """
import sys, numpy, torch
sys.path.insert(0, sys.argv[1])
from safeconvert.runtimes.pytorch.trace import trace
x = numpy.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype("float32")
(name,) = torch.export.load(sys.argv[2]).graph_signature.user_inputs
from safeconvert.runtimes.pytorch import model
model.load(sys.argv[2], "pt2")
records = trace(sys.argv[2], {name: x}, "trace")
expected = torch.export.load(sys.argv[2]).module()(torch.from_numpy(x)).numpy()
with numpy.load("trace") as stored:
    numpy.testing.assert_array_equal(stored[records[0].key], x)
    numpy.testing.assert_allclose(stored[records[-1].key], expected, rtol=1e-5, atol=1e-6)
assert records[0].operator == "input"
assert {"conv", "head"} <= {record.layer for record in records}, records
"""
TENSORFLOW = """
import sys, numpy, keras
sys.path.insert(0, sys.argv[1])
from safeconvert.runtimes.tensorflow import model
from safeconvert.runtimes.tensorflow.trace import trace
x = numpy.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
model.load(sys.argv[2], "keras")
records = trace(sys.argv[2], {"image": x}, "trace")
expected = keras.saving.load_model(sys.argv[2])(x).numpy()
with numpy.load("trace") as stored:
    numpy.testing.assert_array_equal(stored[records[0].key], x)
    numpy.testing.assert_allclose(stored[records[-1].key], expected, rtol=1e-5, atol=1e-6)
assert {"conv2d", "dense"} <= {record.layer for record in records}, records
"""
CONSTANTS = """
import sys, numpy, tensorflow as tf
sys.path.insert(0, sys.argv[1])
from safeconvert.runtimes.tensorflow.constants import constants, replace_constants
module = tf.Module()
kernel = numpy.arange(6, dtype="float32").reshape(3, 2)
@tf.function(input_signature=[tf.TensorSpec([None, 3], name="x")])
def frozen(x):
    return {"y": tf.matmul(x, tf.constant(kernel, name="kernel"))}
module.frozen = frozen
tf.saved_model.save(module, "frozen", signatures=frozen)
[(name, array)] = [(n, a) for n, a in constants("frozen").items() if a.shape == (3, 2)]
numpy.testing.assert_array_equal(array, kernel)
replace_constants("frozen", "doubled", {name: 2 * kernel})
x = numpy.ones((1, 3), "float32")
[y] = tf.saved_model.load("doubled").signatures["serving_default"](tf.constant(x)).values()
numpy.testing.assert_array_equal(y, x @ kernel * 2)
numpy.testing.assert_array_equal(constants("frozen")[name], kernel)
for values in ({"nothing": kernel}, {name: kernel.T}):
    try:
        replace_constants("frozen", "refused", values)
    except ValueError:
        continue
    raise AssertionError(values)
"""


def test_a_torch_trace_ends_in_the_models_output(torch_models: Path, tmp_path: Path) -> None:
    run_script("torch", PYTORCH, tmp_path, [ROOT, str(torch_models / "model.pt2")])


def test_a_keras_trace_ends_in_the_models_output(keras_models: Path, tmp_path: Path) -> None:
    run_script("tensorflow", TENSORFLOW, tmp_path, [ROOT, str(keras_models / "model.keras")])


def test_constants_of_a_frozen_saved_model_are_read_and_replaced(tmp_path: Path) -> None:
    run_script("tensorflow", CONSTANTS, tmp_path, [ROOT])
