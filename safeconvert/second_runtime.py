"""A TFLite file in a second runtime: people run such files in LiteRT and in TensorFlow's own interpreter.

The two are builds of the same kernels from different times, and do not always answer the same: TensorFlow 2.21 pads
a convolution wrongly whose window is smaller than its stride, LiteRT 2.3 does not. A Target is right in both, or it is
not right. Where TensorFlow is not installed there is no second runtime.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from safeconvert.comparators import Comparator
from safeconvert.compare import Tolerance, compare
from safeconvert.errors import ChildFailed
from safeconvert.sides import Side, shorten

Array = np.ndarray[Any, Any]
RUNTIME = ("tensorflow", "native.tensorflow_lite")
NAME = "TensorFlow's own interpreter"


def applies(format: str) -> bool:
    return format == "tflite" and importlib.util.find_spec("tensorflow") is not None


def child_name(source: Side) -> str:
    """The child that has TensorFlow already, or will be the one to have it."""
    return source.child_name if source.framework == "tensorflow" else "convert-tensorflow"


def warm(source: Side, format: str) -> None:
    """Let TensorFlow load while other things are done."""
    if applies(format):
        source.workshop.child(child_name(source), "tensorflow")


def disagreement(
    source: Side,
    target: Side,
    arrays: Mapping[str, Array],
    outputs: Sequence[Array],
    tolerance: Tolerance,
    comparator: Comparator,
) -> str:
    """In words, how the second runtime's answers to ``arrays`` (a batch as the Target takes it) and ``outputs``,
    the first one's, differ. Empty where they do not, or where there is no second runtime.

    Of a quantised file only most labels must agree: the runtimes may round integers otherwise.
    """
    if not applies(target.format):
        return ""
    other = Side(target.workshop, child_name(source), target.recognised, runtime=RUNTIME)
    rows = range(len(next(iter(arrays.values()))))
    try:
        found = compare(rows, outputs, other.run(arrays), target.output_names, tolerance, comparator)
    except ChildFailed as error:
        return f"{NAME} does not run the file: {shorten(str(error))}"
    quantized = target.signature.quantized
    if found.agrees(max_discrepancy=50.0 if quantized else 0.0, values=not quantized):
        return ""
    return f"LiteRT and {NAME} answer otherwise on the same file: {'; '.join(found.differences())}"
