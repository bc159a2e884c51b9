"""A difference between two runtimes, as a frozen value that worker and parent know. Needs nothing but Python."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RuntimeDifference:
    """A node of the Target that differs from the Source just as two runtimes differ on the same node.

    ``onnxruntime`` and ``tvm`` are the two runtimes' values where they lie furthest apart, as text; ``max_abs`` is the
    distance between them, None where it is not finite or the shapes differ.
    """

    target_node: str
    source_node: str
    operator: str
    max_abs: float | None
    onnxruntime: str
    tvm: str
