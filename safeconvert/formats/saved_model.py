"""TensorFlow SavedModels: folders with a traced graph and its variables."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import BadInput
from ..workers.runtime import TENSORFLOW
from .format import Format, ModelFile


def detect_flavour(path: Path, head: bytes) -> str | None:
    """Tell a folder by its ``saved_model.pb``."""
    if (path / "saved_model.pb").is_file():
        return "savedmodel"
    if (path / "saved_model.pbtxt").is_file():
        raise BadInput(f"{path} is a SavedModel in text form, which TensorFlow no longer writes. Save it again.")
    return None


def load_object(file: ModelFile) -> Any:
    """Return what ``tf.saved_model.load`` returns."""
    return importlib.import_module("tensorflow").saved_model.load(str(file.path))


SNIPPET = """\
import numpy
import tensorflow
test = numpy.load(TEST)
model = tensorflow.saved_model.load(MODEL)
signatures = list(model.signatures)
run = model.signatures["serving_default" if "serving_default" in signatures else signatures[0]]
answers = run(**{INPUT: tensorflow.constant(test["input"])})
outputs = [answers[name].numpy() for name in (OUTPUTS)]
"""
TF = Format(
    name="tf",
    article="a",
    display_name="SavedModel",
    suffix="",
    flavour="savedmodel",
    known_suffixes=(),
    example="saved_model/",
    # A SavedModel is a traced graph: it has no layers whose settings or sizes could be changed.
    runtime=replace(TENSORFLOW, read_settings=None, change_settings=None, change_input_shapes=None),
    detect_flavour=detect_flavour,
    load_object=load_object,
    requires=("tensorflow",),
    default_preprocess="keras",
    default_layout="nhwc",
    part="TensorFlow operation",
    layer_naming="graph scopes",
    is_named_by_layer=False,
    snippet=SNIPPET,
)
