"""Run an ONNX view on one input after the other, as far as some of its tensors need it. Worker side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from ..graph.runner import GraphRunner, session
from ..localization.locate import canonical
from .ranking_values import ViewInputs

Array = np.ndarray[Any, Any]


@lru_cache(2)
def _graph_runner(path: str, modified: int) -> GraphRunner:
    """The canonical graph of a file; ``modified`` is when it was written, in nanoseconds."""
    return GraphRunner(canonical(path))


class RowRunner:
    """A view and its inputs; runs one input at a time, and only the part of the graph that the tensors asked for need.

    ``arrays`` have the batch first. ``batch`` is the batch size that the view was exported for: each input is repeated
    to fill it.
    """

    def __init__(self, path: str, arrays: Mapping[str, Array], batch: int) -> None:
        self.runner, self.arrays, self.batch = _graph_runner(path, Path(path).stat().st_mtime_ns), arrays, batch
        self.count = len(next(iter(arrays.values())))

    @classmethod
    def of_source(cls, views: ViewInputs) -> RowRunner:
        return cls(views.source, views.source_arrays, views.source_batch)

    @classmethod
    def of_target(cls, views: ViewInputs) -> RowRunner:
        return cls(views.target, views.target_arrays, views.target_batch)

    def each(self, tensors: Sequence[str]) -> Iterator[dict[str, Array]]:
        """Compute these tensors (batch of 1) for each of the inputs."""
        tensors = list(dict.fromkeys(tensors))
        computed = [name for name in tensors if name in self.runner.maker]
        running = session(self._part(computed)) if computed else None
        for row in range(self.count):
            inputs = {
                name: np.repeat(self.arrays[name][row : row + 1], self.batch, axis=0) for name in self.runner.inputs
            }
            results = [] if running is None else running.run(computed, inputs)
            values = {**inputs, **dict(zip(computed, results, strict=True))}
            yield {name: values[name][: max(1, len(values[name]) // self.batch)] for name in tensors}

    def _part(self, tensors: Sequence[str]) -> onnx.ModelProto:
        """The graph cut down to what computes these tensors, which become its outputs."""
        needed = {node.name for name in tensors for node in self.runner.between(name, ())}
        part = onnx.ModelProto()
        part.CopyFrom(self.runner.model)
        del part.graph.node[:], part.graph.output[:], part.graph.value_info[:]
        part.graph.node.extend(node for node in self.runner.nodes if node.name in needed)
        part.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors)
        return part
