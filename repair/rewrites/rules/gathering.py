"""Gather, GatherElements and GatherND by computed positions, as products with marks.

A mark is relu(1 - |position - k|): 1 where k is the position, 0 elsewhere, exact for positions below 2^22 in float32.
Sums of data times marks are the elements at the positions, to the last bit: all other terms are zeros. That needs
data without infinities and NaN (0 * inf is NaN), so constants that hold one are refused, and so is computed data
behind an operator that gives them for ordinary numbers (`comparisons.may_overflow`) or an infinite constant.
Positions beyond their axis, which the specification forbids, give 0. Shapes with an axis of no elements are refused.

Equations: Gather-13, GatherElements-13 and GatherND-13 of the ONNX operator specification; negative positions count
from the end of the axis. Positions that are constants have forms of their own (`slicing`, `selection`).
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ..arithmetic import Terms
from ..rule import Outcome, Refused, Rewrite
from ..site import Dims, Site, constant_of, dims_of
from .comparisons import may_overflow
from .selection import MAX_ELEMENTS, marks

_NOTHING = "an axis without elements"
_EXACT = 1 << 22  # positions and whole numbers that float32 holds exactly, with room for a negative one


def unsafe(value: ir.Value) -> Refused | None:
    """Why a product of this value with zero might not be zero; None where it is."""
    constant = constant_of(value)
    if constant is not None:
        return None if np.isfinite(constant).all() else Refused("data that holds infinities or NaN")
    if may_overflow(value) or _meets_infinity(value):
        return Refused("data that may be infinite or no number")
    return None


def _meets_infinity(value: ir.Value) -> bool:
    """Whether an infinite constant, a mask of attention say, goes into the value."""
    seen, waiting = set[int](), [value]
    while waiting:
        value_read = waiting.pop()
        array, producer = constant_of(value_read), value_read.producer()
        if array is not None and array.dtype.kind == "f" and not np.isfinite(array).all():
            return True
        if producer is not None and id(producer) not in seen:
            seen.add(id(producer))
            waiting += [v for v in producer.inputs if v is not None]
    return False


def _data(at: Site) -> ir.Value | Refused:
    """The data as floats. Whole numbers only as constants that float32 holds exactly."""
    constant = at.constant(0)
    if at.floating:
        return unsafe(at.input()) or at.input()
    if constant is None or constant.dtype.kind != "i" or np.abs(constant.astype(np.float64)).max(initial=0) > _EXACT:
        return Refused("data that is neither floats nor small constant integers")
    return at.const(constant, np.float32)


def _terms(at: Site) -> Terms:
    """Arithmetic in the data's floats, in float32 where it has integers or fewer bits."""
    return Terms(at, at.dtype if at.dtype.name in ("float32", "float64") else np.float32)


def _wrapped(t: Terms, positions: ir.Value, size: int) -> ir.Value:
    """Whole numbers as floats, negative ones counted from the end: i + size where i < 0."""
    x = t.cast(positions)
    return t.add(x, t.mul(t.unit(t.minus(x)), size))


def _typed(t: Terms, y: ir.Value) -> ir.Value:
    return y if t.at.dtype == t.dtype else t.cast(y, t.at.dtype)


def _floats(t: Terms, data: ir.Value) -> ir.Value:
    return t.cast(data) if t.at.floating and t.at.dtype != t.dtype else data


def _looked_up(t: Terms, data: ir.Value, sizes: list[int], axis: int, positions: ir.Value, places: Dims) -> ir.Value:
    """Gather from data of static shape: marks [places, size] times [size, rest], the places at `axis` in the end."""
    at, rank, size = t.at, len(sizes), sizes[axis]
    order = [axis, *(i for i in range(rank) if i != axis)]
    rest = [sizes[i] for i in order[1:]]
    constant = constant_of(data)
    width = int(np.prod(rest))
    if constant is not None:
        table = at.const(constant.transpose(order).reshape(size, width), t.dtype)
    else:
        turned = data if axis == 0 else at.op("Transpose", data, perm=order)
        table = at.op("Reshape", _floats(t, turned), at.ints([size, width]))
    t.rank = len(places) + 1
    spread = at.reshape(_wrapped_at(t, positions, size, len(places)), [*places, 1])
    y = at.op("MatMul", marks(t, spread, size, t.rank, t.rank - 1), table)
    y = at.reshape(y, [*places, *rest]) if len(rest) != 1 else y
    if axis == 0:
        return y
    n = len(places)
    return at.op("Transpose", y, perm=[*range(n, n + axis), *range(n), *range(n + axis, n + len(rest))])


