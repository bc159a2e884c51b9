"""Keras models: ``.keras`` archives and HDF5 files."""

from __future__ import annotations

import importlib
import zipfile
from pathlib import Path
from typing import Any

from ..errors import BadInput
from ..workers.runtime import TENSORFLOW
from .format import Format, ModelFile

HDF5 = b"\x89HDF\r\n\x1a\n"


def detect_flavour(path: Path, head: bytes) -> str | None:
    """Tell an archive by its members, and an HDF5 file by its first bytes."""
    if head.startswith(HDF5):
        return "h5"
    if not head.startswith(b"PK\x03\x04"):
        return None
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if "config.json" in names and any(name.endswith(".weights.h5") for name in names):
        return "keras"
    if "config.json" in names and "metadata.json" in names:
        raise BadInput(f"{path} is a Keras archive without its model.weights.h5. Save the model again.")
    return None


def load_object(file: ModelFile) -> Any:
    """Return a ``keras.Model``."""
    return importlib.import_module("keras").saving.load_model(file.path, compile=False)


SNIPPET = """\
import keras, numpy
test = numpy.load(TEST)
model = keras.saving.load_model(MODEL, compile=False)
outputs = model(test["input"])
outputs = [numpy.asarray(o) for o in (outputs if isinstance(outputs, (list, tuple)) else [outputs])]
"""
KERAS = Format(
    name="keras",
    article="a",
    display_name="Keras",
    suffix=".keras",
    flavour="keras",
    known_suffixes=(".keras", ".h5", ".hdf5"),
    example="model.keras",
    runtime=TENSORFLOW,
    detect_flavour=detect_flavour,
    load_object=load_object,
    requires=("tensorflow", "keras"),
    default_preprocess="keras",
    default_layout="nhwc",
    part="Keras layer",
    layer_naming="layer scopes",
    is_named_by_layer=True,
    snippet=SNIPPET,
)
