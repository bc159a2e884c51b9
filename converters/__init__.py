"""Every hop that safeconvert knows, as one list of values: ``HOPS``.

A hop is one way to run one real converter. Where several lead from one format to another, they are fallbacks, tried in
the order in which they stand here; ``why`` gives the reason for the place. The functions live in this folder and run
in workers. To add a hop, add its file and its entry here: nothing outside this folder knows a converter by name.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..workers.environments import Recipe
from ..workers.remote import remote
from . import scripts
from .hop import ONNX_FORMS, Hop

if TYPE_CHECKING:
    from . import (
        keras_onnx,
        keras_tf,
        onnx_keras,
        onnx_tflite,
        onnx_torch,
        tensorflow_tflite,
        tf_onnx,
        tflite_onnx,
        torch_onnx,
        torch_tflite,
    )

TORCH = ("torch", "onnx", "onnxscript")
TENSORFLOW = ("tensorflow", "onnx", "tf2onnx")
FROM_TORCH = ("shapes", "opset", "form")
TO_TFLITE = ("quantize", "calibration", "input_permutation")

HOPS: tuple[Hop, ...] = (
    Hop(
        source="torch", target="onnx", name="dynamo", converter="torch.onnx (dynamo)",
        why="PyTorch's recommended exporter; newest opsets",
        convert=remote("converters.torch_onnx", "dynamo", lambda: torch_onnx.dynamo),
        framework="torch", distribution="torch", requires=TORCH, extra="torch",
        takes=FROM_TORCH, forms=("decomposed",),
        rank_in_chain=1,  # it writes operators that other converters do not know
    ),
    Hop(
        source="torch", target="onnx", name="legacy", converter="torch.onnx (legacy)",
        why="tracing; first where another converter reads the file, for its lower opset",
        convert=remote("converters.torch_onnx", "legacy", lambda: torch_onnx.legacy),
        framework="torch", distribution="torch", requires=TORCH, extra="torch",
        takes=FROM_TORCH, arguments={"opset": 13}, forms=("decomposed",),
    ),
    Hop(
        source="torch", target="onnx", name="legacy-17", converter="torch.onnx (legacy, opset 17)",
        why="tracing with the operators that opset 13 lacks",
        convert=remote("converters.torch_onnx", "legacy", lambda: torch_onnx.legacy),
        framework="torch", distribution="torch", requires=TORCH, extra="torch",
        takes=FROM_TORCH, arguments={"opset": 17}, forms=("decomposed",),
    ),
    # Before onnx -> torch: TFLite files are made from Keras models where both lead to them.
    Hop(
        source="onnx", target="keras", name="onnx2keras", converter="onnx2keras",
        why="gives real Keras layers",
        convert=remote("converters.onnx_keras", "convert", lambda: onnx_keras.convert),
        framework="tensorflow", distribution="onnx2keras", requires=("tensorflow", "onnx", "onnx2keras"),
        extra="tensorflow", forms=ONNX_FORMS, newest_opset=13, layer_names="LAYER_{index}", script=scripts.ONNX2KERAS,
    ),
    Hop(
        source="onnx", target="torch", name="onnx2torch", converter="onnx2torch",
        why="the one maintained converter to PyTorch",
        convert=remote("converters.onnx_torch", "convert", lambda: onnx_torch.convert),
        framework="torch", distribution="onnx2torch", requires=("torch", "onnx", "onnx2torch"), extra="torch",
        takes=("shapes",), forms=ONNX_FORMS, script=scripts.ONNX2TORCH,
    ),
    Hop(
        source="keras", target="onnx", name="from_function", converter="tf2onnx from_function",
        why="the engine itself; half the time and memory of the next",
        convert=remote("converters.keras_onnx", "function", lambda: keras_onnx.function),
        framework="tensorflow", distribution="tf2onnx", requires=TENSORFLOW, extra="tensorflow",
        takes=("opset", "form"), forms=("plain",),
    ),
    Hop(
        source="keras", target="onnx", name="export", converter="keras Model.export (tf2onnx)",
        why="Keras's own exporter, around the same engine",
        convert=remote("converters.keras_onnx", "export", lambda: keras_onnx.export),
        framework="tensorflow", distribution="tf2onnx", requires=TENSORFLOW, extra="tensorflow", takes=("opset",),
    ),
    Hop(
        source="keras", target="onnx", name="from_keras", converter="tf2onnx from_keras",
        why="freezes the model its own way; no Sequential models",
        convert=remote("converters.keras_onnx", "from_keras", lambda: keras_onnx.from_keras),
        framework="tensorflow", distribution="tf2onnx", requires=TENSORFLOW, extra="tensorflow", takes=("opset",),
    ),
    Hop(
        source="keras", target="onnx", name="onnxmltools", converter="onnxmltools convert_keras",
        why="last, as it calls from_keras with its own defaults",
        convert=remote("converters.keras_onnx", "onnxmltools", lambda: keras_onnx.onnxmltools),
        framework="tensorflow", distribution="onnxmltools", requires=(*TENSORFLOW, "onnxmltools"), extra="tensorflow",
        takes=("opset",),
    ),
    Hop(
        source="tf", target="onnx", name="saved_model", converter="tf2onnx saved-model",
        why="the one converter for SavedModels",
        convert=remote("converters.tf_onnx", "convert", lambda: tf_onnx.convert),
        framework="tensorflow", distribution="tf2onnx", requires=TENSORFLOW, extra="tensorflow",
        takes=("signature", "opset", "form"), forms=("plain",),
    ),
    Hop(
        source="tflite", target="onnx", name="tflite", converter="tf2onnx tflite",
        why="keeps quantisation as QuantizeLinear and DequantizeLinear",
        convert=remote("converters.tflite_onnx", "convert", lambda: tflite_onnx.convert),
        framework="tensorflow", distribution="tf2onnx", requires=TENSORFLOW, extra="tensorflow",
        takes=("opset", "dequantize", "form"), arguments={"opset": 13}, forms=("plain",),
    ),
    Hop(
        source="tflite", target="onnx", name="dequantize", converter="tf2onnx tflite (dequantize)",
        why="float arithmetic, for converters that lack the other",
        convert=remote("converters.tflite_onnx", "convert", lambda: tflite_onnx.convert),
        framework="tensorflow", distribution="tf2onnx", requires=TENSORFLOW, extra="tensorflow",
        takes=("opset", "dequantize", "form"), arguments={"opset": 13, "dequantize": True}, forms=("plain",),
    ),
    Hop(
        source="keras", target="tf", name="export", converter="keras Model.export",
        why="Keras's own exporter",
        convert=remote("converters.keras_tf", "convert", lambda: keras_tf.convert),
        framework="tensorflow", distribution="keras", requires=("tensorflow",), extra="tensorflow",
        takes=("input_permutation",),
    ),
    # A second TFLiteConverter.from_keras_model in one process fails ("'NoneType' object is not callable").
    Hop(
        source="keras", target="tflite", name="from_keras_model", converter="TFLiteConverter (keras)",
        why="the documented way",
        convert=remote("converters.tensorflow_tflite", "keras", lambda: tensorflow_tflite.keras),
        framework="tensorflow", distribution="tensorflow", requires=("tensorflow",), extra="tensorflow",
        fresh_worker=True, takes=TO_TFLITE,
    ),
    Hop(
        source="keras", target="tflite", name="from_saved_model", converter="TFLiteConverter (exported)",
        why="freezes through a SavedModel, with fewer rewritings by Keras",
        convert=remote(
            "converters.tensorflow_tflite", "keras_saved_model", lambda: tensorflow_tflite.keras_saved_model
        ),
        framework="tensorflow", distribution="tensorflow", requires=("tensorflow",), extra="tensorflow",
        fresh_worker=True, takes=TO_TFLITE,
    ),
    Hop(
        source="keras", target="tflite", name="from_function", converter="TFLiteConverter (function)",
        why="freezes the traced call",
        convert=remote("converters.tensorflow_tflite", "keras_function", lambda: tensorflow_tflite.keras_function),
        framework="tensorflow", distribution="tensorflow", requires=("tensorflow",), extra="tensorflow",
        fresh_worker=True, takes=(*TO_TFLITE, "form"), forms=("plain",),
    ),
    Hop(
        source="tf", target="tflite", name="from_saved_model", converter="TFLiteConverter (saved model)",
        why="the documented way",
        convert=remote("converters.tensorflow_tflite", "saved_model", lambda: tensorflow_tflite.saved_model),
        framework="tensorflow", distribution="tensorflow", requires=("tensorflow",), extra="tensorflow",
        fresh_worker=True, takes=("signature", *TO_TFLITE, "form"), forms=("plain",),
    ),
    Hop(
        source="onnx", target="tflite", name="onnx2tf", converter="onnx2tf",
        why="straight from ONNX; needs its own environment",
        convert=remote("converters.onnx_tflite", "convert", lambda: onnx_tflite.convert),
        framework="onnx2tf", distribution="onnx2tf",
        environment=Recipe(
            name="onnx2tf",
            requirements=(
                ((3, 12), ("onnx2tf==2.6.9",)),
                ((3, 11), ("onnx2tf==1.29.24", "tensorflow==2.19.*", "tf_keras==2.19.*")),
            ),
            why="ONNX to TFLite straight; pins every dependency exactly",
        ),
        takes=("shapes",), forms=ONNX_FORMS, has_channels_last_outputs=True, script=scripts.ONNX2TF,
    ),
    Hop(
        source="torch", target="tflite", name="litert-torch", converter="litert-torch",
        why="straight from PyTorch; transformers and recurrent layers too; needs its own environment",
        convert=remote("converters.torch_tflite", "convert", lambda: torch_tflite.convert),
        framework="litert-torch", distribution="litert-torch", requires=("torch", "litert_torch"), extra="litert",
        environment=Recipe(
            name="litert-torch",
            requirements=(((3, 11), ("litert-torch==0.10.0",)),),
            why="PyTorch to TFLite straight; pins an older typing-extensions than Apache TVM takes",
            shared="torch",
            constraints=Path(__file__).with_name("litert_torch_constraints.txt"),
        ),
        needs_loaded_source=True, takes=("shapes", "input_permutation"),
    ),
)  # fmt: skip

ENVIRONMENTS = {hop.environment.name: hop.environment for hop in HOPS if hop.environment is not None}
"""The environments of converters that cannot share safeconvert's own, by name."""
