"""Hardmax, OneHot, and gathers and scatters whose positions are constants."""

from __future__ import annotations

import itertools

import numpy as np
import onnx_ir as ir

from ..arithmetic import Terms
from ..rule import Outcome, Refused, Rewrite
from ..site import Array, Site, dims_of, reshapable

MAX_ELEMENTS = 4_000_000
MAX_TOP = 16
_EXACT_POSITIONS = 1 << 22  # positions that float32 holds exactly, with room for a negative one


def marks(t: Terms, position: ir.Value, size: int, rank: int, axis: int, first: int = 0) -> ir.Value:
    """1 along `axis` where the count from `first` equals the position, which has extent 1 there; else 0."""
    count = np.arange(first, first + size).reshape([-1 if i == axis else 1 for i in range(rank)])
    distance = t.size(t.sub(t.at.const(count, t.dtype), position))
    ones = t.at.const(np.ones([1] * rank), t.dtype)
    return t.unary("Relu", t.sub(ones, distance))


def _hardmax(model: ir.Model, node: ir.Node) -> Outcome:
    """One at the first of the largest along the axis (opset 13 semantics)."""
    at, dims = Site(model, node), Site(model, node).dims()
    if dims is None or not at.floating:
        return Refused("the rank is unknown, or the type is none that is counted in")
    axis = at.attr("axis", -1) % len(dims)
    size = dims[axis]
    reduced_sizes = [1 if i == axis else d for i, d in enumerate(dims)]
    if size is None or size > _EXACT_POSITIONS or not reshapable(reduced_sizes):
        return Refused("the shape is not static enough")
    t = Terms(at)
    best = t.cast(at.op("ArgMax", at.input(), axis=axis, keepdims=0))
    return at.replace(marks(t, at.reshape(best, reduced_sizes), size, len(dims), axis))


def _one_hot(model: ir.Model, node: ir.Node) -> Outcome:
    at = Site(model, node)
    dims, depth, values = at.dims(), at.constant(1), at.constant(2)
    if dims is None or depth is None or values is None or not reshapable(dims):
        return Refused("computed depth or values, or the shape is not static enough")
    if at.floating or values.dtype.name not in ("float32", "float64", "int32", "int64"):
        return Refused("positions that are no integers, or values that cannot be multiplied")
    size, rank = int(depth.reshape(-1)[0]), len(dims) + 1
    if size > _EXACT_POSITIONS:
        return Refused("more positions than float32 tells apart")
    axis = at.attr("axis", -1) % rank
    t = Terms(at, np.float32)
    t.rank = rank
    spread = at.reshape(t.cast(at.input()), [*dims[:axis], 1, *dims[axis:]])
    hot = t.add(marks(t, spread, size, rank, axis), marks(t, spread, size, rank, axis, -size))
    off, on = (values.reshape(-1)[i] for i in (0, 1))
    kind = values.dtype
    if kind != np.float32:
        hot = t.cast(hot, kind)
    if on - off != 1:
        hot = at.op("Mul", hot, at.const(np.full([1] * rank, on - off), kind))
    return at.replace(hot if off == 0 else at.op("Add", hot, at.const(np.full([1] * rank, off), kind)))


