"""Every hop that safeconvert knows, as one list of values: ``HOPS``.

A hop is one way to run one real converter. Where several lead from one format to another, they are
fallbacks, tried in the order in which they stand here; ``why`` gives the reason for the place. The
functions live in this folder, one file a pair of formats, and run in child processes.
"""

from __future__ import annotations

from ..records import Hop

TORCH = ("torch", "onnx", "onnxscript")
TF = ("tensorflow", "onnx", "tf2onnx")

HOPS: tuple[Hop, ...] = (
    Hop("torch", "onnx", "dynamo", "torch.onnx (dynamo)", "torch_onnx", "dynamo", "torch", "torch", TORCH,
        "PyTorch's recommended exporter; newest opsets", takes_forms=True),
    Hop("torch", "onnx", "legacy", "torch.onnx (legacy)", "torch_onnx", "legacy", "torch", "torch", TORCH,
        "tracing; first where another converter reads the file, for its lower opset", {"opset": 13},
        takes_forms=True),
    Hop("torch", "onnx", "legacy-17", "torch.onnx (legacy, opset 17)", "torch_onnx", "legacy", "torch", "torch", TORCH,
        "tracing with the operators that opset 13 lacks", {"opset": 17}, takes_forms=True),
    Hop("onnx", "torch", "onnx2torch", "onnx2torch", "onnx_torch", "convert", "torch", "onnx2torch",
        ("torch", "onnx", "onnx2torch"), "the one maintained converter to PyTorch"),
    Hop("onnx", "keras", "onnx2keras", "onnx2keras", "onnx_keras", "convert", "tensorflow", "onnx2keras",
        ("tensorflow", "onnx", "onnx2keras"), "gives real Keras layers"),
    Hop("keras", "onnx", "from_function", "tf2onnx from_function", "keras_onnx", "function", "tensorflow", "tf2onnx",
        TF, "the engine itself; half the time and memory of the next", takes_forms=True),
    Hop("keras", "onnx", "export", "keras Model.export (tf2onnx)", "keras_onnx", "export", "tensorflow", "tf2onnx",
        TF, "Keras's own exporter, around the same engine"),
    Hop("keras", "onnx", "from_keras", "tf2onnx from_keras", "keras_onnx", "from_keras", "tensorflow", "tf2onnx",
        TF, "freezes the model its own way; no Sequential models"),
    Hop("keras", "onnx", "onnxmltools", "onnxmltools convert_keras", "keras_onnx", "onnxmltools", "tensorflow",
        "onnxmltools", (*TF, "onnxmltools"), "last, as it calls from_keras with its own defaults"),
    Hop("tf", "onnx", "saved_model", "tf2onnx saved-model", "tf_onnx", "convert", "tensorflow", "tf2onnx", TF,
        "the one converter for SavedModels", takes_forms=True),
    Hop("tflite", "onnx", "tflite", "tf2onnx tflite", "tflite_onnx", "convert", "tensorflow", "tf2onnx", TF,
        "keeps quantisation as QuantizeLinear and DequantizeLinear", {"opset": 13}, takes_forms=True),
    Hop("tflite", "onnx", "dequantize", "tf2onnx tflite (dequantize)", "tflite_onnx", "convert", "tensorflow",
        "tf2onnx", TF, "float arithmetic, for converters that lack the other", {"opset": 13, "dequantize": True},
        takes_forms=True),
    Hop("keras", "tf", "export", "keras Model.export", "keras_tf", "convert", "tensorflow", "keras", ("tensorflow",),
        "Keras's own exporter"),
    Hop("keras", "tflite", "from_keras_model", "TFLiteConverter (keras)", "tensorflow_tflite", "keras", "tensorflow",
        "tensorflow", ("tensorflow",), "the documented way"),
    Hop("keras", "tflite", "from_saved_model", "TFLiteConverter (exported)", "tensorflow_tflite", "keras_saved_model",
        "tensorflow", "tensorflow", ("tensorflow",), "freezes through a SavedModel, with fewer rewritings by Keras"),
    Hop("keras", "tflite", "from_function", "TFLiteConverter (function)", "tensorflow_tflite", "keras_function",
        "tensorflow", "tensorflow", ("tensorflow",), "freezes the traced call", takes_forms=True),
    Hop("tf", "tflite", "from_saved_model", "TFLiteConverter (saved model)", "tensorflow_tflite", "saved_model",
        "tensorflow", "tensorflow", ("tensorflow",), "the documented way", takes_forms=True),
    Hop("onnx", "tflite", "onnx2tf", "onnx2tf", "onnx_tflite", "convert", "onnx2tf", "onnx2tf", (),
        "straight from ONNX; needs its own environment", environment="onnx2tf"),
)  # fmt: skip
