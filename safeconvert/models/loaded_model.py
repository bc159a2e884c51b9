"""A model in its own runtime, as the parent sees it: a path, a signature, and arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BadInput, CallRaised, NotInstalled
from ..formats import Format, ModelFile, extra_with
from ..records import NO_LOAD_OPTIONS, LoadOptions, Signature
from ..workers.pool import Worker, WorkerPool
from ..workers.runtime import Runtime
from ..workers.runtime_functions import RUN
from .model_digest import model_digest

Array = np.ndarray[Any, Any]


@dataclass
class LoadedModel:
    """A model in its own runtime: the Source, the Target or a model between, in the worker called ``worker_name``.

    A worker that died is started again and the model loaded again, because it may be needed after a crash.
    ``other_runtime`` runs the file in place of its format's own runtime; ``second`` is the same file in the format's
    second runtime, once that was asked for (see ``checking/second_runtime.py``).
    """

    workers: WorkerPool
    worker_name: str
    file: ModelFile
    options: LoadOptions = NO_LOAD_OPTIONS
    other_runtime: Runtime | None = None
    second: LoadedModel | None = field(default=None, repr=False)
    signature: Signature = field(init=False)
    notes: list[str] = field(default_factory=list)
    unbatched: frozenset[int] = frozenset()  # outputs whose first axis is not the batch, by index, once it was run
    varying: frozenset[int] = frozenset()  # outputs whose length varies from input to input
    digest: str = ""  # SHA-256 of all that the model is made of, from just before it was loaded
    was_replaced: bool = False  # when it was loaded again, it was another one
    _pid: int = -1

    @property
    def path(self) -> Path:
        return self.file.path

    @property
    def location(self) -> str:
        """The path as a worker needs it, which works in another folder; the model is registered under it."""
        absolute = self.path.absolute()
        # External data lies beside the file itself, not beside a link to it.
        return str(absolute.resolve() if self.format.has_external_data else absolute)

    @property
    def format(self) -> Format:
        return self.file.format

    @property
    def runtime(self) -> Runtime:
        return self.other_runtime or self.format.runtime

    @property
    def framework(self) -> str:
        return self.runtime.worker

    def start(self) -> Worker:
        """The child, warming up if it is new; the model is not loaded yet."""
        return self.workers.worker(self.worker_name, self.framework)

    def worker(self) -> Worker:
        """The child with the model loaded in it."""
        worker = self.start()
        if worker.process.pid != self._pid:
            digest = model_digest(self.file)
            self.was_replaced |= bool(self.digest) and digest != self.digest
            self.digest = self.digest or digest
            self.signature = self.runtime.load(
                worker, None, path=self.location, flavour=self.file.flavour, options=self.options
            )
            self._pid = worker.process.pid
        return worker

    def run(self, arrays: Mapping[str, Array]) -> list[Array]:
        """The outputs for one batch, in the model's order. Raises :class:`WorkerFailed`."""
        result = RUN(self.worker(), None, path=self.location, arrays=dict(arrays))
        self.notes = list(result.notes)
        self.unbatched, self.varying = result.unbatched, result.varying
        return result.outputs

    def change_on_disk(self) -> str | None:
        """Say that the model on disk is no longer the one that was loaded; None where it is, or was never loaded."""
        if not self.digest:
            return None
        try:
            now = model_digest(self.file)
        except OSError:
            return f"{self.path} was removed while it was in use"
        if not self.was_replaced and now == self.digest:
            return None
        return f"{self.path} was changed while it was in use, so what was compared is not what stands there now"

    @property
    def output_names(self) -> list[str]:
        return [spec.name for spec in self.signature.outputs]


def explain(error: CallRaised, file: ModelFile) -> BadInput:
    """Say what a framework's error on loading means for the person who gave the file, in at most two lines."""
    path, text = file.path, f"{error.message}"
    if error.kind in ("ModuleNotFoundError", "ImportError") and file.flavour != "state_dict":
        missing = text.partition("'")[2].partition("'")[0].partition(".")[0] or text[:80]
        extra = extra_with(missing)
        if extra:
            return NotInstalled(f"{path} needs {missing}, which is not installed.\npip install 'safeconvert[{extra}]'")
        if file.flavour == "module":
            return BadInput(f"{path} is a pickled module whose code needs {missing}, which cannot be imported here.")
    if "safe_mode" in text or ("Lambda" in text and "deserializ" in text):
        return BadInput(
            f"{path} has a Lambda layer, which is Python code that would run on loading.\n"
            "If you trust where the file comes from, pass --trust-pickle."
        )
    if file.format.is_view and error.kind == "ValueError":
        return BadInput(f"{path}: {text}.")
    if "--" in text:  # the worker's own message names the option to use
        return BadInput(f"{path}: {shorten(text)}")
    if file.flavour == "state_dict":
        return BadInput(f"{path}: the state dict does not fit --model-fn: {shorten(text)}")
    return BadInput(
        f"{path} cannot be loaded as {file.flavour}: it is damaged, or of a version that is not supported.\n"
        f"{error.kind}: {shorten(text)}"
    )


def shorten(text: str, width: int = 240) -> str:
    """One line of at most ``width`` characters."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 3] + "..."
