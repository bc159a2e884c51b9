"""Shapes that a graph computes from its free batch, as constants.

Exporters write `Reshape(x, Concat(Shape(x)[0], 12, ...))`, which few converters follow. The graph is read at
two batch sizes: what comes out equal is constant, the one number of a Reshape that does not is the batch, -1.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common
from onnxscript import optimizer

from .reduction import REDUCTIONS
from .site import Array, constant_of, dims_of

_BATCHES = (5, 7)
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
    for node in model.graph:
        for output in node.outputs:
            _fill_dims(output, first.get(output.name), second.get(output.name))
        if node.op_type in _SHAPED:
            _freeze(model, node, first, second)
    common.RemoveUnusedNodesPass()(model)
    return True


def _at_batch(model: ir.Model, batch: int) -> dict[str | None, ir.Value]:
    """The values of the model by name, folded with the batch fixed."""
    graph = model.graph.clone()
    copy = ir.Model(graph, ir_version=model.ir_version)
    for value in graph.inputs:
        dims = dims_of(value)
        if dims and dims[0] is None:
            value.shape = ir.Shape([batch, *dims[1:]])
    for node in graph:
        for output in node.outputs:
            output.shape = None
    # Folding infers node by node, so that a shape computed from a folded Reshape is folded in turn.
    optimizer.fold_constants(copy, onnx_shape_inference=True, input_size_limit=1 << 16, output_size_limit=1 << 16)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(copy)
    common.ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(copy)
    return {v.name: v for n in graph for v in n.outputs}


def _fill_dims(value: ir.Value, first: ir.Value | None, second: ir.Value | None) -> None:
    a, b, known = dims_of(first), dims_of(second), dims_of(value)
    if a is None or b is None or len(a) != len(b) or (known is not None and None not in known[1:]):
        return
    value.shape = ir.Shape([x if x == y else None for x, y in zip(a, b, strict=True)])


def _freeze(
    model: ir.Model, node: ir.Node, first: dict[str | None, ir.Value], second: dict[str | None, ir.Value]
) -> None:
    name = node.outputs[0].name
    twins = [v.producer() for v in (first.get(name), second.get(name)) if v is not None]
    for index, value in enumerate(node.inputs):
        if index == 0 or value is None or constant_of(value) is not None:
            continue
        found = [
            constant_of(t.inputs[index])
            for t in twins
            if t is not None and t.op_type == node.op_type and index < len(t.inputs)
        ]
        arrays = [a for a in found if a is not None]
        frozen = _common(arrays[0], arrays[1], node.op_type == "Reshape") if len(arrays) == 2 else None
        if frozen is None and node.op_type == "Resize" and index == 3 and len(arrays) == 2:
            _freeze_sizes(model, node, arrays[0], arrays[1])
        if frozen is not None:
            _set(model, node, index, frozen)


def _set(model: ir.Model, node: ir.Node, index: int, array: Array) -> None:
    label = f"{node.name}/frozen_{index}"
    tensor = ir.tensor(array, name=label)
    constant = ir.Value(name=label, shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
    model.graph.register_initializer(constant)
    node.replace_input_with(index, constant)


def _freeze_sizes(model: ir.Model, node: ir.Node, a: Array, b: Array) -> None:
    """Sizes of a Resize that keep the batch, as the scales that onnxruntime computes from them."""
    dims, policy = dims_of(node.inputs[0]), node.attributes.get("keep_aspect_ratio_policy")
    kept = (int(a[0]), int(b[0])) == _BATCHES and (a[1:] == b[1:]).all()
    if not kept or dims is None or None in dims[1:] or len(dims) != len(a) or "axes" in node.attributes or policy:
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
