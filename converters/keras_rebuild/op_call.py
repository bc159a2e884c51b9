"""One TensorFlow graph operation that is replayed as Keras operations, as its builder gets it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .emitter import Emitter, UnsupportedOperation, Value

Builder = Callable[..., Any]
UNKNOWN = -(2**30)  # the batch size, while shape arithmetic is folded; only moved around, never computed with


class Call:
    """One graph operation to be replayed: its attributes, a name for what it becomes, and the emitter."""

    def __init__(self, emitter: Emitter, op: Any, layer: str, name: str) -> None:
        self.emit, self.op, self.layer, self.name = emitter, op, layer, name

    def attr(self, key: str) -> Any:
        value = self.op.get_attr(key)
        return value.decode() if isinstance(value, bytes) else value

    def refuse(self, why: str) -> UnsupportedOperation:
        return UnsupportedOperation(self.op.type, self.layer, why)

    def constant(self, value: Any, what: str) -> np.ndarray[Any, Any]:
        if isinstance(value, Value):
            raise self.refuse(f"{what} is not a constant")
        return np.asarray(value)

    def ints(self, value: Any, what: str) -> list[int]:
        return [int(item) for item in self.constant(value, what).ravel()]
