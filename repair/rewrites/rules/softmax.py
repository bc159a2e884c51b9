"""Softmax and LogSoftmax (opset 13 semantics) on the last axis, or as exponentials."""

from __future__ import annotations

import onnx_ir as ir

from ..rule import Outcome, Refused, Rewrite
from ..site import Site

_OPS = frozenset({"Softmax", "LogSoftmax"})


def _last_axis(model: ir.Model, node: ir.Node) -> Outcome:
    at = Site(model, node)
    dims = at.dims()
    if dims is None:
        return Refused("the rank is unknown")
    rank = len(dims)
    axis = at.attr("axis", -1) % rank
    if axis == rank - 1:
        return False
    y = at.op(node.op_type, at.swap_last(at.input(), axis, rank), axis=rank - 1)
    return at.replace(at.swap_last(y, axis, rank))


def _exponentials(model: ir.Model, node: ir.Node) -> Outcome:
    at = Site(model, node)
    dims = at.dims()
    if dims is None:
        return Refused("the rank is unknown")
    axes = [at.attr("axis", -1) % len(dims)]
    x = at.input()
    shifted = at.op("Sub", x, at.reduce("ReduceMax", x, axes))
    power = at.op("Exp", shifted)
    total = at.reduce("ReduceSum", power, axes)
    if node.op_type == "LogSoftmax":
        return at.replace(at.op("Sub", shifted, at.op("Log", total)))
    return at.replace(at.op("Div", power, total))


REWRITES = (
    Rewrite("logsoftmax", frozenset({"LogSoftmax"}), "CG", "becomes x - max - log(sum(exp))", _exponentials),
    Rewrite("softmax-last-axis", _OPS, "LH", "another axis is moved to the end and back", _last_axis),
    Rewrite("softmax-exponentials", _OPS, "CG", "becomes exp and sum", _exponentials),
)
