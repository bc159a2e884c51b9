"""The settings of one layer of a Keras model: its configuration. Runs in a worker."""

from __future__ import annotations

from typing import Any

import keras

from ...records import Settings
from ..trace_store import is_setting
from .model import loaded
from .trace import named_layers


def read_settings(path: str, place: str) -> Settings:
    """The numbers and words of the layer's configuration, by name. ``place`` is the layer's path, ``outer/inner``.

    Raises ValueError for a SavedModel, whose layers are a graph, and where there is no such layer.
    """
    config = _layer(_model(path), place).get_config()
    return {name: value for name, value in config.items() if is_setting(value)}


def change_settings(path: str, target: str, place: str, values: Settings) -> str:
    """Write the model at ``target``, built anew with another configuration of that layer; gives the flavour."""
    model = _model(path)
    changed_layer = _layer(model, place)

    def again(layer: Any) -> Any:
        config = layer.get_config()
        return type(layer).from_config({**config, **values} if layer is changed_layer else config)

    changed = keras.models.clone_model(model, clone_function=again, recursive=True)
    changed.set_weights(model.get_weights())
    changed.save(target)
    return "keras"


def _model(path: str) -> Any:
    model = loaded(path, "keras").native
    if isinstance(model, tuple):
        raise ValueError("the layers of a SavedModel are a graph")
    return model


def _layer(model: Any, place: str) -> Any:
    layer = dict(named_layers(model)).get(place)
    if layer is None:
        raise ValueError(f"no layer {place!r}")
    return layer
