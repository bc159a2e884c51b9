"""Single nodes written as models of their own, as frozen values that worker and parent know. Needs only Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class SingleNodeFiles:
    """A node to be written as a model: its name, and the paths of the model (``.onnx``) and its inputs (``.npz``)."""

    node: str
    model: str
    inputs: str


@dataclass(frozen=True)
class SingleNode:
    """A node that was written as a model of its own.

    ``text`` lists the opset, the node, its attributes, shapes and small constants. ``inputs`` and ``outputs`` have the
    shapes by name. ``row_count`` rows of inputs were stored; where it is 0, one row alone is too large and there is no
    file.
    ``has_batch_axis``: the first axis of every input and output is the batch.
    """

    text: str
    inputs: Mapping[str, tuple[int, ...]]
    outputs: Mapping[str, tuple[int, ...]]
    row_count: int
    has_batch_axis: bool


@dataclass(frozen=True)
class UnwritableNode:
    """A node that cannot be a model of its own, and why."""

    reason: str
