"""Shapes that a graph computes from its free batch, as constants.

Exporters write `Reshape(x, Concat(Shape(x)[0], 12, ...))`, which few converters follow. The graph is read at
several batch sizes: what comes out equal is constant, the one number of a Reshape that does not is the batch, -1.
What a tool writes so that an empty batch too can be padded (onnx2tf) does nothing at any other size, and goes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common
from onnxscript import optimizer

from .free_rows import drop_expansion, meets_rows, reshape_of_all_rows, row_of_all
from .rules.broadcasting import ELEMENTWISE
from .rules.reduction import REDUCTIONS
from .site import Array, Site, constant_of, dims_of

_BATCHES = (5, 7)
_OTHERS = (1, 8)  # what is constant must be so here too
_APART = 3  # that an input of other rows has more of them: what counts those is then not constant either
UNREADABLE = "safeconvert.unreadable"  # where a model keeps the names of the shapes that were read in vain
_Reading = dict[str | None, ir.Value]  # the values by name, at one size of the batch
_SHAPED = (
    frozenset({"Reshape", "Expand", "Slice", "Pad", "Resize", "Tile", "Split", "Squeeze", "Unsqueeze"}) | REDUCTIONS
)


def freeze_computed_shapes(model: ir.Model) -> bool:
    """Replace computed shape inputs and fill in unknown dims, in place; False where there is nothing to do.

    Only models whose inputs are static but for the first axis.
    """
    inputs = [v for v in model.graph.inputs if not v.is_initializer()]
    sizes = [dims_of(v) for v in inputs]
    if not any(n.op_type == "Shape" for n in model.graph) or any(d is None or None in d[1:] for d in sizes):
        return False
    if not any(d and d[0] is None for d in sizes):
        return False
    first, second = (_at_batch(model, batch) for batch in _BATCHES)
    others = [_at_batch(model, batch) for batch in _OTHERS]
    for node in model.graph:
        for output in node.outputs:
            _fill_dims(output, first.get(output.name), second.get(output.name))
    _freeze_values(model, [first, second, *others])
    for node in model.graph:
        if node.op_type in _SHAPED:
            _freeze(model, node, first, second, others)
    for node in list(model.graph):
        if node.op_type in ELEMENTWISE:
            _unexpand(node, first, second)
    _simplify_rows(model, [first, second, *others])
    for node in list(model.graph):
        if node.op_type == "Slice":
            _undo_added_rows(node, first, second)
    common.RemoveUnusedNodesPass()(model)
    return True


def shape_at_batches(model: ir.Model, node: ir.Node, index: int, rows: Collection[str | None]) -> list[int] | None:
    """The shape that an input of the node holds, behind its first axis; None unless that one is the batch.

    rows: the graph's inputs that have the batch, by name; free first axes of others have another size.
    """
    name, shapes = node.outputs[0].name, list[list[int]]()
    for batch in (*_BATCHES, *_OTHERS):
        value = _at_batch(model, batch, name, rows).get(name)
        twin = value.producer() if value is not None else None
        if twin is not None and twin.op_type == node.op_type:
            shape = constant_of(twin.inputs[index])
            read = None if shape is None else [int(d) for d in shape]
        else:  # folded: a constant of that shape
            array = constant_of(value)
            read = None if array is None else list(array.shape)
        if not read or read[0] != batch or (shapes and shapes[0] != read[1:]):
            return None
        shapes.append(read[1:])
    return shapes[0]


def _simplify_rows(model: ir.Model, readings: Sequence[_Reading]) -> None:
    """Let Gathers of all rows be Reshapes, and leave it to broadcasting to repeat a row for each of the batch."""
    for node in list(model.graph):
        shape = reshape_of_all_rows(node, readings) if node.op_type == "Gather" else None
        if shape is not None:
            at = Site(model, node)
            at.replace(at.op("Reshape", node.inputs[0], at.ints(shape)))
    for node in list(model.graph):
        for output in node.outputs:
            row = None if output.is_graph_output() else row_of_all(output, readings)
            if row is not None and meets_rows(output, readings):
                ir.convenience.replace_all_uses_with(output, _constant(model, f"{output.name}/row", row))
    for node in list(model.graph):
        if node.op_type == "Expand":
            drop_expansion(node, readings)


def _at_batch(
    model: ir.Model, batch: int, keep: str | None = None, rows: Collection[str | None] | None = None
) -> dict[str | None, ir.Value]:
    """Return the values of the model by name, folded with the batch fixed.

    Expansions stay, and the value called `keep`, also where nothing uses them any more.

    rows: the inputs that have this batch; all if None.
    """
    graph = model.graph.clone()
    copy = ir.Model(graph, ir_version=model.ir_version)
    for value in graph.inputs:
        dims = dims_of(value)
        if dims and dims[0] is None:
            value.shape = ir.Shape([batch if rows is None or value.name in rows else batch + _APART, *dims[1:]])
    for node in graph:
        for output in node.outputs:
            output.shape = None
            is_kept = node.op_type == "Expand" or (keep is not None and output.name == keep)
            if is_kept and not output.is_graph_output():
                graph.outputs.append(output)
    # Folding infers node by node, so that a shape computed from a folded Reshape is folded in turn.
    optimizer.fold_constants(copy, onnx_shape_inference=True, input_size_limit=1 << 16, output_size_limit=1 << 16)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(copy)
    common.ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(copy)
    return {v.name: v for v in (*graph.initializers.values(), *graph.inputs, *(v for n in graph for v in n.outputs))}


def _fill_dims(value: ir.Value, first: ir.Value | None, second: ir.Value | None) -> None:
    a, b, known = dims_of(first), dims_of(second), dims_of(value)
    if a is None or b is None or len(a) != len(b) or (known is not None and None not in known[1:]):
        return
    value.shape = ir.Shape([x if x == y else None for x, y in zip(a, b, strict=True)])


def _freeze_values(model: ir.Model, readings: Sequence[_Reading]) -> None:
    """Replace each computed value that is the same constant in every reading, such as the square root of a size."""
    for node in list(model.graph):
        for output in node.outputs:
            arrays = [constant_of(reading.get(output.name)) for reading in readings]
            known = [array for array in arrays if array is not None]
            if len(known) < len(arrays) or output.is_graph_output() or not output.uses():
                continue
            if all(array.dtype == known[0].dtype and np.array_equal(array, known[0]) for array in known):
                ir.convenience.replace_all_uses_with(output, _constant(model, f"{output.name}/frozen", known[0]))


def _constant(model: ir.Model, label: str, array: Array) -> ir.Value:
    """Return a new initializer of the model."""
    tensor = ir.tensor(array, name=label)
    constant = ir.Value(name=label, shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
    model.graph.register_initializer(constant)
    return constant


def _freeze(model: ir.Model, node: ir.Node, first: _Reading, second: _Reading, others: Sequence[_Reading]) -> None:
    name = node.outputs[0].name
    twins = [v.producer() for v in (first.get(name), second.get(name)) if v is not None]
    checks = [v.producer() for reading in others if (v := reading.get(name)) is not None]
    for index, value in enumerate(node.inputs):
        if index == 0 or value is None or constant_of(value) is not None:
            continue
        constants = [
            constant_of(t.inputs[index])
            for t in twins
            if t is not None and t.op_type == node.op_type and index < len(t.inputs)
        ]
        arrays = [a for a in constants if a is not None]
        frozen = _common(arrays[0], arrays[1], node.op_type == "Reshape") if len(arrays) == 2 else None
        for twin in checks:
            if frozen is None or twin is None or twin.op_type != node.op_type or index >= len(twin.inputs):
                continue  # a reading in which this does nothing tells nothing
            seen = constant_of(twin.inputs[index])
            if seen is not None and not _fits(frozen, seen):
                frozen = None
        if frozen is None and node.op_type == "Resize" and index == 3 and len(arrays) == 2:
            _freeze_sizes(model, node, arrays[0], arrays[1])
        if frozen is not None:
            _set(model, node, index, frozen)


def _fits(frozen: Array, seen: Array) -> bool:
    """Is this what was frozen, at another size of the batch? -1 is whatever the batch makes of it."""
    return frozen.shape == seen.shape and bool(((frozen == seen) | (frozen == -1)).all())


def _set(model: ir.Model, node: ir.Node, index: int, array: Array) -> None:
    node.replace_input_with(index, _constant(model, f"{node.name}/frozen_{index}", array))


def _freeze_sizes(model: ir.Model, node: ir.Node, a: Array, b: Array) -> None:
    """Sizes of a Resize that keep the batch, as the scales that onnxruntime computes from them."""
    dims, policy = dims_of(node.inputs[0]), node.attributes.get("keep_aspect_ratio_policy")
    differs_in_batch_only = (int(a[0]), int(b[0])) == _BATCHES and (a[1:] == b[1:]).all()
    if (
        not differs_in_batch_only
        or dims is None
        or None in dims[1:]
        or len(dims) != len(a)
        or "axes" in node.attributes
        or policy
    ):
        return
    sizes = np.asarray([d or 1 for d in dims[1:]], dtype=np.float32)
    scales = a[1:].astype(np.float32) / sizes
    if (np.floor(sizes * scales) == a[1:]).all():
        _set(model, node, 2, np.concatenate([np.ones(1, np.float32), scales]))
        node.replace_input_with(3, None)


def _common(a: Array, b: Array, reshape: bool) -> Array | None:
    """What two readings agree on; -1 for the one entry of a Reshape that follows the batch."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return None
    differing = np.flatnonzero(a != b)
    if not differing.size:
        return a
    if not reshape or differing.size > 1 or -1 in a:
        return None
    return np.where(a != b, np.int64(-1), a)


