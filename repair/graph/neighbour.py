"""A node near a fault, as a value that travels between worker and parent."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Neighbour:
    """A node of an ONNX graph near another: ``position`` is its distance in edges, negative where it comes before.

    ``index`` is its place in the graph's list of nodes.
    """

    position: int
    node: str
    operator: str
    index: int
