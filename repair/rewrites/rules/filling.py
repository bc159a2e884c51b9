"""The same numbers for each sample of a free batch: initial states of zeros, class tokens.

Exporters write Expand(numbers, shape) or ConstantOfShape(shape) with a shape that is computed from the batch, which few
converters follow. Here a zero for each sample is made from an input, relu(min(x, 0)), which is 0 for infinities too,
and the number added. NaN in the first element of an input stays NaN. The input is one whose rows the shape counts:
inputs whose free first axes have different names, or none, may have different numbers of rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from ..free_batch import UNREADABLE, shape_at_batches
from ..rule import Outcome, Refused, Rewrite
from ..site import Array, Site, dims_of


def _numbers(at: Site) -> Array | None:
    """Return what each sample is filled with; None where it is computed."""
    if at.node.op_type == "ConstantOfShape":
        value = at.attr("value")
        return np.zeros([1], np.float32) if value is None else np.asarray(value.numpy()).reshape(-1)
    return at.constant(0)


def _row(numbers: Array, wanted: Sequence[int]) -> Array | None:
    """Return the numbers of one sample, shape [1, *wanted]; None where samples differ or the numbers do not fit."""
    rank = 1 + len(wanted)
    if numbers.ndim > rank or (numbers.ndim == rank and numbers.shape[0] != 1):
        return None
    full = numbers.reshape([1] * (rank - numbers.ndim) + list(numbers.shape))
    if any(size not in (1, want) for size, want in zip(full.shape[1:], wanted, strict=True)):
        return None  # the shape given to Expand is broadcast itself: the result is larger than it
    return np.broadcast_to(full, [1, *wanted])


def _counted(model: ir.Model, node: ir.Node, index: int) -> tuple[ir.Value, list[int]] | None:
    """An input of the graph whose rows the shape (input `index` of the node) starts with, and the rest of the shape."""
    free = [(v, d) for v in model.graph.inputs if not v.is_initializer() and (d := dims_of(v)) and d[0] is None]
    tried = set[tuple[str | None, ...]]()
    for value, dims in free:
        name = _first_axis(value)
        rows = tuple(v.name for v, _ in free if v is value or (name is not None and _first_axis(v) == name))
        if None in dims[1:] or 0 in dims or rows in tried:
            continue
        tried.add(rows)
        wanted = shape_at_batches(model, node, index, rows)
        if wanted is not None:
            return value, wanted
    return None


def _first_axis(value: ir.Value) -> str | None:
    first = value.shape[0] if value.shape is not None else None
    return first.value if isinstance(first, ir.SymbolicDim) else None


def _fill(model: ir.Model, node: ir.Node) -> Outcome:
    at = Site(model, node)
    shape = 0 if node.op_type == "ConstantOfShape" else 1
    numbers, out = _numbers(at), dims_of(node.outputs[0])
    if at.constant(shape) is not None or numbers is None:
        return False
    if out and out[0] is not None:
        return Refused("a first axis that is not the batch")
    if numbers.dtype.kind != "f":
        return Refused("numbers that are no floats")
    seen: set[str | None] = model.meta.setdefault(UNREADABLE, set())  # a reading folds the model four times: only once
    counted = None if node.outputs[0].name in seen else _counted(model, node, shape)
    if counted is None:
        seen.add(node.outputs[0].name)
        return Refused("no input that has the batch, or a shape that does not come from it")
    x, wanted = counted
    row = _row(numbers, wanted)
    if row is None:
        return Refused("samples are filled with different numbers, or with more than the shape says")
    dims = dims_of(x) or []
    width, rank = int(np.prod([d or 1 for d in dims[1:]])), 1 + len(wanted)
    rows = x if len(dims) == 2 else at.op("Reshape", x, at.ints([-1, width]))
    first = rows if width == 1 else at.slice(rows, 1, 0, 1)
    if x.dtype != ir.DataType.from_numpy(numbers.dtype):
        first = at.op("Cast", first, to=int(ir.DataType.from_numpy(numbers.dtype)))
    none = at.op("Relu", at.op("Min", first, at.const(np.zeros([1, 1]), numbers.dtype)))
    none = none if rank == 2 else at.op("Reshape", none, at.ints([-1, *[1] * (rank - 1)]))
    return at.replace(at.op("Add", none, at.const(row, numbers.dtype)))


REWRITES = (
    Rewrite(
        "batch-filled",
        frozenset({"Expand", "ConstantOfShape"}),
        "TSS",
        "what each sample is filled with is added to a zero made from an input",
        _fill,
    ),
)
