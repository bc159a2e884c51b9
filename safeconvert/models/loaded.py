"""A model in its own runtime, as the parent sees it: a path, a signature, and arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..converters import HOPS
from ..errors import BadInput, CallRaised, NotInstalled
from ..records import Recognised, Signature
from ..workers.pool import Worker, WorkerPool

Array = np.ndarray[Any, Any]
RUNTIMES = {
    "torch": ("torch", "runtimes.pytorch.model"),
    "keras": ("tensorflow", "runtimes.tensorflow.model"),
    "tf": ("tensorflow", "runtimes.tensorflow.model"),
    "tflite": ("onnx_tflite", "runtimes.onnx_tflite"),
    "onnx": ("onnx_tflite", "runtimes.onnx_tflite"),
}
EXTRAS = {module: hop.extra for hop in HOPS for module in hop.requires} | {
    "torch": "torch", "tensorflow": "tensorflow", "keras": "tensorflow", "ai_edge_litert": "tensorflow",
    "onnx": "onnx", "onnxruntime": "onnx", "onnxscript": "onnx", "tvm": "tvm",
}  # fmt: skip
"""The extra of safeconvert's package that installs a module: of a converter, or of a runtime."""


@dataclass
class LoadedModel:
    """Source or Target (or what stands between), loaded in the child called ``worker_name``.

    A child that died is started again and the model loaded again, because it may be needed after a crash.
    ``runtime`` is the framework and the module to load it with, in place of the format's usual ones; ``second`` is the
    same file in such a one, once it was asked for (see ``second_runtime``).
    """

    workers: WorkerPool
    worker_name: str
    recognised: Recognised
    options: Mapping[str, Any] = field(default_factory=dict)
    runtime: tuple[str, str] | None = None
    second: LoadedModel | None = field(default=None, repr=False)
    signature: Signature = field(init=False)
    notes: list[str] = field(default_factory=list)
    _pid: int = -1

    @property
    def path(self) -> Path:
        return self.recognised.path

    @property
    def location(self) -> str:
        """The path as a child needs it, which works in another folder; the model is registered under it."""
        absolute = self.path.absolute()
        # External data lies beside the ONNX file itself, not beside a link to it.
        return str(absolute.resolve() if self.format == "onnx" else absolute)

    @property
    def format(self) -> str:
        return self.recognised.format

    @property
    def framework(self) -> str:
        return (self.runtime or RUNTIMES[self.format])[0]

    def start(self) -> Worker:
        """The child, warming up if it is new; the model is not loaded yet."""
        return self.workers.worker(self.worker_name, self.framework)

    def worker(self) -> Worker:
        """The child with the model loaded in it."""
        worker = self.start()
        if worker.process.pid != self._pid:
            module = (self.runtime or RUNTIMES[self.format])[1]
            answer = worker.call(module, "load", path=self.location, flavour=self.recognised.flavour, **self.options)
            self.signature = Signature.from_child(answer)
            self._pid = worker.process.pid
        return worker

    def run(self, arrays: Mapping[str, Array]) -> list[Array]:
        """The outputs for one batch, in the model's order. Raises :class:`WorkerFailed`."""
        answer = self.worker().call("runtimes.registry", "run", path=self.location, arrays=dict(arrays))
        self.notes = list(answer["notes"])
        return list(answer["outputs"])

    @property
    def output_names(self) -> list[str]:
        return [spec.name for spec in self.signature.outputs]


def explain(error: CallRaised, recognised: Recognised, who: str = "") -> BadInput:
    """What a framework's error on loading means for the person who gave the file, in at most two lines."""
    path, text = recognised.path, f"{error.message}"
    if error.kind in ("ModuleNotFoundError", "ImportError") and recognised.flavour != "state_dict":
        missing = text.partition("'")[2].partition("'")[0].partition(".")[0] or text[:80]
        extra = EXTRAS.get(missing)
        if extra:
            return NotInstalled(f"{path} needs {missing}, which is not installed.\npip install 'safeconvert[{extra}]'")
        if recognised.flavour == "module":
            return BadInput(f"{path} is a pickled module whose code needs {missing}, which cannot be imported here.")
    if "safe_mode" in text or ("Lambda" in text and "deserializ" in text):
        return BadInput(
            f"{path} has a Lambda layer, which is Python code that would run on loading.\n"
            "If you trust where the file comes from, pass --trust-pickle."
        )
    if recognised.flavour == "onnx" and error.kind == "ValueError":
        return BadInput(f"{path}: {text}.")
    if "--" in text:  # the child's own words name the option to use
        return BadInput(f"{path}: {shorten(text)}")
    if recognised.flavour == "state_dict":
        return BadInput(f"{path}: the state dict does not fit --model-fn: {shorten(text)}")
    return BadInput(
        f"{path} cannot be loaded as {recognised.flavour}: it is damaged, or of a version that is not supported.\n"
        f"{error.kind}: {shorten(text)}"
    )


def shorten(text: str, width: int = 240) -> str:
    """One line of at most ``width`` characters."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 3] + "..."
