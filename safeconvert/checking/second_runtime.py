"""A TFLite file in a second runtime: people run such files in LiteRT and in TensorFlow's own interpreter.

The two are builds of the same kernels from different times, and do not always answer the same: TensorFlow 2.21 pads
a convolution wrongly whose window is smaller than its stride, LiteRT 2.3 does not. A Target is right in both, or it is
not right. Where TensorFlow is not installed there is no second runtime.
"""

from __future__ import annotations

import importlib.util

from ..errors import CallRaised, WorkerFailed
from ..models.loaded import LoadedModel, shorten

RUNTIME = ("tensorflow", "runtimes.litert.tensorflow_interpreter")
ELSEWHERE = "TensorFlow's own interpreter"
WORDS = f"{ELSEWHERE} answers otherwise than LiteRT"


def warm(source: LoadedModel, format: str) -> None:
    """Let TensorFlow load while other things are done."""
    if _applies(format):
        source.workers.worker(_child_name(source), "tensorflow")


def in_second_runtime(source: LoadedModel, target: LoadedModel) -> LoadedModel | None:
    """The Target in its second runtime; None where it has none."""
    if target.runtime is not None or not _applies(target.format):
        return None
    if target.second is None:
        target.second = LoadedModel(target.workers, _child_name(source), target.recognised, runtime=RUNTIME)
        target.second.signature = target.signature  # it is the same file
    return target.second


def unavailable_reason(other: LoadedModel) -> str:
    """Why the second runtime cannot be asked: its process died as the file was loaded, and once more. Empty where it
    can be, or where it refuses the file, which running it will tell."""
    why = ""
    for _ in range(2):
        try:
            other.worker()
        except CallRaised:
            return ""
        except WorkerFailed as error:
            why = f"{ELSEWHERE} could not be asked: {shorten(str(error))}"
        else:
            return ""
    return why


def _applies(format: str) -> bool:
    return format == "tflite" and importlib.util.find_spec("tensorflow") is not None


def _child_name(source: LoadedModel) -> str:
    """The child that has TensorFlow already, or will be the one to have it."""
    return source.worker_name if source.framework == "tensorflow" else "convert-tensorflow"