def _undo_added_rows(node: ir.Node, first: _Reading, second: _Reading) -> None:
    """Rows joined to the batch, against an empty one, that this Slice takes off again: a Concat that does nothing."""
    if not all(_takes_batch(node, batch, reading) for batch, reading in zip(_BATCHES, (first, second), strict=True)):
        return
    value = node.inputs[0]
    producer = value.producer() if value is not None else None
    while producer is not None and producer.op_type == "Transpose" and _keeps_first(producer):
        if len(producer.outputs[0].uses()) != 1 or producer.inputs[0] is None:
            return
        producer = producer.inputs[0].producer()
    if producer is None or producer.op_type != "Concat" or producer.attributes["axis"].as_int() != 0:
        return
    joined, batch = producer.outputs[0], producer.inputs[0]
    if batch is None or len(joined.uses()) != 1 or node.outputs[0].is_graph_output():
        return
    shapes = [dims_of(reading.get(batch.name)) for reading in (first, second)]
    if [dims[0] if dims else None for dims in shapes] != list(_BATCHES):
        return
    ir.convenience.replace_all_uses_with(joined, batch)
    ir.convenience.replace_all_uses_with(node.outputs[0], node.inputs[0])


def _keeps_first(node: ir.Node) -> bool:
    perm = node.attributes.get("perm")
    return perm is not None and perm.as_ints()[0] == 0


