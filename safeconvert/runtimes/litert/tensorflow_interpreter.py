"""TFLite files in TensorFlow's own interpreter: another build of the kernels than LiteRT's. Child side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from ..onnx_tflite import THREADS, interpreted
from ..registry import register


def load(path: str, flavour: str) -> dict[str, Any]:
    """Load the file and register it; gives its signature."""
    return register(path, interpreted(tf.lite.Interpreter(model_path=path, num_threads=THREADS)))


def differing(operators: Sequence[dict[str, Any]], atol: float, rtol: float) -> list[float | None]:
    """How far each operator's outputs are from those it should give, at most: None where within tolerance.

    ``operators`` are records of ``light_alone.apart``; a difference may be ``atol + rtol * max|output|``, a step of
    integers. An operator that the interpreter does not run is infinitely far.
    """
    found: list[float | None] = []
    for one in operators:
        try:
            outputs = _alone(one)
        except (RuntimeError, ValueError):
            found.append(float("inf"))
            continue
        far = 0.0
        for output, right in zip(outputs, one["given"], strict=True):
            if right.dtype.kind != "f" and right.dtype.kind not in "iu":
                continue
            whole = right.dtype.kind != "f"
            by = np.abs(output.astype(np.float64) - right.astype(np.float64)).max(initial=0.0)
            allowed = 1.0 if whole else atol + rtol * np.abs(right).max(initial=0.0)
            if not by <= allowed:
                far = max(far, float(np.nan_to_num(by, nan=np.inf)))
        found.append(far or None)
    return found


def _alone(one: dict[str, Any]) -> list[np.ndarray[Any, Any]]:
    interpreter = tf.lite.Interpreter(model_path=one["path"], num_threads=THREADS)
    places = [detail["index"] for detail in interpreter.get_input_details()]
    for place, array in zip(places, one["taken"], strict=True):
        interpreter.resize_tensor_input(place, array.shape)
    interpreter.allocate_tensors()
    for place, array in zip(places, one["taken"], strict=True):
        interpreter.set_tensor(place, array)
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]
