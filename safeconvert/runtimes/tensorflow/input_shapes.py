"""A Keras model with other sizes at its inputs: the same layers, built anew on them. Runs in a worker."""

from __future__ import annotations

import keras

from .model import loaded, packed


def change_input_shapes(path: str, target: str, shapes: dict[str, list[int | None]]) -> str:
    """Write the model at ``target`` with these shapes (input name -> sizes, batch first, None for free) declared.

    Gives the flavour, ``keras``. Raises ValueError for a SavedModel, whose graph is built already, and what Keras
    raises where a layer does not work on these sizes.
    """
    model = loaded(path, "keras").native
    if isinstance(model, tuple):
        raise ValueError("the sizes of a SavedModel's graph are fixed")
    inputs = [
        keras.Input(shapes.get(tensor.name, tensor.shape)[1:], batch_size=None, dtype=tensor.dtype, name=tensor.name)
        for tensor in model.inputs
    ]
    resized = keras.models.clone_model(model, input_tensors=packed(model, inputs))
    resized.set_weights(model.get_weights())
    resized.save(target)
    return "keras"
