"""keras -> tflite and tf -> tflite, by TensorFlow's TFLiteConverter. Child side.

``quantize`` is ``none``, ``float16`` (weights), ``dynamic`` (8-bit weights) or ``int8`` (weights and
activations, calibrated on the rows of the ``.npy`` files in ``calibration``, input name -> path).
``turn`` gives image inputs the other layout, see ``layout``.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ..native import tensorflow_model
from .keras_onnx import called
from .layout import turn_function

Calibration = dict[str, str] | None
Turn = dict[str, Any] | None


def keras(
    path: str, target: str, *, quantize: str = "none", calibration: Calibration = None, turn: Turn = None
) -> None:
    """``TFLiteConverter.from_keras_model``."""
    model = called(path, turn)
    names = [t.name for t in model.inputs]
    _write(tf.lite.TFLiteConverter.from_keras_model(model), target, quantize, calibration, names)


def keras_saved_model(
    path: str, target: str, *, quantize: str = "none", calibration: Calibration = None, turn: Turn = None
) -> None:
    """Keras's export of a SavedModel, then ``TFLiteConverter.from_saved_model``: it freezes differently."""
    model = called(path, turn)
    folder = tempfile.mkdtemp(dir=Path(target).parent)
    try:
        model.export(folder, format="tf_saved_model", verbose=False)
        names = [t.name for t in model.inputs]
        _write(tf.lite.TFLiteConverter.from_saved_model(folder), target, quantize, calibration, names)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def keras_function(
    path: str, target: str, *, quantize: str = "none", calibration: Calibration = None, turn: Turn = None
) -> None:
    """``TFLiteConverter.from_concrete_functions`` on the model's call."""
    model = called(path, turn)
    signature = [tf.TensorSpec(t.shape, t.dtype, name=t.name) for t in model.inputs]

    @tf.function(input_signature=signature)  # type: ignore[untyped-decorator, unused-ignore]
    def call(*tensors: Any) -> Any:
        return model(tf.nest.pack_sequence_as(model._inputs_struct, list(tensors)), training=False)

    converter = tf.lite.TFLiteConverter.from_concrete_functions([call.get_concrete_function()], model)
    _write(converter, target, quantize, calibration, [t.name for t in model.inputs])


def saved_model(
    path: str,
    target: str,
    *,
    signature: str | None = None,
    quantize: str = "none",
    calibration: Calibration = None,
    turn: Turn = None,
) -> None:
    """``TFLiteConverter.from_saved_model`` on one signature; with ``turn``, on a function around it."""
    loaded = tensorflow_model.loaded(path, "savedmodel")
    names = [described["name"] for described in loaded.inputs]
    model, chosen = loaded.native
    if turn:
        inner = model.signatures[chosen]
        function = turn_function(inner, inner.structured_input_signature[1], **turn)
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function], model)
    else:
        converter = tf.lite.TFLiteConverter.from_saved_model(path, signature_keys=[signature or chosen])
    _write(converter, target, quantize, calibration, names)


def _write(converter: Any, target: str, quantize: str, calibration: Calibration, names: list[str]) -> None:
    if quantize != "none":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantize == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if quantize == "int8":
        if not calibration:
            raise ValueError("int8 needs calibration inputs: give --images or --inputs")
        arrays = [np.load(calibration[name], mmap_mode="r") for name in names if name in calibration]
        if len(arrays) != len(names):
            raise ValueError(f"calibration has {sorted(calibration)}, the model takes {names}")

        def samples() -> Iterator[list[np.ndarray[Any, Any]]]:
            for row in range(len(arrays[0])):
                yield [np.ascontiguousarray(array[row : row + 1]) for array in arrays]

        converter.representative_dataset = samples
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    Path(target).write_bytes(converter.convert())
