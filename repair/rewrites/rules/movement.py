"""Transposes and Reshapes that follow each other become one, so that a batch which only travels stays first."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from ..rule import Outcome, Refused, Rewrite
from ..site import Dims, Site, constant_of, dims_of, reshapable

_BETWEEN = frozenset({"Add", "Sub", "Mul", "Div", "Max", "Min", "Relu", "Sigmoid", "Tanh", "Exp", "Sqrt", "Floor"})


def _perm(node: ir.Node | None) -> list[int] | None:
    if node is None or node.op_type != "Transpose":
        return None
    dims, permutation = dims_of(node.inputs[0]), node.attributes.get("perm")
    if permutation is not None:
        return [int(p) for p in permutation.as_ints()]
    return None if dims is None else list(range(len(dims)))[::-1]


def _merge_transposes(model: ir.Model, node: ir.Node) -> Outcome:
    at, outer, before = Site(model, node), _perm(node), node.inputs[0].producer() if node.inputs[0] else None
    inner = _perm(before)
    if outer is None or inner is None or before is None or before.inputs[0] is None:
        return False
    perm = [inner[p] for p in outer]
    if perm == list(range(len(perm))):
        return at.replace(before.inputs[0])
    return at.replace(at.op("Transpose", before.inputs[0], perm=perm))


def _move_batch_back(model: ir.Model, node: ir.Node) -> Outcome:
    """Transpose(f(Transpose(x), constant)) as Transpose(f(x, constant)): only where the batch had left its place."""
    at, outer, middle = Site(model, node), _perm(node), node.inputs[0].producer() if node.inputs[0] else None
    if outer is None or middle is None or middle.op_type not in _BETWEEN or middle.domain != "":
        return False
    turned = [(i, v.producer()) for i, v in enumerate(middle.inputs) if v is not None and constant_of(v) is None]
    if len(turned) != 1:
        return False
    index, first = turned[0]
    inner = _perm(first)
    if inner is None or first is None or first.inputs[0] is None or inner[0] == 0 or inner[outer[0]] != 0:
        return False
    rank = len(inner)
    back = [inner.index(i) for i in range(rank)]
    operands: list[ir.Value | None] = []
    for i, value in enumerate(middle.inputs):
        array = constant_of(value)
        if i == index or array is None:
            operands.append(first.inputs[0])
        elif array.ndim > rank:
            return Refused("the constant widens the tensor")
        else:
            full = array.reshape([1] * (rank - array.ndim) + list(array.shape))
            operands.append(at.const(full.transpose(back), array.dtype))
    y = at.op(middle.op_type, *operands, **{a.name: a.value for a in middle.attributes.values()})
    return at.replace(at.op("Transpose", y, perm=[inner[p] for p in outer]))


def _merge_reshapes(model: ir.Model, node: ir.Node) -> Outcome:
    """The second Reshape alone, where the first took the batch together with other axes."""
    at, before = Site(model, node), node.inputs[0].producer() if node.inputs[0] else None
    if before is None or before.op_type not in ("Reshape", "Flatten", "Squeeze", "Unsqueeze") or before.domain != "":
        return False
    source, between, dims = dims_of(before.inputs[0]), dims_of(before.outputs[0]), dims_of(node.outputs[0])
    if before.inputs[0] is None or not source or not between or _same_batch(source, between):
        return False
    if dims is None or not reshapable(dims) or at.constant(1) is None:
        return Refused("the output's shape is not static enough")
    return at.replace(at.reshape(before.inputs[0], dims))


def _batch_first(model: ir.Model, node: ir.Node) -> Outcome:
    """Reshape(Transpose(x)) of a batch that left the first place as Transpose(Reshape(Transpose(x))), batch first.

    Only where the output has the batch as an axis of its own, with as many elements ahead of it and behind it as
    before: a free axis alone may be the batch together with others, heads of attention say.
    """
    if node.op_type == "Slice":
        return _slice_first(model, node)
    at, before = Site(model, node), node.inputs[0].producer() if node.inputs[0] else None
    perm, dims, out = _perm(before), dims_of(node.inputs[0]), dims_of(node.outputs[0])
    if perm is None or before is None or before.inputs[0] is None or perm[0] == 0 or dims is None or not out:
        return False
    place = perm.index(0)
    if node.op_type == "Reshape" and at.constant(1) is None:
        return Refused("a computed shape")
    rest, batch = [*dims[:place], *dims[place + 1 :]], dims[place]
    around = _count(dims[:place]), _count(dims[place + 1 :])
    places = [j for j, d in enumerate(out) if d == batch and (_count(out[:j]), _count(out[j + 1 :])) == around]
    if None in rest or 0 in rest or not places or None in [*out[: places[0]], *out[places[0] + 1 :]]:
        return Refused("the batch is taken together with other axes, or the shape is not static enough")
    j = places[0]
    ahead = [0, *(p for p in perm if p != 0)]
    x = before.inputs[0]
    first = x if ahead == list(range(len(perm))) else at.op("Transpose", x, perm=ahead)
    y = at.reshape(first, [batch, *out[:j], *out[j + 1 :]])
    return at.replace(y if j == 0 else at.op("Transpose", y, perm=[*range(1, j + 1), 0, *range(j + 1, len(out))]))


def _slice_first(model: ir.Model, node: ir.Node) -> Outcome:
    """Slice(Transpose(x)) of a batch that left the first place as Transpose(Slice(x))."""
    at, before = Site(model, node), node.inputs[0].producer() if node.inputs[0] else None
    perm = _perm(before)
    if perm is None or before is None or before.inputs[0] is None or perm[0] == 0:
        return False
    bounds = [at.constant(i) for i in range(1, len(node.inputs))]
    if len(bounds) < 2 or bounds[0] is None or bounds[1] is None or any(b is None for b in bounds[2:]):
        return Refused("bounds that are computed")
    axes_constant = bounds[2] if len(bounds) > 2 else None
    axes = range(len(bounds[0])) if axes_constant is None else [int(a) for a in axes_constant]
    turned = at.ints([perm[a % len(perm)] for a in axes])
    y = at.op("Slice", before.inputs[0], node.inputs[1], node.inputs[2], turned, *node.inputs[4:])
    return at.replace(at.op("Transpose", y, perm=perm))


def _rows_apart(model: ir.Model, node: ir.Node) -> Outcome:
    """What treats every row alike, on rows that a Reshape made of the batch and other axes: those axes stay apart.

    f(Reshape(x, [n c, k])) becomes Reshape(f(Reshape(x, [n, c, k])), [n c, m]), and a Reshape that follows meets it.
    """
    at = Site(model, node)
    computed = [v for v in node.inputs if v is not None and constant_of(v) is None]
    before = computed[0].producer() if len(computed) == 1 else None
    if before is None or before.op_type not in ("Reshape", "Flatten") or before.inputs[0] is None:
        return False
    source, rows, out = dims_of(before.inputs[0]), dims_of(before.outputs[0]), dims_of(node.outputs[0])
    if not source or not rows or not out or len(rows) != 2 or len(out) != 2 or _same_batch(source, rows):
        return False
    if None in source[1:] or rows[1] is None or out[1] is None or not _by_row(at, rows[1]):
        return False
    first_axis = next((k for k in range(2, len(source)) if _count(source[k:]) == rows[1]), None)
    if first_axis is None:
        return Refused("a row is no whole number of axes")
    split: Dims = [*source[:first_axis], rows[1]]
    x = at.reshape(before.inputs[0], split) if split != source else before.inputs[0]
    if node.op_type == "Gemm":
        y = at.op("MatMul", x, at.input(1))
        y = at.op("Add", y, at.full_rank(np.asarray(at.constant(2)), len(split), len(split) - 1)) if at.has(2) else y
    else:
        y = at.op(
            node.op_type, *(x if v is computed[0] else v for v in node.inputs), **_attributes(node, len(split) - 1)
        )
    return at.replace(at.reshape(y, [None, out[1]] if out[0] is None else out))


def _attributes(node: ir.Node, axis: int) -> dict[str, Any]:
    """The node's own, the last axis where it names one."""
    return {a.name: axis if a.name == "axis" else a.value for a in node.attributes.values()}


