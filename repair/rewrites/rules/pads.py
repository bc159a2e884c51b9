"""Pad in forms that need no mode, value, sign or odd axis."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ..rule import Outcome, Refused, Rewrite
from ..site import Site, dims_of


def _pad_parts(at: Site) -> tuple[list[int], list[int], float, str] | Refused:
    """(begins, ends, value, mode) over all axes."""
    dims, pads = at.dims(), at.constant(1)
    if dims is None or pads is None:
        return Refused("Pad with computed pads or unknown rank")
    rank = len(dims)
    axes: list[int] = list(range(rank))
    if at.has(3):
        axes_constant = at.constant(3)
        if axes_constant is None:
            return Refused("Pad with computed axes")
        axes = [int(a) % rank for a in axes_constant]
    value = 0.0
    if at.has(2):
        fill = at.constant(2)
        if fill is None:
            return Refused("Pad with a computed value")
        value = float(fill.reshape(-1)[0]) if fill.size else 0.0
    begins, ends = [0] * rank, [0] * rank
    for i, axis in enumerate(axes):
        begins[axis], ends[axis] = int(pads[i]), int(pads[i + len(axes)])
    return begins, ends, value, str(at.attr("mode", "constant"))


def _pad_axes(model: ir.Model, node: ir.Node) -> Outcome:
    at = Site(model, node)
    if not at.has(3):
        return False
    parts = _pad_parts(at)
    if isinstance(parts, Refused):
        return parts
    begins, ends, value, mode = parts
    fill = [at.const(value)] if mode == "constant" and value != 0 else []
    return at.replace(at.op("Pad", at.input(), at.ints([*begins, *ends]), *fill, mode=mode))


def _pad_negative(model: ir.Model, node: ir.Node) -> Outcome:
    at = Site(model, node)
    parts = _pad_parts(at)
    if isinstance(parts, Refused):
        return parts
    begins, ends, value, mode = parts
    if min(*begins, *ends) >= 0:
        return False
    if mode != "constant":
        return Refused(f"negative pads in mode {mode}")
    x = at.input()
    for axis, (begin, end) in enumerate(zip(begins, ends, strict=True)):
        if begin < 0 or end < 0:
            size = (at.dims() or [])[axis]
            last = (size if size is not None else np.iinfo(np.int64).max) if end >= 0 else end
            if size is not None and end < 0:
                last = size + end
            x = at.slice(x, axis, max(-begin, 0), int(last))
    begins, ends = [max(b, 0) for b in begins], [max(e, 0) for e in ends]
    fill = [at.const(value)] if value != 0 else []
    return at.replace(at.op("Pad", x, at.ints([*begins, *ends]), *fill, mode="constant"))


def _pad_mode(model: ir.Model, node: ir.Node) -> Outcome:
    at = Site(model, node)
    parts = _pad_parts(at)
    if isinstance(parts, Refused):
        return parts
    begins, ends, _, mode = parts
    if mode == "constant":
        return False
    if min(*begins, *ends) < 0:
        return Refused(f"negative pads in mode {mode}")
    dims = at.dims() or []
    x = at.input()
    for axis, (begin, end) in enumerate(zip(begins, ends, strict=True)):
        if not begin and not end:
            continue
        size = dims[axis]
        if size is None:
            return Refused(f"Pad in mode {mode} needs static dims on the axes that it pads")
        positions = _source_positions(size, begin, end, mode)
        if positions is None:
            return Refused(f"pads larger than the axis in mode {mode}")
        x = gather_by_slices(at, x, axis, size, positions)
    return at.replace(x)


def _source_positions(size: int, begin: int, end: int, mode: str) -> list[int] | None:
    """Which source position each padded position copies."""
    wanted = range(-begin, size + end)
    if mode == "edge":
        return [min(max(i, 0), size - 1) for i in wanted]
    if mode == "wrap":
        return [i % size for i in wanted] if max(begin, end) <= size else None
    if max(begin, end) >= size:
        return None
    return [-i if i < 0 else (2 * (size - 1) - i if i >= size else i) for i in wanted]


def gather_by_slices(at: Site, x: ir.Value, axis: int, size: int, positions: list[int]) -> ir.Value:
    """Positions along an axis, as Slices of rising runs put together by Concat."""
    runs: list[list[int]] = []
    for p in positions:
        if runs and p == runs[-1][1]:
            runs[-1][1] += 1
        else:
            runs.append([p, p + 1])
    slices: dict[tuple[int, int], ir.Value] = {}
    pieces = []
    for start, stop in runs:
        key = (start, stop)
        if key not in slices:
            slices[key] = x if key == (0, size) else at.slice(x, axis, start, stop)
        pieces.append(slices[key])
    return pieces[0] if len(pieces) == 1 else at.op("Concat", *pieces, axis=axis)


def fill_border(
    at: Site, x: ir.Value, sizes: list[int | None], begins: list[int], ends: list[int], value: float
) -> ir.Value | None:
    """Pad with any finite value as zero padding plus a map: 0 inside, the value on the border. Exact.

    None where a padded axis is not static.
    """
    shape = [1] * len(sizes)
    for axis, (size, begin, end) in enumerate(zip(sizes, begins, ends, strict=True)):
        if begin or end:
            if size is None:
                return None
            shape[axis] = size + begin + end
    border = np.full(shape, value)
    border[tuple(slice(b, n - e) for b, n, e in zip(begins, shape, ends, strict=True))] = 0
    return at.op("Add", at.pad(x, begins, ends), at.const(border))


def _pad_value(model: ir.Model, node: ir.Node) -> Outcome:
    at = Site(model, node)
    parts = _pad_parts(at)
    if isinstance(parts, Refused):
        return parts
    begins, ends, value, mode = parts
    if mode != "constant" or value == 0:
        return False
    if not at.floating or not np.isfinite(value):
        return Refused("only finite values of a float type can be added to a zero border")
    if min(*begins, *ends) < 0:
        return False
    padded = fill_border(at, at.input(), at.dims() or [], begins, ends, value)
    return (
        Refused("a padding value needs static dims on the axes that it pads")
        if padded is None
        else (at.replace(padded))
    )


def _concat_zeros(at: Site, only: frozenset[int] | None) -> Outcome:
    parts = _pad_parts(at)
    if isinstance(parts, Refused):
        return parts
    begins, ends, value, mode = parts
    if mode != "constant" or value != 0 or min(*begins, *ends) < 0 or not at.floating:
        return False
    rank = len(begins)
    axes = [a for a in range(rank) if (begins[a] or ends[a]) and (only is None or a in only)]
    if not axes:
        return False
    x = at.input()
    zero = at.scalar(0, rank)
    for axis in axes:
        line = at.op("Max", at.slice(x, axis, 0, 1), zero)

        def zeros(count: int, axis: int = axis, line: ir.Value = line) -> list[ir.Value]:
            block = at.full_rank(np.zeros(count), rank, axis)
            return [at.op("Min", line, block)] if count else []

        x = at.op("Concat", *zeros(begins[axis]), x, *zeros(ends[axis]), axis=axis)
        begins[axis] = ends[axis] = 0
    return at.replace(at.pad(x, begins, ends))


def _pad_odd_axes(model: ir.Model, node: ir.Node) -> Outcome:
    at = Site(model, node)
    dims = dims_of(at.input())
    usual = dims is not None and len(dims) in (4, 5)
    return _concat_zeros(at, frozenset({0, 1}) if usual else None)


def _pad_zeros(model: ir.Model, node: ir.Node) -> Outcome:
    return _concat_zeros(Site(model, node), None)


_PAD = frozenset({"Pad"})
REWRITES = (
    Rewrite("pad-axes", _PAD, "LH", "Pad-18's axes input becomes pads over all axes", _pad_axes),
    Rewrite("pad-negative", _PAD, "LH", "negative pads become a Slice", _pad_negative),
    Rewrite("pad-mode", _PAD, "LH", "reflect, edge and wrap become Slice and Concat", _pad_mode),
    Rewrite("pad-value", _PAD, "LH", "a padding value becomes zero padding plus a map", _pad_value),
    Rewrite("pad-odd-axes", _PAD, "TSS", "padding of batch, channels or odd ranks becomes Concat", _pad_odd_axes),
    Rewrite("pad-zeros-as-concat", _PAD, "LH", "all zero padding becomes Concat", _pad_zeros),
)

BY_NAME = {rule.name: rule for rule in REWRITES}