def _top(model: ir.Model, node: ir.Node) -> Outcome:
    """The largest, then the largest without it, and so on; equal ones in the order of their positions.

    One that was taken becomes the least finite number, so that positions are right for values above that one only.
    """
    at, dims, wanted = Site(model, node), Site(model, node).dims(), Site(model, node).constant(1)
    if wanted is None or dims is None or not at.floating:
        return Refused("a computed count, integers, or the rank is unknown")
    axis, count = at.attr("axis", -1) % len(dims), int(wanted.reshape(-1)[0])
    size, reduced_sizes = dims[axis], [1 if i == axis else d for i, d in enumerate(dims)]
    if size is None or size > _EXACT_POSITIONS or not reshapable(reduced_sizes) or not 0 < count <= MAX_TOP:
        return Refused(f"the shape is not static enough, or more than {MAX_TOP} are asked for")
    if not at.attr("sorted", 1) and count > 1:
        return Refused("an order that is left open")
    t = Terms(at)
    largest, x = at.attr("largest", 1), t.x
    rest = x if largest else t.minus(x)
    lowest = float(np.finfo(at.dtype).min)
    tops, places = [], []
    for left in range(count - 1, -1, -1):
        tops.append(at.reduce("ReduceMax", rest, [axis]))
        places.append(at.reshape(t.cast(at.op("ArgMax", rest, axis=axis, keepdims=0)), reduced_sizes))
        if left:
            mark = marks(t, places[-1], size, len(dims), axis)
            rest = t.add(t.mul(rest, t.add(t.minus(mark), 1.0)), t.mul(mark, lowest))
    values = tops[0] if count == 1 else at.op("Concat", *tops, axis=axis)
    # Joined as floats: Keras takes what its Concatenate layer gives for floats even where it is given integers.
    indices = places[0] if count == 1 else at.op("Concat", *places, axis=axis)
    return at.replace(values if largest else t.minus(values), t.cast(indices, np.int64))


def _compress(model: ir.Model, node: ir.Node) -> Outcome:
    at, dims, condition = Site(model, node), Site(model, node).dims(), Site(model, node).constant(1)
    if dims is None or condition is None:
        return Refused("a computed condition, or the rank is unknown")
    positions = [int(i) for i in np.flatnonzero(condition)]
    if not positions:
        return Refused("nothing is kept")
    if at.attr("axis") is not None:
        return at.replace(at.op("Gather", at.input(), at.ints(positions), axis=at.attr("axis") % len(dims)))
    if None in dims:
        return Refused("the flattened tensor is not static")
    flat = at.op("Reshape", at.input(), at.ints([-1]))
    return at.replace(at.op("Gather", flat, at.ints(positions), axis=0))


def _source_positions(at: Site, dims: list[int], indices: Array) -> Array:
    """Which element, counted over the whole input, each element of the output is."""
    places = np.arange(int(np.prod(dims)), dtype=np.int64).reshape(dims)
    if at.node.op_type == "GatherElements":
        axis = at.attr("axis", 0) % len(dims)
        part = places[tuple(slice(None) if i == axis else slice(n) for i, n in enumerate(indices.shape))]
        return np.take_along_axis(part, indices % dims[axis], axis)
    batch, length = at.attr("batch_dims", 0), indices.shape[-1]
    tail = dims[batch + length :]
    chosen = [
        places[(*lead[:batch], *(int(i) for i in indices[lead]))]
        for lead in itertools.product(*map(range, indices.shape[:-1]))
    ]
    return np.asarray(chosen).reshape([*indices.shape[:-1], *tail])


def _gathered_constant(model: ir.Model, node: ir.Node) -> Outcome:
    """Fold what is gathered from a constant: ONNX's reference implementation, which folds others, fails on some."""
    at = Site(model, node)
    data, indices = at.constant(0), at.constant(1)
    if data is None or indices is None:
        return False
    positions = _source_positions(at, list(data.shape), indices.astype(np.int64))
    return at.replace(at.const(data.reshape(-1)[positions], data.dtype))


def _gather_constant(model: ir.Model, node: ir.Node) -> Outcome:
    """A product with a matrix of zeros and ones, sample by sample: also right where the batch is no free axis."""
    at, dims, indices = Site(model, node), Site(model, node).dims(), Site(model, node).constant(1)
    if indices is None or dims is None or None in dims:
        return Refused("computed positions, or the shape is not static")
    if not at.floating:
        return Refused("a product with a matrix is for float types")
    sizes = [d or 0 for d in dims]
    positions = _source_positions(at, sizes, indices.astype(np.int64))
    if positions.shape[0] != sizes[0] or positions.size == 0:
        return Refused("the batch is a gathered axis")
    each = int(np.prod(sizes[1:]))
    rows = positions.reshape(sizes[0], -1) - each * np.arange(sizes[0])[:, None]
    if (rows != rows[0]).any() or rows.min() < 0 or rows.max() >= each:
        return Refused("the samples of the batch are gathered in different ways")
    if each * rows.shape[1] > MAX_ELEMENTS:
        return Refused("the matrix would be too large")
    weights = np.zeros([each, rows.shape[1]])
    weights[rows[0], np.arange(rows.shape[1])] = 1
    y = at.op("MatMul", at.reshape(at.input(), [sizes[0], each]), at.const(weights))
    return at.replace(at.reshape(y, list(positions.shape)))


