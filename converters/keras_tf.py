"""keras -> tf: Keras's export of a SavedModel with one signature, ``serve``/``serving_default``. Child side."""

from __future__ import annotations

from typing import Any

from .keras_onnx import called


def convert(path: str, target: str, *, turn: dict[str, Any] | None = None) -> None:
    """``Model.export`` of the model to the folder ``target``; ``turn`` as in ``layout.turn_keras``."""
    called(path, turn).export(target, format="tf_saved_model", verbose=False)
