"""Slice with static, positive bounds; steps and Gather as pieces; Split as Slices."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ..rule import Outcome, Refused, Rewrite
from ..site import Site, dims_of
from .pads import gather_by_slices

MAX_PIECES = 128
_END = int(np.iinfo(np.int64).max)


def _bounds(at: Site) -> list[tuple[int, int, int, int]] | Refused:
    """(axis, start, end, step) per sliced axis, as given but with positive axes."""
    dims = at.dims()
    starts, ends, axes, steps = (at.constant(i) for i in range(1, 5))
    if dims is None or starts is None or ends is None or (at.has(3) and axes is None) or (at.has(4) and steps is None):
        return Refused("computed bounds or unknown rank")
    count, rank = len(starts), len(dims)
    which = range(count) if axes is None else [int(a) % rank for a in axes]
    every = [1] * count if steps is None else [int(s) for s in steps]
    return list(zip(which, map(int, starts), map(int, ends), every, strict=True))


def _explicit(model: ir.Model, node: ir.Node) -> Outcome:
    """One Slice for each axis with bounds inside the axis; steps of 1 are left out."""
    at = Site(model, node)
    bounds, dims = _bounds(at), at.dims()
    if isinstance(bounds, Refused) or dims is None:
        return bounds if isinstance(bounds, Refused) else False
    plain = len(bounds) == 1 and at.has(3) and not (at.has(4) and bounds[0][3] == 1)
    if plain:
        axis, start, end, _ = bounds[0]
        size, raw = dims[axis], at.constant(3)
        if raw is not None and int(raw[0]) >= 0 and (size is None or bounds[0][3] < 0 or 0 <= start < end <= size):
            return False
    x, changed = at.input(), False
    for axis, start, end, step in bounds:
        size = dims[axis]
        if size is not None and step > 0:
            start, end, _ = slice(start, end, step).indices(size)
            if start == 0 and end == size and step == 1:
                changed = True
                continue
            if end <= start:
                return Refused("an empty Slice")
        x, changed = at.slice(x, axis, start, end, step), True
    return at.replace(x) if changed else False


def _steps(model: ir.Model, node: ir.Node, pool: bool = True) -> Outcome:
    """Every n-th element: a MaxPool of kernel 1 over spatial axes, else pieces put together."""
    at = Site(model, node)
    bounds, dims = _bounds(at), at.dims()
    if isinstance(bounds, Refused) or dims is None:
        return bounds if isinstance(bounds, Refused) else False
    if all(step == 1 for *_, step in bounds):
        return False
    x, rank = at.input(), len(dims)
    for axis, start, end, step in bounds:
        size = dims[axis]
        if size is None:
            return Refused("a step over an axis that is not static")
        positions = list(range(size))[slice(start, end if end > -_END else None, step)]
        if not positions:
            return Refused("an empty Slice")
        if pool and step > 1 and axis >= 2 and rank in (4, 5) and at.floating:
            low, high = positions[0], positions[-1] + 1
            x = x if (low, high) == (0, size) else at.slice(x, axis, low, high)
            unit = [1] * (rank - 2)
            strides = [step if a == axis else 1 for a in range(2, rank)]
            x = at.op("MaxPool", x, kernel_shape=unit, strides=strides, pads=[0] * (2 * len(unit)))
        elif len(positions) <= MAX_PIECES:
            x = gather_by_slices(at, x, axis, size, positions)
        else:
            return Refused(f"more than {MAX_PIECES} pieces")
    return at.replace(x)


def _gather(model: ir.Model, node: ir.Node) -> Outcome:
    """Gather with constant positions as Slices, Concat, and a Reshape where the index is not a vector."""
    at, dims, out = Site(model, node), Site(model, node).dims(), dims_of(node.outputs[0])
    index = at.constant(1)
    if index is None or dims is None or at.constant(0) is not None:
        return Refused("computed positions, a table lookup, or unknown rank")
    axis = at.attr("axis", 0) % len(dims)
    size = dims[axis]
    if size is None or index.size == 0 or index.size > MAX_PIECES:
        return Refused("an axis that is not static, or too many pieces")
    y = gather_by_slices(at, at.input(), axis, size, [int(i) % size for i in index.reshape(-1)])
    if index.ndim == 1:
        return at.replace(y)
    if out is None or out.count(None) > 1:
        return Refused("the output's shape is not static enough")
    return at.replace(at.reshape(y, out))


def _split(model: ir.Model, node: ir.Node) -> Outcome:
    at, dims = Site(model, node), Site(model, node).dims()
    if dims is None:
        return Refused("the rank is unknown")
    axis = at.attr("axis", 0) % len(dims)
    size, count, lengths = dims[axis], len(node.outputs), at.constant(1)
    if at.has(1) and lengths is None:
        return Refused("computed sizes")
    if lengths is not None:
        sizes = [int(s) for s in lengths]
    elif size is None:
        return Refused("equal parts of an axis that is not static")
    else:
        part = -(-size // count)
        sizes = [part] * (count - 1) + [size - part * (count - 1)]
    stops = np.cumsum(sizes).tolist()
    return at.replace(*(at.slice(at.input(), axis, b - n, b) for n, b in zip(sizes, stops, strict=True)))


_SLICE = frozenset({"Slice"})
REWRITES = (
    Rewrite("split", frozenset({"Split"}), "TSS", "becomes Slices", _split),
    Rewrite("slice-explicit", _SLICE, "TSS", "bounds become positive, one axis at a time", _explicit),
    Rewrite("slice-steps", _SLICE, "LH", "steps become a MaxPool of kernel 1, or pieces", _steps),
    Rewrite("gather", frozenset({"Gather"}), "TSS", "constant positions become Slices and a Concat", _gather),
)
