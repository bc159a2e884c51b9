"""Each converter's own commands, for bug reports: Python that reproduces a fault without safeconvert.

The conversions of a hop that reads ONNX are shown in such a script. It is text, run by whoever reads the report.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StandaloneScript:
    """Lines of Python that run one converter.

    ``convert`` reads the ONNX file ``MODEL`` (replaced by its path), runs what the converter made of it on ``x``
    (arrays by input name) and leaves ``outputs``, a list of numpy arrays. It may read ``expected``, the list of
    onnxruntime's outputs. ``imports`` are its import statements; numpy, onnx and onnxruntime are imported already.
    """

    imports: str
    convert: str


# Scripts, one for each converter that reads ONNX.
ONNX2KERAS = StandaloneScript(
    "import onnx2keras, tensorflow",
    """\
model = onnx2keras.onnx_to_keras(onnx.load(MODEL), list(x), name_policy="renumerate", verbose=False)
inputs = list(x.values()) if len(x) > 1 else x[list(x)[0]]
outputs = tensorflow.function(model, jit_compile=True)(inputs)  # compiled: plain CPU kernels lack channels first
outputs = [a.numpy() for a in (outputs if isinstance(outputs, (list, tuple)) else [outputs])]""",
)

ONNX2TORCH = StandaloneScript(
    "import onnx2torch, torch",
    """\
model = onnx2torch.convert(onnx.load(MODEL)).eval()
outputs = model(*(torch.from_numpy(a) for a in x.values()))
outputs = [a.detach().numpy() for a in (outputs if isinstance(outputs, (list, tuple)) else [outputs])]""",
)

ONNX2TF = StandaloneScript(
    "import pathlib, onnx2tf\nfrom ai_edge_litert.interpreter import Interpreter",
    """\
keep = [name for name, a in x.items() if a.ndim > 2]
onnx2tf.convert(input_onnx_file_path=MODEL, output_folder_path="written", non_verbose=True,
                keep_ncw_or_nchw_or_ncdhw_input_names=keep)
model = Interpreter(str(next(pathlib.Path("written").glob("*_float32.tflite"))))
model.allocate_tensors()
for tensor, a in zip(model.get_input_details(), x.values()):
    model.set_tensor(tensor["index"], a)
model.invoke()
outputs = [model.get_tensor(tensor["index"]) for tensor in model.get_output_details()]
outputs = [numpy.moveaxis(o, -1, 1) if o.shape != e.shape else o for e, o in zip(expected, outputs)]""",
)
