"""What exporters write about the rows of a free batch that says nothing: it goes, and the batch stays free.

Attention masks and ids are expanded to the batch although the operator that reads them broadcasts, and rows are
gathered by an index that counts all of them. A reading is the graph at one size of the batch, its values by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from .rules.broadcasting import ELEMENTWISE
from .site import constant_of, dims_of

Reading = dict[str | None, ir.Value]
_BROADCASTING = (ELEMENTWISE - {"PRelu"}) | {
    "And", "Or", "Xor", "Where", "Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Mod",
}  # fmt: skip
_UNARY = frozenset({"Cast", "Not", "Neg", "Abs", "Identity", "Sqrt", "Exp", "Sigmoid", "Tanh", "Relu"})


def drop_expansion(node: ir.Node, readings: Sequence[Reading]) -> None:
    """Read the input of an Expand where that changes no other shape: it expands nothing, or rows that broadcast."""
    value, result = node.inputs[0], node.outputs[0]
    if value is None or result.is_graph_output():
        return
    shapes = [(_dims_before(reading, node), _dims(reading, result)) for reading in readings]
    if any(old is None or new is None or len(old) != len(new) or old[1:] != new[1:] for old, new in shapes):
        return
    if all(old == new for old, new in shapes) or meets_rows(result, readings):
        ir.convenience.replace_all_uses_with(result, value)


def _dims_before(reading: Reading, node: ir.Node) -> list[int] | None:
    """Return the shape of what an Expand reads.

    A reading that folded it away, since it expands nothing there, has only its result, which the operator before gives.
    """
    value, result = node.inputs[0], reading.get(node.outputs[0].name)
    if value is None or value.name in reading or result is None:
        return _dims(reading, value)
    before, producer = value.producer(), result.producer()
    is_folded = before is not None and producer is not None and producer.op_type == before.op_type != "Expand"
    return _dims(reading, node.outputs[0] if is_folded else value)


def row_of_all(value: ir.Value, readings: Sequence[Reading]) -> np.ndarray[Any, Any] | None:
    """Return the row, shape (1, ...), that a value repeats at each size of the batch; None if it is not constant so."""
    row = None
    for reading in readings:
        array = constant_of(reading.get(value.name))
        if array is None or array.ndim < 2 or not len(array) or (array != array[:1]).any():
            return None
        if row is not None and (row.dtype != array.dtype or not np.array_equal(row, array[:1])):
            return None
        row = array[:1]
    return row


def meets_rows(expanded: ir.Value, readings: Sequence[Reading]) -> bool:
    """Return whether everything computed from the value meets another operand that has all rows."""
    waiting, narrow = [expanded], {expanded}
    graph = expanded.graph
    while waiting:
        value = waiting.pop()
        for use in value.uses():
            if use.node.graph is not graph:
                return False
            step = _step(use.node, narrow, readings)
            if step is None or (step and use.node.outputs[0].is_graph_output()):
                return False
            if step and use.node.outputs[0] not in narrow:
                narrow.add(use.node.outputs[0])
                waiting.append(use.node.outputs[0])
    return True


def _step(node: ir.Node, narrow: set[ir.Value], readings: Sequence[Reading]) -> bool | None:
    """Return whether the node's output has one row where its narrow inputs have one; None if it cannot be told."""
    if node.op_type in _UNARY or (node.op_type == "Transpose" and _keeps_first(node)):
        return True
    if node.op_type == "Gather":
        axis = node.attributes.get("axis")
        is_table = constant_of(node.inputs[0]) is not None and node.inputs[1] in narrow
        return True if is_table and (axis is None or axis.as_int() == 0) else None
    if node.op_type not in _BROADCASTING:
        return None
    if all(_has_rows(node, narrow, reading) for reading in readings):
        return False
    others = [v for v in node.inputs if v is not None and v not in narrow]
    ranks = {len(dims_of(v) or ()) for v in node.inputs if v in narrow}
    known = [dims_of(v) for v in others]
    fits = len(ranks) == 1 and all(d is not None and (len(d) < max(ranks) or d[0] == 1) for d in known)
    return True if fits and all(len(d or ()) <= max(ranks) for d in known) else None


def _has_rows(node: ir.Node, narrow: set[ir.Value], reading: Reading) -> bool:
    """Return whether the operands that are not narrow give the output its size along the narrow ones' first axis."""
    output = _dims(reading, node.outputs[0])
    others = [_dims(reading, value) for value in node.inputs if value is not None and value not in narrow]
    if output is None or any(dims is None for dims in others):
        return False
    for value in node.inputs:
        dims = _dims(reading, value) if value in narrow else None
        if dims is None:
            continue
        place = len(dims)  # counted from the last axis
        if not any(len(o) >= place and o[-place] == output[-place] for o in others if o is not None):
            return False
    return True


def _keeps_first(node: ir.Node) -> bool:
    perm = node.attributes.get("perm")
    return perm is not None and perm.as_ints()[0] == 0


def reshape_of_all_rows(node: ir.Node, readings: Sequence[Reading]) -> list[int] | None:
    """Return the shape to which a Gather of all rows in their order reshapes its data; None if it does not.

    The first size is -1, the batch. Masks are read so: row by row, at ``batch * length + position``.
    """
    axis = node.attributes.get("axis")
    if len(node.inputs) != 2 or (axis is not None and axis.as_int() != 0) or constant_of(node.inputs[1]) is not None:
        return None
    shapes: list[list[int]] = []
    for reading in readings:
        data, index = _dims(reading, node.inputs[0]), node.inputs[1]
        rows = constant_of(reading.get(index.name)) if index is not None else None
        if not data or rows is None or rows.ndim == 0 or rows.size != data[0]:
            return None
        if not np.array_equal(rows.ravel(), np.arange(data[0])):
            return None
        shapes.append([*rows.shape, *data[1:]])
    if any(shape[1:] != shapes[0][1:] for shape in shapes):
        return None
    return [-1, *shapes[0][1:]]


def _dims(reading: Reading, value: ir.Value | None) -> list[int] | None:
    """Return the value's shape in the reading, where all of it is known.

    A reading lacks constants that were folded away; their shapes are the same at each size of the batch.
    """
    dims = None if value is None else dims_of(reading.get(value.name, value))
    return None if dims is None or None in dims else [int(size) for size in dims if size is not None]
