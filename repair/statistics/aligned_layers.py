"""Layers of a Target that are ranked, as frozen values that worker and parent know. Needs numpy only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...runtimes.tensor_layout import TensorLayout


@dataclass(frozen=True)
class AlignedLayer:
    """A layer of the Target's view and the Source's tensor that it is compared with.

    ``compared_tensor`` is the layer's own output ``target_tensor`` or, where the Source computes nothing of the kind,
    the nearest tensor behind it that the Source has. It ought to hold ``source_tensor`` in the ``layout``.
    """

    op_type: str
    target_node: str
    target_tensor: str
    source_node: str
    source_tensor: str
    metadata: Mapping[str, str]
    compared_tensor: str
    layout: TensorLayout


@dataclass(frozen=True)
class AlignedLayers:
    """The ranked layers in the order of the graph, and the names of those that nothing in the Source corresponds to."""

    layers: tuple[AlignedLayer, ...]
    unaligned: tuple[str, ...]
