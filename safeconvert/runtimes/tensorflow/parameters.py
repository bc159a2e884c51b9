"""Every parameter of a Keras model or SavedModel: read into a store, and replaced in a copy. Runs in a worker."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ..registry import Loaded
from ..trace_store import Array, ParameterRecord, Store, all_known, checked, unique
from . import constants as tensorflow_constants
from .trace import loaded_by_path, named_layers


def read_parameters(path: str, store: str) -> list[ParameterRecord]:
    """Write the model's floating-point weights into ``store``; of a frozen SavedModel, its constants.

    A weight's name is its path in Keras, the variable's or the constant's name in a SavedModel, made unique.
    """
    model, records = loaded_by_path(path), list[ParameterRecord]()
    with Store(store) as parameter_store:
        for name, (layer, variable) in _variables(model).items():
            dtype = keras.backend.standardize_dtype(variable.dtype)
            array = np.asarray(variable.numpy())
            records.append(ParameterRecord(name, layer, array.shape, dtype, False, parameter_store.write(array)))
        if isinstance(model.native, tuple) and not records:
            for name, array in tensorflow_constants.constants(path).items():
                layer, key = name.rpartition("/")[0], parameter_store.write(array)
                records.append(ParameterRecord(name, layer, array.shape, array.dtype.name, False, key))
    return records


def _variables(model: Loaded) -> dict[str, tuple[str, Any]]:
    """Layer and variable by the variable's name, the floating-point ones."""
    if isinstance(model.native, tuple):
        loaded, chosen = model.native
        every = list({id(v): v for v in loaded.signatures[chosen].variables}.values())
        names = [v.name.removesuffix(":0") for v in every]
        layers = [name.rpartition("/")[0] for name in names]
    else:
        every, layer_of_variable = list(model.native.weights), dict[int, str]()
        for path, layer in named_layers(model.native):
            layer_of_variable.update((id(weight), path) for weight in layer.weights)
        names, layers = [weight.path for weight in every], [layer_of_variable.get(id(weight), "") for weight in every]
    pairs = zip(unique(names), zip(layers, every, strict=True), strict=True)
    return {name: pair for name, pair in pairs if tf.as_dtype(pair[1].dtype).is_floating}


def replace_parameters(path: str, target: str, values: dict[str, Array]) -> str:
    """Write the model at ``target`` with the parameters in ``values`` (name -> array of the same shape) replaced.

    Gives the flavour: ``keras`` (``target`` must end with ``.keras``), or ``savedmodel`` (a folder, all signatures).
    Raises ValueError for an unknown name or another shape.
    """
    model = loaded_by_path(path)
    variables = {name: variable for name, (_, variable) in _variables(model).items()}
    if isinstance(model.native, tuple) and not variables:
        tensorflow_constants.replace_constants(path, target, values)
        return "savedmodel"
    all_known(values, variables)
    new = {name: checked(name, value, variables[name].shape) for name, value in values.items()}
    old = {name: variables[name].numpy() for name in new}
    try:
        for name, value in new.items():
            variables[name].assign(value.astype(old[name].dtype))
        if isinstance(model.native, tuple):
            tf.saved_model.save(model.native[0], target, signatures=dict(model.native[0].signatures))
            return "savedmodel"
        model.native.save(target)
        return "keras"
    finally:
        for name, value in old.items():
            variables[name].assign(value)
