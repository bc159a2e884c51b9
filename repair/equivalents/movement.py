"""Transposes and Reshapes that follow each other become one, so that a batch which only travels stays first."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from .contract import Outcome, Refused, Rewrite
from .site import Dims, Site, constant_of, dims_of, reshapable

_BETWEEN = frozenset({"Add", "Sub", "Mul", "Div", "Max", "Min", "Relu", "Sigmoid", "Tanh", "Exp", "Sqrt", "Floor"})


def _perm(node: ir.Node | None) -> list[int] | None:
    if node is None or node.op_type != "Transpose":
        return None
    dims, given = dims_of(node.inputs[0]), node.attributes.get("perm")
    if given is not None:
        return [int(p) for p in given.as_ints()]
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


def _same_batch(source: Dims, between: Dims) -> bool:
    """Whether a Reshape leaves the first axis alone, as far as its dims tell."""
    if source[0] is not None and between[0] is not None:
        return source[0] == between[0]
    sizes = [int(np.prod([d or 1 for d in dims[1:]])) for dims in (source, between) if None not in dims[1:]]
    return len(sizes) == 2 and sizes[0] == sizes[1]


_TRANSPOSE = frozenset({"Transpose"})
REWRITES = (
    Rewrite(
        "transposes-as-one", _TRANSPOSE, "TSS", "a Transpose of a Transpose becomes one, or none", _merge_transposes
    ),
    Rewrite("batch-back", _TRANSPOSE, "TSS", "what is computed on a moved batch is computed before", _move_batch_back),
    Rewrite("reshapes-as-one", frozenset({"Reshape"}), "TSS", "a Reshape of a Reshape becomes one", _merge_reshapes),
)
