"""keras -> onnx: tf2onnx's two entries, Keras's own export, and onnxmltools.

Child side. Keras and onnxmltools both end in tf2onnx, but hand it the model in different ways, and each
way fails on other models. A freshly loaded model counts as never called, so it is called once first.
"""

from __future__ import annotations

from typing import Any

import onnx
import tensorflow as tf

from ..runtimes.tensorflow import model as tensorflow_model
from .forms.tensorflow.plain import plain
from .support.garbage import lean
from .support.input_layout import turn_keras


def called(path: str, turn: dict[str, Any] | None = None) -> Any:
    """The registered model, called at least once; with ``turn``, behind other inputs (``layout.turn_keras``)."""
    model = tensorflow_model.loaded(path, "keras").native
    if turn:
        model = turn_keras(model, **turn)
    if not getattr(model, "_called", False):
        sizes = [[d if d else 1 for d in t.shape] for t in model.inputs]
        zeros = [tf.zeros(size, t.dtype) for size, t in zip(sizes, model.inputs, strict=True)]
        model(tensorflow_model.packed(model, zeros), training=False)
    return model


def export(path: str, target: str, *, opset: int | None = None) -> None:
    """``Model.export(format="onnx")``."""
    model = called(path)
    with lean():
        model.export(target, format="onnx", opset_version=opset, verbose=False)


def traced(model: Any) -> Any:
    """The model's call as a tf.function of its inputs, in order and by their names."""
    signature = [tf.TensorSpec(t.shape, t.dtype, name=t.name) for t in model.inputs]

    @tf.function(input_signature=signature)  # type: ignore[untyped-decorator, unused-ignore]
    def call(*tensors: Any) -> Any:
        return model(tensorflow_model.packed(model, list(tensors)), training=False)

    return call


def function(path: str, target: str, *, opset: int | None = None, form: str = "") -> None:
    """``tf2onnx.convert.from_function`` on the model's call, or on its plain ``form``."""
    import tf2onnx

    call = traced(called(path))
    if form:
        call = plain(call.get_concrete_function(), "tf2onnx")
    with lean():
        tf2onnx.convert.from_function(call, input_signature=call.input_signature, opset=opset, output_path=target)


def from_keras(path: str, target: str, *, opset: int | None = None) -> None:
    """``tf2onnx.convert.from_keras``, which fails on Keras 3 Sequential models."""
    import tf2onnx

    model = called(path)
    with lean():
        tf2onnx.convert.from_keras(model, opset=opset, output_path=target)


def onnxmltools(path: str, target: str, *, opset: int | None = None) -> None:
    """``onnxmltools.convert_keras``."""
    import onnxmltools

    model = called(path)
    with lean():
        onnx.save(onnxmltools.convert_keras(model, target_opset=opset or 15), target)