def _takes_batch(node: ir.Node, batch: int, reading: _Reading) -> bool:
    """Does the Slice give the first rows, as many as the batch, and all of the other axes?"""
    value = reading.get(node.outputs[0].name)
    twin = value.producer() if value is not None else None
    if twin is None or twin.op_type != "Slice":
        return False
    arrays = [constant_of(value) for value in twin.inputs[1:] if value is not None]
    dims = dims_of(twin.inputs[0])
    known = [array for array in arrays if array is not None]
    if dims is None or len(known) < len(arrays) or len(twin.inputs) != 1 + len(known):
        return False  # bounds that are computed, or steps without axes
    starts, stops = known[:2]
    axes = known[2] if len(known) > 2 else range(len(starts))
    if len(known) > 3 and (known[3] != 1).any():
        return False
    ends = list(dims)
    for axis, start, end in zip(map(int, axes), starts, stops, strict=True):
        size = dims[axis]
        if size is None or start:
            return False
        ends[axis] = min(int(end), size)
    return ends == [batch, *dims[1:]]


def _unexpand(node: ir.Node, first: _Reading, second: _Reading) -> None:
    """A number that is expanded to the shape of the operand it meets: as a number it does the same."""
    if len(node.inputs) != 2 or node.op_type == "PRelu":
        return
    for index, value in enumerate(node.inputs):
        producer = value.producer() if value is not None else None
        other = node.inputs[1 - index]
        if producer is None or producer.op_type != "Expand" or other is None:
            continue
        number = constant_of(producer.inputs[0])
        name = node.outputs[0].name
        meets = [(dims_of(reading.get(name)), dims_of(reading.get(other.name))) for reading in (first, second)]
        if number is not None and number.size == 1 and all(a is not None and a == b for a, b in meets):
            node.replace_input_with(index, producer.inputs[0])
