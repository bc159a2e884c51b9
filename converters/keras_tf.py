"""keras -> tf: Keras's export of a SavedModel with one signature, ``serve``/``serving_default``. Worker side."""

from __future__ import annotations

from .hop_function import HopAnswer, InputPermutation
from .keras_onnx import called


def convert(path: str, target: str, *, input_permutation: InputPermutation | None = None) -> HopAnswer:
    """Export the model to the folder ``target`` by ``Model.export``."""
    called(path, input_permutation).export(target, format="tf_saved_model", verbose=False)
    return HopAnswer.WRITTEN