def _scatter_constant(model: ir.Model, node: ir.Node) -> Outcome:
    """Constant updates at constant places: a Where with a constant mask, an Add or a Mul."""
    at, dims = Site(model, node), Site(model, node).dims()
    indices, updates = at.constant(1), at.constant(2)
    if indices is None or updates is None or dims is None or None in dims:
        return Refused("computed positions or updates, or the shape is not static")
    how = at.attr("reduction", "none")
    if how not in ("none", "add", "mul"):
        return Refused(f"reduction {how}")
    sizes = [d or 0 for d in dims]
    values = np.ones(sizes, at.dtype) if how == "mul" else np.zeros(sizes, at.dtype)
    keep = np.ones(sizes, bool)
    for where in itertools.product(*map(range, indices.shape if node.op_type != "ScatterND" else indices.shape[:-1])):
        if node.op_type == "ScatterND":
            place: tuple[int, ...] = tuple(int(i) for i in indices[where])
        else:
            axis = at.attr("axis", 0) % len(sizes)
            place = tuple(int(indices[where]) if i == axis else p for i, p in enumerate(where))
        if how == "add":
            values[place] += updates[where]
        elif how == "mul":
            values[place] *= updates[where]
        else:
            values[place], keep[place] = updates[where], False
    if how != "none":
        return at.replace(at.op("Add" if how == "add" else "Mul", at.input(), at.const(values)))
    return at.replace(at.op("Where", at.const(keep, np.bool_), at.input(), at.const(values)))


def _constant_of_shape(model: ir.Model, node: ir.Node) -> Outcome:
    at, shape, out = Site(model, node), Site(model, node).constant(0), dims_of(node.outputs[0])
    if shape is None:
        return Refused("a computed shape")
    if int(np.prod(shape)) > MAX_ELEMENTS:
        return Refused("the constant would be too large")
    value = at.attr("value")
    fill = np.zeros([1], np.float32) if value is None else np.asarray(value.numpy())
    full = np.broadcast_to(fill.reshape(-1)[0], [int(s) for s in shape])
    return at.replace(at.const(full, fill.dtype), dims=None if out is None else [int(s) for s in shape])


_GATHERS, _SCATTERS = frozenset({"GatherElements", "GatherND"}), frozenset({"ScatterElements", "ScatterND"})
REWRITES = (
    Rewrite("hardmax", frozenset({"Hardmax"}), "CG", "becomes ArgMax and a distance to it", _hardmax),
    Rewrite("onehot", frozenset({"OneHot"}), "CG", "becomes a distance to each position", _one_hot),
    Rewrite("top", frozenset({"TopK"}), "CG", "the largest one by one, by ReduceMax and ArgMax", _top),
    Rewrite("compress", frozenset({"Compress"}), "TSS", "a constant condition becomes a Gather", _compress),
    Rewrite("gathered-constant", _GATHERS, "WB", "becomes an initializer", _gathered_constant),
    Rewrite("gather-constant", _GATHERS, "TSS", "constant positions become a MatMul", _gather_constant),
    Rewrite("scatter-constant", _SCATTERS, "TSS", "constant updates become a Where", _scatter_constant),
    Rewrite("constant-of-shape", frozenset({"ConstantOfShape"}), "WB", "becomes an initializer", _constant_of_shape),
)