def _wrapped_at(t: Terms, positions: ir.Value, size: int, rank: int) -> ir.Value:
    """`_wrapped` with constants of the positions' own rank."""
    before, t.rank = t.rank, rank
    x = _wrapped(t, positions, size)
    t.rank = before
    return x


def _gather(model: ir.Model, node: ir.Node) -> Outcome:
    at = Site(model, node)
    dims, places = at.dims(0), at.dims(1)
    if at.constant(1) is not None:
        return False
    if dims is None or places is None:
        return Refused("the rank is unknown")
    if 0 in (*dims, *places):
        return Refused(_NOTHING)
    axis = at.attr("axis", 0) % len(dims)
    size = dims[axis]
    if size is None or size > _EXACT or places.count(None) > 1 or None in places[1:]:
        return Refused("the gathered axis, or the shape of the positions, is not static enough")
    if size * int(np.prod([d or 1 for d in places])) > MAX_ELEMENTS:
        return Refused("the marks would be too large")
    data = _data(at)
    if isinstance(data, Refused):
        return data
    t = _terms(at)
    if None not in dims:
        return at.replace(_typed(t, _looked_up(t, data, [d or 0 for d in dims], axis, at.input(1), places)))
    if None in places or dims.count(None) > 1:
        return Refused("every sample would be taken from by every other, or the data is not static enough")
    count, rank = int(np.prod([d or 1 for d in places])), len(dims)
    t.rank = rank
    flat = at.op("Reshape", at.input(1), at.ints([*[1] * (rank - 1), count]))
    chosen = marks(t, _wrapped(t, flat, size), size, rank, rank - 2)
    order = [*(i for i in range(rank) if i != axis), axis]
    turned = _floats(t, data) if axis == rank - 1 else at.op("Transpose", _floats(t, data), perm=order)
    y = at.op("MatMul", turned, chosen)  # [before, behind, count]
    back = [*range(axis), rank - 1, *range(axis, rank - 1)]
    y = y if axis == rank - 1 else at.op("Transpose", y, perm=back)
    return at.replace(_typed(t, at.reshape(y, [*dims[:axis], *places, *dims[axis + 1 :]])))


def _gather_elements(model: ir.Model, node: ir.Node) -> Outcome:
    """The sum over k of marks [.., places, k] times data [.., 1, k], the gathered axis last."""
    at = Site(model, node)
    dims, places = at.dims(0), at.dims(1)
    if at.constant(1) is not None:
        return False
    if dims is None or places is None or None in dims[1:] or None in places[1:] or len(dims) != len(places):
        return Refused("shapes that are not static")
    if 0 in (*dims, *places):
        return Refused(_NOTHING)
    if (dims[0] is None) != (places[0] is None):
        return Refused("positions for other samples than the data has")
    rank, axis = len(dims), at.attr("axis", 0) % len(dims)
    size, count = dims[axis], places[axis]
    if size is None or count is None:
        return Refused("the batch is the gathered axis")
    if int(np.prod([d or 1 for d in places])) * size > MAX_ELEMENTS:
        return Refused("the marks would be too large")
    data = _data(at)
    if isinstance(data, Refused):
        return data
    t = _terms(at)
    data = _floats(t, data)
    for i, (have, want) in enumerate(zip(dims, places, strict=True)):
        if i != axis and have is not None and want is not None and want < have:
            data = at.slice(data, i, 0, want)
    swapped = [places[-1] if i == axis else d for i, d in enumerate(places[:-1])]
    t.rank = rank
    index = at.swap_last(_wrapped(t, at.input(1), size), axis, rank)
    t.rank = rank + 1
    chosen = marks(t, at.reshape(index, [*swapped, count, 1]), size, rank + 1, rank)
    spread = at.reshape(at.swap_last(data, axis, rank), [*swapped, 1, size])
    y = at.reduce("ReduceSum", at.op("Mul", chosen, spread), [rank], keepdims=0)
    return at.replace(_typed(t, at.swap_last(y, axis, rank)))


