"""Say what in a model file would act outside the model when it runs: on files, the network, Python or a process.

Only bytes are read: no framework is imported and nothing of the file is run. What a ``.pt2`` or a pickle does when it
is read is looked at in ``formats.torch_archive``.
"""

from __future__ import annotations

import json
import mmap
import re
import zipfile
from pathlib import Path
from typing import Any

from ..formats import ModelFile
from .saved_model import allowed_operators, operator_outside

# Keras layers that load another model from a path, or Python objects from a pickle. Lambda is Keras's own to refuse.
KERAS_LAYERS = ("TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer")
LOOKUP_LAYERS = ("StringLookup", "IntegerLookup", "TextVectorization")
FLEX_OPERATOR = re.compile(rb"Flex([A-Za-z0-9_>]+)\0")  # a TensorFlow operator in a TFLite file, as a custom operator


def acts_outside(file: ModelFile) -> str | None:
    """Return the part of the model that acts outside it, such as "a PrintV2 operator"; None where there is none.

    Raises :class:`BadInput` for a SavedModel that cannot be read.
    """
    if file.flavour == "savedmodel":
        operator = operator_outside(file.path)
        return None if operator is None else f"a {operator} operator"
    if file.flavour == "tflite":
        return _flex_operator(file.path)
    if file.flavour == "keras":
        return _keras_layer(file.path)
    if file.flavour == "h5":
        return _hdf5_layer(file.path)
    return None


def _flex_operator(path: Path) -> str | None:
    """LiteRT has no TensorFlow operators, but TensorFlow's own interpreter, in which TFLite files run too, has all."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        names = {match.group(1).decode() for match in FLEX_OPERATOR.finditer(data)}
    forbidden = sorted(names - allowed_operators()) if names else []
    return f"a {forbidden[0]} operator" if forbidden else None


def _keras_layer(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            return _layer_outside(json.loads(archive.read("config.json")))
    except (ValueError, KeyError, OSError, zipfile.BadZipFile):
        return None  # a damaged file, which Keras says when it is loaded


def _layer_outside(config: Any) -> str | None:
    """Return the first such layer in a Keras configuration, at any depth."""
    waiting = [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            name, settings = value.get("class_name"), value.get("config")
            if name in KERAS_LAYERS:
                return f"a {name}"
            if name in LOOKUP_LAYERS and isinstance(settings, dict) and isinstance(settings.get("vocabulary"), str):
                return f"a {name} with the vocabulary file {settings['vocabulary']!r}"
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return None


def _hdf5_layer(path: Path) -> str | None:
    """The configuration lies in an HDF5 file as plain JSON text."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return next((f"a {name}" for name in KERAS_LAYERS if data.find(f'"{name}"'.encode()) >= 0), None)
