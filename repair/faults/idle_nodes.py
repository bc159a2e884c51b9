"""Nodes that should do something and do nothing, as with a slope of 1 or a bias of 0: wrong, rather than missing.

The walk sees such a fault only at the node behind it, since what the node gives is what it reads. Worker side.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from ..alignment.tensor_pairs import candidate_layouts, paired_tensors
from ..alignment.walk import DEPTH, Divergence, Walk
from ..graph.runner import LAYOUT
from .operators import WEIGHTED

LAYOUTS_TRIED = 3  # of the tensor that an idle node should give


def idle_divergences(walk: Walk, node: onnx.NodeProto) -> Iterator[Divergence]:
    """Find the nodes before ``node`` that do nothing where the Source computes something."""
    for tensor in walk.target.dynamic(node):
        maker = walk.target.maker.get(tensor)
        if maker is not None and tensor in walk.aligned and (_is_idle(walk, maker) or has_zero_bias(walk, maker)):
            yield from _should_be(walk, maker, tensor)


def _should_be(walk: Walk, maker: onnx.NodeProto, tensor: str) -> list[Divergence]:
    """Pair the tensor with what the Source goes on to compute from what it holds."""
    ahead = walk.source.following([match.name for match in walk.aligned[tensor]], DEPTH)
    with walk.forgetting(tensor):
        return [
            walk.diverging(tensor, source, layout)
            for target, source in paired_tensors(walk, maker)
            if target == tensor and source in ahead
            for layout in candidate_layouts(walk, tensor, source, maker)[:LAYOUTS_TRIED]
        ]


def _is_idle(walk: Walk, node: onnx.NodeProto) -> bool:
    """Does the node compute, and give what it reads? A slope of 1 does that.

    Nobody can tell for a quantised model: where little is added, the result is as good as the same.
    """
    if node.op_type in LAYOUT or len(node.output) != 1 or not walk.contents.is_unquantized:
        return False
    read = {match.name for name in walk.target.dynamic(node) for match in walk.aligned.get(name, ())}
    return any(match.name in read for match in walk.aligned.get(node.output[0], ()))


def has_zero_bias(walk: Walk, node: onnx.NodeProto) -> bool:
    """Has the node a bias that adds nothing?"""
    bias = walk.target.constants.get(node.input[2]) if node.op_type in WEIGHTED and len(node.input) > 2 else None
    return bias is not None and not bias.any()
