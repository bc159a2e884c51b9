"""Run a model file in a process of its own with its own framework and nothing of safeconvert."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.support.warm_processes import run_script

ALONE = {
    "torch": "import torch; m = torch.export.load(p).module(); y = m(torch.from_numpy(x)).detach().numpy()",
    "keras": "import keras; m = keras.saving.load_model(p); y = numpy.asarray(m(x))",
    "tf": "import tensorflow as tf; m = tf.saved_model.load(p).signatures['serving_default']\n"
    "y = list(m(**{next(iter(m.structured_input_signature[1])): tf.constant(x)}).values())[0].numpy()",
    "tflite": "from ai_edge_litert.interpreter import Interpreter; m = Interpreter(p); d = m.get_input_details()[0]\n"
    "m.resize_tensor_input(d['index'], x.shape); m.allocate_tensors(); m.set_tensor(d['index'], x); m.invoke()\n"
    "y = m.get_tensor(m.get_output_details()[0]['index'])",
    "onnx": "import onnxruntime; m = onnxruntime.InferenceSession(p); y = m.run(None, {m.get_inputs()[0].name: x})[0]",
}


WARM = {"torch": "torch", "keras": "tensorflow", "tf": "tensorflow", "tflite": "onnx_tflite", "onnx": "onnx_tflite"}


def alone(path: Path, format: str, x: np.ndarray) -> np.ndarray:
    """What the file answers in a process of its own with its framework alone, one input at a time."""
    arrays = path.parent / "x.npy"
    np.save(arrays, x[:1])
    code = (
        f"import sys, numpy\np = sys.argv[1]; x = numpy.load(sys.argv[2])\n{ALONE[format]}\nnumpy.save(sys.argv[2], y)"
    )
    run_script(WARM[format], code, path.parent, [str(path), str(arrays)])
    return np.load(arrays)
