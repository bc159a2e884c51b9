"""TFLite files in TensorFlow's own interpreter: another build of the kernels than LiteRT's. Runs in a worker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from ...records import NO_LOAD_OPTIONS, LoadOptions, Signature
from ..registry import register
from .model import THREADS, interpreted
from .single_operators import SingleOperator


def load(path: str, flavour: str, options: LoadOptions = NO_LOAD_OPTIONS) -> Signature:
    """Load the file, register it and return its signature."""
    return register(path, interpreted(tf.lite.Interpreter(model_path=path, num_threads=THREADS)))


def largest_differences(operators: Sequence[SingleOperator], atol: float, rtol: float) -> list[float | None]:
    """Return how far each operator's outputs are at most from LiteRT's: None where within tolerance.

    A difference may be ``atol + rtol * max|output|``, for integers one step. An operator that the interpreter does not
    run is infinitely far.
    """
    differences: list[float | None] = []
    for single in operators:
        try:
            outputs = _run(single)
        except (RuntimeError, ValueError):
            differences.append(float("inf"))
            continue
        far = 0.0
        for output, right in zip(outputs, single.outputs, strict=True):
            if right.dtype.kind != "f" and right.dtype.kind not in "iu":
                continue
            whole = right.dtype.kind != "f"
            by = np.abs(output.astype(np.float64) - right.astype(np.float64)).max(initial=0.0)
            allowed = 1.0 if whole else atol + rtol * np.abs(right).max(initial=0.0)
            if not by <= allowed:
                far = max(far, float(np.nan_to_num(by, nan=np.inf)))
        differences.append(far or None)
    return differences


def _run(single: SingleOperator) -> list[np.ndarray[Any, Any]]:
    interpreter = tf.lite.Interpreter(model_path=single.path, num_threads=THREADS)
    places = [detail["index"] for detail in interpreter.get_input_details()]
    for place, array in zip(places, single.inputs, strict=True):
        interpreter.resize_tensor_input(place, array.shape)
    interpreter.allocate_tensors()
    for place, array in zip(places, single.inputs, strict=True):
        interpreter.set_tensor(place, array)
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]
