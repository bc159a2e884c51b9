"""An ONNX graph in pieces: nodes that read inputs and write outputs of their own. Values that both processes know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class PieceOutput:
    """One output of one node of the graph: ``tensor`` is its name there, ``name`` the output's name in the pieces.

    ``index`` is the node's position in the graph. ``attached`` are the nodes before it, in the graph's order, that the
    piece has too, since what they compute is no floating-point tensor to cut at.
    """

    tensor: str
    name: str
    node: str
    operator: str
    index: int
    attached: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pieces:
    """A graph taken apart. ``inputs`` gives for each input of the pieces the tensor of the graph that it stands for."""

    inputs: Mapping[str, str]
    outputs: tuple[PieceOutput, ...]
