"""CumSum as a product with a triangular matrix, Trilu as a choice by a constant mask."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ..rule import Outcome, Refused, Rewrite
from ..site import Site

MAX_ELEMENTS = 4_000_000


def _cumsum(model: ir.Model, node: ir.Node) -> Outcome:
    """Column j of the matrix holds ones at the positions that are summed up to j."""
    at, dims, axis_constant = Site(model, node), Site(model, node).dims(), Site(model, node).constant(1)
    if dims is None or axis_constant is None:
        return Refused("a computed axis, or the rank is unknown")
    if not at.floating:
        return Refused("a product with a matrix is for float types")
    axis = int(axis_constant.reshape(-1)[0]) % len(dims)
    size = dims[axis]
    if size is None or size * size > MAX_ELEMENTS:
        return Refused("the axis is not static, or too long for a matrix")
    ones = np.triu(np.ones([size, size]), 1 if at.attr("exclusive", 0) else 0)
    weights = at.const(ones.T if at.attr("reverse", 0) else ones)
    x = at.op("MatMul", at.swap_last(at.input(), axis, len(dims)), weights)
    return at.replace(at.swap_last(x, axis, len(dims)))


def _trilu(model: ir.Model, node: ir.Node) -> Outcome:
    """Where(mask, x, 0): also right for infinities in the half that goes."""
    at, dims = Site(model, node), Site(model, node).dims()
    diagonal = at.constant(1)
    if dims is None or None in dims[-2:] or (at.has(1) and diagonal is None):
        return Refused("a computed diagonal, or matrices that are not static")
    if int(np.prod([d or 1 for d in dims[-2:]])) > MAX_ELEMENTS:
        return Refused("the mask would be too large")
    k = 0 if diagonal is None else int(diagonal.reshape(-1)[0])
    whole = np.ones([d or 0 for d in dims[-2:]], dtype=bool)
    mask = np.triu(whole, k) if at.attr("upper", 1) else np.tril(whole, k)
    full = at.const(mask.reshape([1] * (len(dims) - 2) + list(mask.shape)), np.bool_)
    return at.replace(at.op("Where", full, at.input(), at.scalar(0, len(dims))))


REWRITES = (
    Rewrite("cumsum", frozenset({"CumSum"}), "CG", "becomes a MatMul with a triangle of ones", _cumsum),
    Rewrite("trilu", frozenset({"Trilu"}), "CG", "becomes a Where with a constant mask", _trilu),
)
