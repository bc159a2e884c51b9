"""keras -> tf: Keras's export of a SavedModel with one signature, ``serve``/``serving_default``. Child side."""

from __future__ import annotations

from .keras_onnx import _called


def convert(path: str, target: str) -> None:
    """``Model.export`` of the model to the folder ``target``."""
    _called(path).export(target, format="tf_saved_model", verbose=False)
