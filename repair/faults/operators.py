"""Operators by what their constants mean, and when two chains of them do the same in effect. Worker side."""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from ..alignment.walk import Divergence, Walk
from ..graph.runner import GraphRunner, computing_nodes

SPREADING = frozenset({"PRelu", "Mul", "Add", "Sub", "Div"})
"""Operators that spread a constant over the axes that its shape says."""
SETTINGS = frozenset(
    {"Clip", "Pad", "Slice", "Resize", "Upsample", "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "TopK"}
    | {"Gather"}
    | {"Reshape", "Expand", "Tile", "Squeeze", "Unsqueeze", "Split", "Dropout", "OneHot", "CumSum", "Pow"}
)
"""Operators whose constant inputs are settings (``hyperparameters``) rather than weights."""
NEUTRAL = {"Add": 0.0, "Sub": 0.0, "Mul": 1.0, "Div": 1.0}
"""Operators that change nothing with this constant as their second input."""
WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
SCALING = frozenset({"BatchNormalization", "Mul", "Add", "Sub", "Div", "Pad"})
ALIASES = {"Gemm": "MatMul"}


def effective_operators(steps: GraphRunner, nodes: Sequence[onnx.NodeProto]) -> list[str]:
    """List the operators of these nodes but for those that only scale, shift and pad by constants."""
    chosen = [n for n in computing_nodes(nodes) if n.op_type not in SCALING or len(steps.dynamic(n)) > 1]
    kinds = [ALIASES.get(n.op_type, n.op_type) for n in chosen]
    if "Min" in kinds or "Max" in kinds:  # limits in two steps
        kinds = ["Clip" if kind in ("Min", "Max", "Relu") else kind for kind in kinds]
    return [kind for i, kind in enumerate(kinds) if kind != "Clip" or kinds[i - 1 : i] != ["Clip"]]


def has_same_effect(walk: Walk, divergence: Divergence) -> bool:
    """Do both sides do the same in effect, operators that only pad, scale and shift aside?"""
    operators = effective_operators(walk.target, divergence.nodes)
    return bool(operators) and operators == effective_operators(walk.source, divergence.origins)


def has_like_operators(walk: Walk, divergence: Divergence) -> bool:
    """Do both sides have the same operators, or the same in effect, so that arrays and settings can be compared?"""
    kinds = [[node.op_type for node in computing_nodes(chain)] for chain in (divergence.nodes, divergence.origins)]
    return has_same_effect(walk, divergence) or kinds[0] == kinds[1]
