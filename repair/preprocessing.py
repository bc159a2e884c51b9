"""PP, preprocessing: what happens to an image before the model's first layer, on either side of the model's input.

Where both models are fed one identical tensor and agree, the fault is in the pipeline around them; where they do not,
and the first weighted layer is not yet reached, it is preprocessing built into a model. Child side.
"""

from __future__ import annotations

import onnx

from .proposals import Proposal
from .stepping import LAYOUT
from .walking import Parting, Walk

PREPARING = frozenset(
    {"Mul", "Add", "Sub", "Div", "BatchNormalization", "Clip"}
    | {"Gather", "Slice", "Split", "Concat", "Resize", "Upsample"}
)
"""Operators of preprocessing: channel order, scaling, mean and standard deviation, resizing and cropping."""
LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "MaxPool", "AveragePool", "GlobalAveragePool", "Relu"})


def prepares(walk: Walk, parting: Parting, proposal: Proposal) -> bool:
    """Is what the proposal changes part of the preparing of the image, ahead of every layer of the model?"""
    node = next((n for n in walk.target.nodes if n.name == proposal.node), None)
    if node is None or (node.op_type in LAYERS and not proposal.evidence.get("missing")):
        return False
    kinds = proposal.evidence.get("missing") or [node.op_type]
    if not set(kinds) <= PREPARING | LAYOUT:
        return False
    return not _layers_before(walk, node)


def _layers_before(walk: Walk, node: onnx.NodeProto) -> bool:
    """Does any layer of the model stand between the graph's inputs and this node?"""
    pending, seen = list(walk.target.dynamic(node)), set()
    while pending:
        maker = walk.target.maker.get(pending.pop())
        if maker is None or maker.name in seen:
            continue
        seen.add(maker.name)
        if maker.op_type in LAYERS:
            return True
        pending += walk.target.dynamic(maker)
    return False