def _gather_nd(model: ir.Model, node: ir.Node) -> Outcome:
    """The gathered axes as one, positions in it as sums of index times stride; the axes of the batch stay.

    An index beyond its own axis might meet an element of another row: the sum goes beyond all of them then.
    """
    at, batch = Site(model, node), Site(model, node).attr("batch_dims", 0)
    dims, places = at.dims(0), at.dims(1)
    if at.constant(1) is not None:
        return False
    if dims is None or places is None or None in dims[1:] or None in places[1:] or places[-1:] == [None]:
        return Refused("shapes that are not static")
    if 0 in (*dims, *places):
        return Refused(_NOTHING)
    axes = [d or 0 for d in dims[batch : batch + (places[-1] or 0)]]
    if not batch and None in dims:
        return Refused("the batch is a gathered axis")
    if dims[:batch] != places[:batch]:
        return Refused("positions for other samples than the data has")
    size, rest, middle = int(np.prod(axes)), [d or 0 for d in dims[batch + len(axes) :]], places[batch:-1]
    if size > _EXACT or size * int(np.prod([d or 1 for d in places[:-1]])) > MAX_ELEMENTS:
        return Refused("the marks would be too large")
    data = _data(at)
    if isinstance(data, Refused):
        return data
    t = _terms(at)
    t.rank = len(places)
    strides = [int(np.prod(axes[i + 1 :])) for i in range(len(axes))]
    last, parts = len(places) - 1, []
    for i, (length, stride) in enumerate(zip(axes, strides, strict=True)):
        part = at.input(1) if len(axes) == 1 else at.slice(at.input(1), last, i, i + 1)
        place = _wrapped(t, part, length)
        parts.append(t.mul(place, stride) if stride != 1 else place)
        if len(axes) > 1:
            outside = t.add(t.unary("Relu", t.add(place, float(1 - length))), t.unary("Relu", t.minus(place)))
            parts.append(t.mul(outside, 2 * size))  # below the axis by k: at least 2 k size - k stride
    position = parts[0]
    for part in parts[1:]:
        position = t.add(position, part)
    width = int(np.prod(rest))
    out: Dims = [*places[:batch], *middle, *rest]
    if not batch:
        table = at.op("Reshape", _floats(t, data), at.ints([size, width]))
        y = at.op("MatMul", marks(t, position, size, t.rank, last), table)
    else:
        count = int(np.prod([d or 1 for d in middle]))
        t.rank = batch + 2
        flat = at.reshape(position, [*places[:batch], count, 1])
        chosen = marks(t, flat, size, t.rank, batch + 1)
        y = at.op("MatMul", chosen, at.reshape(_floats(t, data), [*dims[:batch], size, width]))
    output_dims = dims_of(node.outputs[0])
    return at.replace(_typed(t, at.reshape(y, out if output_dims is None or None in output_dims else output_dims)))


_WHY = "computed positions become marks to multiply by"
_FORMS = {"Gather": _gather, "GatherElements": _gather_elements, "GatherND": _gather_nd}


def _by_marks(model: ir.Model, node: ir.Node) -> Outcome:
    return _FORMS[node.op_type](model, node)


REWRITES = (
    Rewrite("gather-marks", frozenset({"Gather", "GatherElements"}), "TSS", _WHY, _by_marks),
    Rewrite("gather-nd-marks", frozenset({"GatherND"}), "TSS", _WHY, _by_marks),
)
