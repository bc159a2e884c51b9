"""keras -> onnx: tf2onnx's two entries, Keras's own export, and onnxmltools.

Worker side. Keras and onnxmltools both end in tf2onnx, but hand it the model in different ways, and each
way fails on other models. A freshly loaded model counts as never called, so it is called once first.
"""

from __future__ import annotations

from typing import Any

import onnx
import tensorflow as tf

from ..runtimes.tensorflow import model as tensorflow_model
from .forms.tensorflow.plain import plain
from .hop_function import HopAnswer, InputPermutation
from .support.garbage import lean
from .support.input_layout import permute_keras_inputs


def called(path: str, input_permutation: InputPermutation | None = None) -> Any:
    """Return the registered model, called at least once; with ``input_permutation``, behind inputs so permuted."""
    model = tensorflow_model.loaded(path, "keras").native
    if input_permutation is not None:
        model = permute_keras_inputs(model, input_permutation)
    if not getattr(model, "_called", False):
        sizes = [[d if d else 1 for d in t.shape] for t in model.inputs]
        zeros = [tf.zeros(size, t.dtype) for size, t in zip(sizes, model.inputs, strict=True)]
        model(tensorflow_model.packed(model, zeros), training=False)
    return model


def export(path: str, target: str, *, opset: int | None = None) -> HopAnswer:
    """Convert by ``Model.export(format="onnx")``."""
    model = called(path)
    with lean():
        model.export(target, format="onnx", opset_version=opset, verbose=False)
    return HopAnswer.WRITTEN


def traced(model: Any, batch: int | None = None) -> Any:
    """Return the model's call as a tf.function of its inputs, in order and by name; a free batch is ``batch``."""
    shapes = [[*(batch if size is None else size for size in t.shape[:1]), *t.shape[1:]] for t in model.inputs]
    signature = [tf.TensorSpec(s, t.dtype, name=t.name) for s, t in zip(shapes, model.inputs, strict=True)]

    @tf.function(input_signature=signature)  # type: ignore[untyped-decorator, unused-ignore]
    def call(*tensors: Any) -> Any:
        return model(tensorflow_model.packed(model, list(tensors)), training=False)

    return call


def function(path: str, target: str, *, opset: int | None = None, form: str = "") -> HopAnswer:
    """Convert by ``tf2onnx.convert.from_function`` on the model's call, or on its plain ``form``."""
    import tf2onnx

    call = traced(called(path))
    if form:
        call = plain(call.get_concrete_function(), "tf2onnx")
    with lean():
        tf2onnx.convert.from_function(call, input_signature=call.input_signature, opset=opset, output_path=target)
    return HopAnswer.WRITTEN


def from_keras(path: str, target: str, *, opset: int | None = None) -> HopAnswer:
    """Convert by ``tf2onnx.convert.from_keras``, which fails on Keras 3 Sequential models."""
    import tf2onnx

    model = called(path)
    with lean():
        tf2onnx.convert.from_keras(model, opset=opset, output_path=target)
    return HopAnswer.WRITTEN


def onnxmltools(path: str, target: str, *, opset: int | None = None) -> HopAnswer:
    """Convert by ``onnxmltools.convert_keras``."""
    import onnxmltools

    model = called(path)
    with lean():
        onnx.save(onnxmltools.convert_keras(model, target_opset=opset or 15), target)
    return HopAnswer.WRITTEN