def _by_row(at: Site, columns: int) -> bool:
    """Whether a node with one computed operand of rank 2 does the same to each row."""
    kind, array = at.node.op_type, at.constant(1)
    if kind in ("Softmax", "LogSoftmax"):
        return int(at.attr("axis", -1)) in (-1, 1)
    if kind in ("MatMul", "Gemm"):
        plain = (
            not at.attr("transA", 0) and not at.attr("transB", 0) and at.attr("alpha", 1.0) == at.attr("beta", 1.0) == 1
        )
        bias = at.constant(2) if at.has(2) else np.zeros(1)
        return plain and array is not None and array.ndim == 2 and bias is not None and bias.ndim == 1
    constants = [c for c in (at.constant(i) for i in range(len(at.node.inputs))) if c is not None]
    return all(c.size == 1 or (c.size == columns == c.shape[-1]) for c in constants)


def _count(dims: Dims) -> int:
    return int(np.prod([d or 1 for d in dims]))


def _same_batch(source: Dims, between: Dims) -> bool:
    """Whether a Reshape leaves the first axis alone, as far as its dims tell."""
    if source[0] is not None and between[0] is not None:
        return source[0] == between[0]
    sizes = [_count(dims[1:]) for dims in (source, between) if None not in dims[1:]]
    return len(sizes) == 2 and sizes[0] == sizes[1]


_TRANSPOSE = frozenset({"Transpose"})
REWRITES = (
    Rewrite(
        "transposes-as-one", _TRANSPOSE, "TSS", "a Transpose of a Transpose becomes one, or none", _merge_transposes
    ),
    Rewrite("batch-back", _TRANSPOSE, "TSS", "what is computed on a moved batch is computed before", _move_batch_back),
    Rewrite(
        "batch-first",
        frozenset({"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Slice"}),
        "TSS",
        "a batch that was moved is moved after the Reshape or Slice instead",
        _batch_first,
    ),
    Rewrite(
        "rows-apart",
        _BETWEEN | {"MatMul", "Gemm", "Softmax", "LogSoftmax"},
        "TSS",
        "rows made of batch and other axes become axes of their own",
        _rows_apart,
    ),
    Rewrite("reshapes-as-one", frozenset({"Reshape"}), "TSS", "a Reshape of a Reshape becomes one", _merge_reshapes),
)
