"""A TFLite file in a second runtime: people run such files in LiteRT and in TensorFlow's own interpreter.

The two are builds of the same kernels from different times, and do not always answer the same: TensorFlow 2.21 pads
a convolution wrongly whose window is smaller than its stride, LiteRT 2.3 does not. A Target is right in both, or it is
not right. Where TensorFlow is not installed there is no second runtime.
"""

from __future__ import annotations

from ..errors import CallRaised, WorkerFailed
from ..formats import Format, has_second_runtime
from ..models.loaded_model import LoadedModel, shorten
from ..workers.runtime import TENSORFLOW_INTERPRETER

WORDS = f"{TENSORFLOW_INTERPRETER.name} answers otherwise than LiteRT"


def warm(source: LoadedModel, format: Format) -> None:
    """Let TensorFlow load while other things are done."""
    if has_second_runtime(format):
        source.workers.worker(_worker_name(source), TENSORFLOW_INTERPRETER.worker)


def in_second_runtime(source: LoadedModel, target: LoadedModel) -> LoadedModel | None:
    """The Target in its second runtime; None where it has none."""
    if target.other_runtime is not None or not has_second_runtime(target.format):
        return None
    if target.second is None:
        target.second = LoadedModel(
            target.workers, _worker_name(source), target.file, other_runtime=target.format.second_runtime
        )
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
            why = f"{TENSORFLOW_INTERPRETER.name} could not be asked: {shorten(str(error))}"
        else:
            return ""
    return why


def _worker_name(source: LoadedModel) -> str:
    """The worker that has TensorFlow already, or will be the one to have it."""
    worker = TENSORFLOW_INTERPRETER.worker
    return source.worker_name if source.framework == worker else f"convert-{worker}"
