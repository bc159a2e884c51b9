"""Run an ONNX view on one input after the other, as far as some of its tensors need it. Child side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from ..graph.runner import GraphRunner, session
from ..localization.locate import canonical

Array = np.ndarray[Any, Any]


@lru_cache(2)
def _steps(path: str, changed: int) -> GraphRunner:
    """The settled graph of a file; ``changed`` is when it was written."""
    return GraphRunner(canonical(path))


class Model:
    """A view and its inputs, run one input at a time, with as much of the graph as is asked for."""

    def __init__(self, path: str, arrays: Mapping[str, Array], batch: int) -> None:
        self.steps, self.arrays, self.batch = _steps(path, Path(path).stat().st_mtime_ns), arrays, batch
        self.count = len(next(iter(arrays.values())))

    def each(self, tensors: Sequence[str]) -> Iterator[dict[str, Array]]:
        """The values of these tensors (batch of 1) for each of the inputs."""
        tensors = list(dict.fromkeys(tensors))
        made = [name for name in tensors if name in self.steps.maker]
        needed = {node.name for name in made for node in self.steps.between(name, ())}
        cut = onnx.ModelProto()
        cut.CopyFrom(self.steps.model)
        del cut.graph.node[:], cut.graph.output[:], cut.graph.value_info[:]
        cut.graph.node.extend(node for node in self.steps.nodes if node.name in needed)
        cut.graph.output.extend(onnx.ValueInfoProto(name=name) for name in made)
        running = session(cut) if made else None
        for row in range(self.count):
            own = {name: np.repeat(self.arrays[name][row : row + 1], self.batch, axis=0) for name in self.steps.inputs}
            results = [] if running is None else running.run(made, own)
            values = {**own, **dict(zip(made, results, strict=True))}
            yield {name: values[name][: max(1, len(values[name]) // self.batch)] for name in tensors}
