"""Lp and global pooling as powers, window sums and reductions."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ..rule import Outcome, Refused, Rewrite
from ..site import Site
from .auto_pad import window
from .pool_windows import borders

_GLOBAL = {"GlobalAveragePool": "ReduceMean", "GlobalMaxPool": "ReduceMax"}


def power_root(at: Site, total: ir.Value, p: float, rank: int) -> ir.Value:
    """total ** (1/p)."""
    if p == 1:
        return total
    return at.op("Sqrt", total) if p == 2 else at.op("Pow", total, at.scalar(1 / p, rank))


def absolute_power(at: Site, p: float, rank: int) -> ir.Value:
    """|x| ** p from Mul, Max and Pow alone."""
    x = at.input()
    if p == 2:
        return at.op("Mul", x, x)
    size = at.op("Max", x, at.op("Mul", x, at.scalar(-1, rank)))
    return size if p == 1 else at.op("Pow", size, at.scalar(p, rank))


def _global(model: ir.Model, node: ir.Node) -> Outcome:
    at = Site(model, node)
    dims = at.dims()
    if dims is None:
        return Refused("the rank is unknown")
    axes = list(range(2, len(dims)))
    if node.op_type == "GlobalLpPool":
        p = float(at.attr("p", 2))
        total = at.reduce("ReduceSum", absolute_power(at, p, len(dims)), axes)
        return at.replace(power_root(at, total, p, len(dims)))
    return at.replace(at.reduce(_GLOBAL[node.op_type], at.input(), axes))


def _lp(model: ir.Model, node: ir.Node) -> Outcome:
    """LpPool as the root of the window sums of |x|**p, the sums by a depthwise Conv of ones."""
    at = Site(model, node)
    geometry, edges, dims = window(at), borders(at), at.dims()
    if isinstance(edges, Refused):
        return edges
    if geometry is None or dims is None or dims[1] is None:
        return Refused("LpPool needs static channels")
    kernel, strides, dilations, pads = geometry
    p = float(at.attr("p", 2))
    x = at.pad(absolute_power(at, p, len(dims)), *edges)
    ones = at.const(np.ones([dims[1], 1, *kernel]))
    total = at.op(
        "Conv",
        x,
        ones,
        group=dims[1],
        kernel_shape=kernel,
        strides=strides,
        dilations=dilations,
        pads=[0] * len(pads),
    )
    return at.replace(power_root(at, total, p, len(dims)))


REWRITES = (
    Rewrite("lppool", frozenset({"LpPool"}), "CG", "LpPool becomes Pow, Conv and root", _lp),
    Rewrite(
        "global-pool",
        frozenset({*_GLOBAL, "GlobalLpPool"}),
        "CG",
        "global pooling becomes a reduction",
        _global,
    ),
)
