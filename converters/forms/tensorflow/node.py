"""One TensorFlow graph operation that is about to be replaced by an equivalent. Worker side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Node:
    """An operation, the tensors that its inputs have become, and the inputs' values where they are known.

    A rewrite takes a Node and gives the tensor, or the list of tensors, that stands for the operation's outputs;
    or None, where it has no equivalent and the operation is copied as it is.
    """

    op: Any
    inputs: Sequence[Any]
    known: Sequence[Array | None]

    def attr(self, key: str) -> Any:
        value = self.op.get_attr(key)
        return value.decode() if isinstance(value, bytes) else value

    def ints(self, index: int) -> list[int] | None:
        """Return the known integers of one input, else None."""
        value = self.known[index]
        return None if value is None else [int(item) for item in value.ravel()]

    def used(self, output: int) -> bool:
        """Is anything made of this output, or is it a result of its graph?"""
        tensor = self.op.outputs[output]
        return bool(tensor.consumers()) or any(tensor is result for result in self.op.graph.outputs)


Rewrite = Callable[[Node], Any]


def static(tensor: Any, *axes: int) -> list[int] | None:
    """Return the sizes of the axes; None unless all are known, and where the rank is unknown."""
    if tensor.shape.rank is None:
        return None
    sizes = [tensor.shape[axis] for axis in axes]
    return None if any(size is None for size in sizes) else [int(size) for size in sizes]
