"""Keras models and TensorFlow functions of the person's process as files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import BadInput
from .arrays import LiveInputs
from .frameworks import imported, is_instance


def is_keras_model(model: object) -> bool:
    return is_instance(model, "keras", "Model")


def is_tensorflow_model(model: object) -> bool:
    """Is it a ``tf.Module``, a ``tf.function``, a concrete function, or what ``tf.saved_model.load`` gave?"""
    if imported("tensorflow") is None:
        return False
    is_function = _is_function(model) or _is_concrete(model)
    return is_function or is_instance(model, "tensorflow", "Module") or hasattr(model, "signatures")


def _is_function(model: object) -> bool:
    return callable(getattr(model, "get_concrete_function", None))


def _is_concrete(model: object) -> bool:
    return hasattr(model, "structured_input_signature")


def describe(model: Any) -> str:
    """Return what the model is: ``keras.Model Functional``."""
    if is_keras_model(model):
        return f"keras.Model {type(model).__name__}"
    return "tf.function" if _is_function(model) or _is_concrete(model) else f"tf.Module {type(model).__name__}"


def keras_inputs(model: Any) -> list[str]:
    """Return the names of a Keras model's inputs; none where it was built without any."""
    return [tensor.name for tensor in getattr(model, "inputs", None) or []]


def save_keras(model: Any, path: Path, example: LiveInputs | None) -> Path:
    """Write a Keras model beside ``path`` (which has no suffix) and return where.

    A model with code of the person's own, which no other process knows, is written as a SavedModel. Raises
    :class:`BadInput` where the model has no input shape and no example gives it.
    """
    if not model.built:
        if example is None:
            raise BadInput(
                f"the Keras model {model.name} has no input shape. Build it with a keras.Input, or pass inputs=x."
            )
        model(*[array[:1] for array in example.arrays])
    own_class = _own_class(model)
    if not own_class and keras_inputs(model):
        model.save(path.with_suffix(".keras"))
        return path.with_suffix(".keras")
    if imported("keras").backend.backend() != "tensorflow":
        raise BadInput(
            f"the Keras model {model.name} has the class {own_class or type(model).__name__}, which another process "
            "does not know.\nRun Keras on its TensorFlow backend, so that it can be handed over as a SavedModel."
        )
    model.export(str(path), format="tf_saved_model", verbose=False)
    return path


def _own_class(model: Any) -> str:
    """Return the name of a class, of the model or of one of its layers, that holds code of the person's own.

    Another process cannot build such a part: its class is not Keras's, or it is a Lambda. Empty where there is none.
    """
    kinds = [type(part) for part in (model, *model._flatten_layers(include_self=False))]
    custom_classes = (
        kind for kind in kinds if kind.__module__.partition(".")[0] != "keras" or kind.__name__ == "Lambda"
    )
    return next((kind.__name__ for kind in custom_classes), "")


def save_tensorflow(model: Any, path: Path, example: LiveInputs | None, batch_axis: Mapping[str, int | None]) -> Path:
    """Write a module, a function or a loaded SavedModel as a SavedModel at ``path``, with a free batch if it can be.

    Raises :class:`BadInput` where neither the model nor an example says what its inputs look like.
    """
    saved_model = imported("tensorflow").saved_model
    if getattr(model, "signatures", None):
        saved_model.save(model, str(path), signatures=dict(model.signatures))
        return path
    concrete = _concrete_function(model, example, batch_axis)
    holder = imported("tensorflow").Module()
    holder.captured = list(concrete.graph.variables)
    if not _is_concrete(model):
        holder.model = model
    saved_model.save(holder, str(path), signatures=concrete)
    return path


def _concrete_function(model: Any, example: LiveInputs | None, batch_axis: Mapping[str, int | None]) -> Any:
    if _is_concrete(model):
        return model
    tensorflow = imported("tensorflow")
    function = model if _is_function(model) else model.__call__
    if not _is_function(function):
        function = tensorflow.function(function)
    if getattr(function, "input_signature", None) is not None:
        return function.get_concrete_function()
    if example is None:
        raise BadInput(
            f"{describe(model)} does not say what its input looks like. Pass inputs=x, or give the tf.function an "
            "input_signature."
        )
    try:
        return _traced(function, example, batch_axis, size=None)
    except (ValueError, TypeError):  # the graph fixes the batch
        return _traced(function, example, batch_axis, size=1)


def _traced(function: Any, example: LiveInputs, batch_axis: Mapping[str, int | None], size: int | None) -> Any:
    """The function traced for inputs like these, of which ``size`` make a batch."""
    names = example.names or ("",) * len(example.arrays)
    specs = []
    for name, array in zip(names, example.arrays, strict=True):
        shape: list[int | None] = list(array.shape)
        axis = batch_axis.get(name, batch_axis.get("", 0)) if shape else None
        if axis is not None:
            shape[axis] = size
        specs.append(imported("tensorflow").TensorSpec(shape, array.dtype))
    if example.names:
        return function.get_concrete_function(**dict(zip(names, specs, strict=True)))
    return function.get_concrete_function(*specs)
