"""Differences between two runtimes of one graph, as frozen values that worker and parent know. Needs only Python."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LargestDifference:
    """Where two values of one tensor lie furthest apart: the two values there as text, and their distance.

    ``max_abs`` is None where it is not finite, or where the shapes differ; the texts are the shapes then.
    """

    max_abs: float | None
    onnxruntime: str
    tvm: str


@dataclass(frozen=True)
class RuntimeDifference:
    """A node of the Target that differs from the Source just as two runtimes differ on the same node."""

    target_node: str
    source_node: str
    operator: str
    values: LargestDifference


@dataclass(frozen=True)
class NodeOutputDifference:
    """An output of a node that two runtimes compute differently from the same inputs; ``call`` is TVM's function."""

    node: str
    operator: str
    tensor: str
    call: str
    values: LargestDifference


@dataclass(frozen=True)
class RuntimeDifferences:
    """How TVM's tensors of a graph compare with onnxruntime's.

    ``compared_tensors`` counts them. ``differing_outputs`` are graph outputs beyond the tolerance, ``absent_outputs``
    those that TVM did not compute. ``max_abs`` is over all outputs; None where they cannot be subtracted. ``nodes`` are
    in the order of the graph.
    """

    compared_tensors: int
    differing_outputs: tuple[str, ...]
    absent_outputs: tuple[str, ...]
    max_abs: float | None
    nodes: tuple[NodeOutputDifference, ...]
