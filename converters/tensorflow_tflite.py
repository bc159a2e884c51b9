"""keras -> tflite and tf -> tflite, by TensorFlow's TFLiteConverter. Worker side.

``quantize`` is ``none``, ``float16`` (weights), ``dynamic`` (8-bit weights) or ``int8`` (weights and
activations, calibrated on the rows of the ``.npy`` files in ``calibration``, input name -> path).
``input_permutation`` gives image inputs the other layout.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from ..runtimes.tensorflow import model as tensorflow_model
from .forms.tensorflow.plain import plain, plain_saved_model
from .hop_function import Calibration, HopAnswer, InputPermutation
from .keras_onnx import called, traced
from .support.input_layout import permute_function_inputs


def keras(
    path: str,
    target: str,
    *,
    quantize: str = "none",
    calibration: Calibration | None = None,
    input_permutation: InputPermutation | None = None,
) -> HopAnswer:
    """Convert by ``TFLiteConverter.from_keras_model``."""
    model = called(path, input_permutation)
    names = [t.name for t in model.inputs]
    return _write(tf.lite.TFLiteConverter.from_keras_model(model), target, quantize, calibration, names)


def keras_saved_model(
    path: str,
    target: str,
    *,
    quantize: str = "none",
    calibration: Calibration | None = None,
    input_permutation: InputPermutation | None = None,
) -> HopAnswer:
    """Convert by Keras's export of a SavedModel, then ``TFLiteConverter.from_saved_model``: it freezes differently."""
    model = called(path, input_permutation)
    folder = tempfile.mkdtemp(dir=Path(target).parent)
    try:
        model.export(folder, format="tf_saved_model", verbose=False)
        names = [t.name for t in model.inputs]
        return _write(tf.lite.TFLiteConverter.from_saved_model(folder), target, quantize, calibration, names)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def keras_function(
    path: str,
    target: str,
    *,
    quantize: str = "none",
    calibration: Calibration | None = None,
    input_permutation: InputPermutation | None = None,
    form: str = "",
) -> HopAnswer:
    """Convert by ``TFLiteConverter.from_concrete_functions`` on the model's call, or on its plain ``form``.

    A free batch becomes 1 where layers are recurrent: TFLite's lists of steps need it fixed.
    """
    model = called(path, input_permutation)
    call = traced(model, 1 if is_recurrent(model) else None).get_concrete_function()
    if form:
        call = plain(call, "tflite").get_concrete_function()
    # Variables that are left in become tensors which the interpreter never fills.
    frozen = convert_variables_to_constants_v2(call, lower_control_flow=False)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen], model)
    return _write(converter, target, quantize, calibration, [t.name for t in model.inputs])


def is_recurrent(model: Any) -> bool:
    """Return whether a layer of the Keras model, at any depth, runs over time."""
    return any(isinstance(layer, tf.keras.layers.RNN) for layer in model._flatten_layers())


def saved_model(
    path: str,
    target: str,
    *,
    signature: str | None = None,
    quantize: str = "none",
    calibration: Calibration | None = None,
    input_permutation: InputPermutation | None = None,
    form: str = "",
) -> HopAnswer:
    """Convert by ``TFLiteConverter.from_saved_model`` on one signature, or on a SavedModel of its plain ``form``.

    With ``input_permutation`` alone, by ``from_concrete_functions`` on a function around the signature.
    """
    loaded = tensorflow_model.loaded(path, "savedmodel")
    names = [described.name for described in loaded.inputs]
    model, chosen = loaded.native
    chosen = signature or chosen
    function = model.signatures[chosen]
    if input_permutation is not None:
        function = permute_function_inputs(function, function.structured_input_signature[1], input_permutation)
    if form:
        with plain_saved_model(function, "tflite", chosen, target) as folder:
            converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[chosen])
            return _write(converter, target, quantize, calibration, names)
    if input_permutation is not None:
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function], model)
    else:
        converter = tf.lite.TFLiteConverter.from_saved_model(path, signature_keys=[chosen])
    return _write(converter, target, quantize, calibration, names)


def _write(converter: Any, target: str, quantize: str, calibration: Calibration | None, names: list[str]) -> HopAnswer:
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
    return HopAnswer.WRITTEN
