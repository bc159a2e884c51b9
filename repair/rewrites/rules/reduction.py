"""Reductions with explicit positive axes, kept dims, and only Sum, Mean and Max."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ..rule import Outcome, Refused, Rewrite
from ..site import Site, reshapable

REDUCTIONS = frozenset(
    f"Reduce{kind}" for kind in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
)
_COMPOSITE = frozenset({"ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare"})
MAX_CHAIN = 64


def axes_of(at: Site) -> list[int] | Refused:
    """Positive axes that are reduced; none where the node passes its input through."""
    dims = at.dims()
    if dims is None:
        return Refused("the rank is unknown")
    rank = len(dims)
    axes = at.attr("axes")
    if at.has(1):
        computed = at.constant(1)
        if computed is None:
            return Refused("computed axes")
        axes = [int(a) for a in computed.reshape(-1)]
    if axes:
        return sorted(a % rank for a in axes)
    return [] if at.attr("noop_with_empty_axes", 0) else list(range(rank))


def _explicit(model: ir.Model, node: ir.Node) -> Outcome:
    at = Site(model, node)
    axes = axes_of(at)
    if isinstance(axes, Refused):
        return axes
    if not axes:
        if node.op_type in ("ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum"):
            return at.replace(at.input())
        return Refused("no axes, yet the elements change")
    constant = at.constant(1)
    declared = at.attr("axes") or (None if constant is None else constant.reshape(-1).tolist())
    if declared == axes and "noop_with_empty_axes" not in node.attributes:
        return False
    return at.replace(at.reduce(node.op_type, at.input(), axes, at.attr("keepdims", 1)))


def _keepdims(model: ir.Model, node: ir.Node) -> Outcome:
    at = Site(model, node)
    axes, dims = axes_of(at), at.dims()
    if isinstance(axes, Refused) or dims is None:
        return axes if isinstance(axes, Refused) else False
    if at.attr("keepdims", 1) or not axes:
        return False
    left = [d for i, d in enumerate(dims) if i not in axes]
    if not reshapable(left):
        return Refused("the dims that stay are not static")
    return at.replace(at.reshape(at.reduce(node.op_type, at.input(), axes), left))


def _batch_of_one(model: ir.Model, node: ir.Node) -> Outcome:
    """A batch of one sample is not reduced: nothing changes, and converters that free the batch stay right."""
    at = Site(model, node)
    axes, dims = axes_of(at), at.dims()
    if isinstance(axes, Refused) or dims is None:
        return axes if isinstance(axes, Refused) else False
    if len(axes) < 2 or axes[0] != 0 or dims[0] != 1 or not at.attr("keepdims", 1):
        return False
    return at.replace(at.reduce(node.op_type, at.input(), axes[1:]))


def _composite(model: ir.Model, node: ir.Node) -> Outcome:
    at = Site(model, node)
    axes, dims = axes_of(at), at.dims()
    if isinstance(axes, Refused) or dims is None:
        return axes if isinstance(axes, Refused) else False
    if not axes or not at.floating:
        return Refused("no axes, or integers")
    keep, kind, x, rank = at.attr("keepdims", 1), node.op_type, at.input(), len(dims)
    if kind == "ReduceLogSumExp":
        top = at.reduce("ReduceMax", x, axes)
        power = at.op("Exp", at.op("Sub", x, top))
        y = at.op("Add", at.op("Log", at.reduce("ReduceSum", power, axes)), top)
        left = [d for i, d in enumerate(dims) if i not in axes]
        if not keep and not reshapable(left):
            return Refused("the dims that stay are not static")
        return at.replace(y if keep else at.reshape(y, left))
    if kind == "ReduceL1":
        x = at.op("Max", x, at.op("Mul", x, at.scalar(-1, rank)))
    elif kind in ("ReduceL2", "ReduceSumSquare"):
        x = at.op("Mul", x, x)
    y = at.reduce("ReduceSum", x, axes, keep)
    outer = {"ReduceL2": "Sqrt", "ReduceLogSum": "Log"}.get(kind)
    return at.replace(at.op(outer, y) if outer else y)


def _min(model: ir.Model, node: ir.Node) -> Outcome:
    at = Site(model, node)
    axes, dims = axes_of(at), at.dims()
    if isinstance(axes, Refused) or dims is None:
        return axes if isinstance(axes, Refused) else False
    if not axes or not at.floating:
        return Refused("no axes, or integers")
    keep = at.attr("keepdims", 1)
    top = at.reduce("ReduceMax", at.op("Mul", at.input(), at.scalar(-1, len(dims))), axes, keep)
    return at.replace(at.op("Mul", top, at.scalar(-1, len(dims) if keep else len(dims) - len(axes))))


def _prod(model: ir.Model, node: ir.Node) -> Outcome:
    at = Site(model, node)
    axes, dims = axes_of(at), at.dims()
    if isinstance(axes, Refused) or dims is None:
        return axes if isinstance(axes, Refused) else False
    sizes = [dims[a] for a in axes]
    if None in sizes or sum(s or 0 for s in sizes) > MAX_CHAIN:
        return Refused(f"a product over an axis that is not static, or longer than {MAX_CHAIN}")
    x = at.input()
    for axis, size in zip(axes, sizes, strict=True):
        parts = [at.slice(x, axis, i, i + 1) for i in range(size or 0)]
        x = parts[0]
        for part in parts[1:]:
            x = at.op("Mul", x, part)
    left = [d for i, d in enumerate(dims) if i not in axes]
    if not at.attr("keepdims", 1):
        if not reshapable(left):
            return Refused("the dims that stay are not static")
        x = at.reshape(x, left)
    return at.replace(x)


def _arg(model: ir.Model, node: ir.Node) -> Outcome:
    """ArgMax and ArgMin on a positive axis without keepdims, then a Reshape."""
    at = Site(model, node)
    dims = at.dims()
    if dims is None:
        return Refused("the rank is unknown")
    if at.attr("select_last_index", 0):
        return False
    axis, keep = at.attr("axis", 0), at.attr("keepdims", 1)
    if axis >= 0 and not keep:
        return False
    axis %= len(dims)
    sizes: list[int | None] = list(dims)
    sizes[axis] = 1
    if keep and not reshapable(sizes):
        return Refused("the dims that stay are not static")
    y = at.op(node.op_type, at.input(), axis=axis, keepdims=0)
    return at.replace(at.reshape(y, sizes) if keep else y)


def _matmul_mean(model: ir.Model, node: ir.Node) -> Outcome:
    """A mean or sum over the last axis as a product with a constant column."""
    at = Site(model, node)
    axes, dims = axes_of(at), at.dims()
    if isinstance(axes, Refused) or dims is None:
        return axes if isinstance(axes, Refused) else False
    size = dims[-1]
    if axes != [len(dims) - 1] or len(dims) < 2 or not at.attr("keepdims", 1):
        return False
    if size is None or not at.floating:
        return Refused("the last axis is not static, or integers")
    weight = 1 / size if node.op_type == "ReduceMean" else 1
    return at.replace(at.op("MatMul", at.input(), at.const(np.full([size, 1], weight))))


REWRITES = (
    Rewrite("reduce-axes", REDUCTIONS, "LH", "axes become explicit and positive", _explicit),
    Rewrite("reduce-batch-of-one", REDUCTIONS, "TSS", "a static batch of one sample is not reduced", _batch_of_one),
    Rewrite("reduce-composite", _COMPOSITE, "CG", "norms and logs of sums become ReduceSum", _composite),
    Rewrite("reduce-min", frozenset({"ReduceMin"}), "CG", "becomes -ReduceMax(-x)", _min),
    Rewrite("reduce-prod", frozenset({"ReduceProd"}), "CG", "becomes a chain of Mul", _prod),
    Rewrite("reduce-keepdims", REDUCTIONS, "TSS", "keepdims=0 becomes keepdims=1 and a Reshape", _keepdims),
    Rewrite("arg-keepdims", frozenset({"ArgMax", "ArgMin"}), "TSS", "keepdims=1 becomes a Reshape", _arg),
    Rewrite(
        "reduce-as-matmul",
        frozenset({"ReduceMean", "ReduceSum"}),
        "CG",
        "the last axis by a MatMul",
        _matmul_mean,
    ),
)
