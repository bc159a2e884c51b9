"""The Source's outputs: computed once, while converters run in other workers, and kept on disk.

Memory does not grow with the number of inputs: outputs are written to files, a batch at a time.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import WorkerFailed
from ..inputs.base import Inputs
from ..models.loaded_model import LoadedModel

Array = np.ndarray[Any, Any]
BATCH = 16  # inputs that a model runs at once


def batches(rows: Sequence[int], size: int = BATCH) -> list[tuple[int, ...]]:
    """Split the rows into batches of at most ``size``."""
    return [tuple(rows[start : start + size]) for start in range(0, len(rows), size)]


class SourceOutputs:
    """The Source's outputs on the evaluation set's inputs, some of which may still be being decoded."""

    def __init__(self, source: LoadedModel, inputs: Future[Inputs], folder: Path) -> None:
        self.source = source
        self._inputs = inputs
        self._folder = folder
        self._busy = threading.Lock()
        self._go = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.seconds = 0.0

    @property
    def inputs(self) -> Inputs:
        return self._inputs.result()

    def ready(self) -> bool:
        """Return whether the inputs are decoded."""
        return self._inputs.done() and self._inputs.exception() is None

    def outputs(self, batch: tuple[int, ...]) -> tuple[dict[str, Array], list[Array]]:
        """Return inputs and Source outputs of one batch, from disk if they are there. Raises :class:`WorkerFailed`."""
        arrays = self.inputs.read(batch)
        rows = hashlib.sha256(np.asarray(batch, np.int64).tobytes()).hexdigest()[:32]
        spooled = self._folder / f"{rows}.npz"
        with self._busy:
            if not spooled.exists():
                results = self.source.run(arrays)
                partial = spooled.with_suffix(".partial")
                with partial.open("wb") as file:
                    np.savez(file, *results)
                partial.rename(spooled)
                return arrays, results
        with np.load(spooled) as stored:
            return arrays, [stored[f"arr_{i}"] for i in range(len(stored.files))]

    def ahead(self, rows: Sequence[Sequence[int]]) -> None:
        """Begin to compute the outputs for these sets of rows in the background; once only."""
        self._go.set()
        if self._thread is not None:
            return

        def work() -> None:
            try:
                for batch in (batch for row_set in rows for batch in batches(row_set)):
                    self._go.wait()
                    if self._stop.is_set():
                        return
                    self.outputs(batch)
            except (WorkerFailed, OSError):
                return  # whoever asks for the batch in the foreground gets the error

        self._thread = threading.Thread(target=work, daemon=True, name="source-ahead")
        self._thread.start()

    def pause(self) -> None:
        """Leave the Source's worker to a converter, after the batch at hand."""
        self._go.clear()
        with self._busy:
            pass

    def close(self) -> None:
        self._stop.set()
        self._go.set()

    def each(self, rows: Sequence[int]) -> Iterator[tuple[tuple[int, ...], dict[str, Array], list[Array]]]:
        """Yield row numbers, inputs and Source outputs, batch by batch."""
        for batch in batches(rows):
            arrays, results = self.outputs(batch)
            yield batch, arrays, results
