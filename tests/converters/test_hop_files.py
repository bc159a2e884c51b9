"""Hop functions called by themselves: what they write answers as what they read, in the framework that runs it.

Each runs in a process that has its framework, as in a worker.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from safeconvert.converters import onnx_tflite

from tests.support.warm_processes import run_script

ROOT = str(Path(__file__).parents[2])
X = "x = numpy.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype('float32')\n"
SCRIPTS = {
    "onnx_keras": (
        "tensorflow",
        "labels.onnx",
        """
import keras, onnx.reference
from safeconvert.converters import onnx_keras
from safeconvert.converters.keras_rebuild import emitter, lambda_replay, op_builders, op_call, shape_builders
onnx_keras.convert(source, "made.keras")
model = keras.saving.load_model("made.keras")
assert model.inputs[0].shape == (None, 3, 8, 8)
assert not [layer for layer in model.layers if type(layer).__name__ == "Lambda"]
left = model(x).numpy()
right = onnx.reference.ReferenceEvaluator(onnx.load(source)).run(None, {"x": x})[0]
assert (emitter.identity(4), emitter.last(4)) == ((0, 1, 2, 3), (0, 2, 3, 1))
assert lambda_replay.BUILDERS["Conv2D"] is op_builders.convolution
assert lambda_replay.BUILDERS["Reshape"] is shape_builders.reshape
assert op_call.UNKNOWN < 0
""",
    ),
    "onnx_torch": (
        "torch",
        "labels.onnx",
        """
import onnx.reference, torch
from safeconvert.converters import onnx_torch
onnx_torch.convert(source, "made.pt2", shapes={"x": [None, 3, 8, 8]})
program = torch.export.load("made.pt2")
left = program.module()(torch.from_numpy(x)).numpy()
right = onnx.reference.ReferenceEvaluator(onnx.load(source)).run(None, {"x": x})[0]
""",
    ),
    "keras_tf": (
        "tensorflow",
        "model.keras",
        """
import keras, tensorflow
from safeconvert.converters import keras_tf
x = numpy.moveaxis(x, 1, -1)
keras_tf.convert(source, "made")
[left] = tensorflow.saved_model.load("made").signatures["serving_default"](tensorflow.constant(x)).values()
right = keras.saving.load_model(source)(x).numpy()
""",
    ),
    "tflite_onnx": (
        "tensorflow",
        "model.tflite",
        """
import onnx.reference, tensorflow
from safeconvert.converters import tflite_onnx
x = numpy.moveaxis(x, 1, -1)[:1]
tflite_onnx.convert(source, "made.onnx", opset=13)
model = onnx.load("made.onnx")
left = onnx.reference.ReferenceEvaluator(model).run(None, {model.graph.input[0].name: x})[0]
interpreter = tensorflow.lite.Interpreter(source)
interpreter.allocate_tensors()
interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
interpreter.invoke()
right = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
""",
    ),
}


@pytest.mark.parametrize("hop", SCRIPTS)
def test_what_a_hop_writes_answers_as_what_it_reads(
    hop: str, onnx_models: Path, keras_models: Path, tmp_path: Path
) -> None:
    framework, source, script = SCRIPTS[hop]
    folder = onnx_models if source.endswith(".onnx") else keras_models
    code = f"import sys, numpy\nsys.path.insert(0, sys.argv[1])\nsource = sys.argv[2]\n{X}{script}"
    code += "numpy.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-5)\n"
    run_script(framework, code, tmp_path, [ROOT, str(folder / source)])


def test_the_file_that_runs_in_an_environment_of_its_own_needs_nothing_else() -> None:
    """onnx2tf pins each of its dependencies: this file finds the standard library and its hop's types only."""
    tree = ast.parse(Path(str(onnx_tflite.__file__)).read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {node.module if isinstance(node, ast.ImportFrom) else node.names[0].name for node in imports}
    assert names == {"__future__", "shutil", "tempfile", "pathlib", "hop_function", "onnx2tf"}
