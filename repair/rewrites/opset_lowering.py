"""Take a model to an older opset, operator by operator."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir

from .application import infer, settle
from .rule import NotConvertible, Outcome, Refused
from .rules import (
    activations,
    average_pooling,
    cumulative,
    functions,
    grid_sample,
    normalization,
    pads,
    recurrent,
    reduction,
    resize,
    selection,
)
from .site import Site, dims_of, reshapable

# Versions that differ in meaning although the older schema takes the same node.
_REDEFINED = frozenset({"GroupNormalization", "GridSample", "DFT"})
_IDLE = frozenset({"saturate", "round_mode"})


def lower(graph: ir.Model, current: int, target: int) -> None:
    _spell_out(graph, target)
    graph.graph.opset_imports[""] = target
    for _ in range(8):
        changed = [_lower_node(graph, node, current, target) for node in list(graph.graph) if node.domain == ""]
        if not any(changed):
            return
        infer(graph)
    raise NotConvertible("a function body without end", current, target)


def _spell_out(graph: ir.Model, target: int) -> None:
    """Write operators that the target lacks as their bodies while the graph has the opset that these are written in.

    What a body computes from shapes, axes most of all, is folded there: the older operators want it as numbers.
    """
    for _ in range(4):
        newer = [
            node
            for node in graph.graph
            if node.domain == "" and node.op_type not in _FORMS and not onnx.defs.has(node.op_type, target, "")
        ]
        if not [node for node in newer if functions.inline(graph, node) is True]:
            return
        settle(graph)


def _lower_node(graph: ir.Model, node: ir.Node, current: int, target: int) -> bool:
    """Bring one node to the target opset; True if it was replaced by others, which are then looked at too."""
    kind = node.op_type
    try:
        old = onnx.defs.get_schema(kind, target, "")
    except onnx.defs.SchemaError:
        old = None
    new = onnx.defs.get_schema(kind, max(current, target), "") if onnx.defs.has(kind, current, "") else None
    if old is not None and new is not None and old.since_version == new.since_version:
        return False
    if old is not None and kind not in _REDEFINED:
        outcome = _SPECIAL[kind](graph, node, target) if kind in _SPECIAL else False
        if outcome is True and node.graph is None:
            return True
        if not isinstance(outcome, Refused) and _fits(node, old, new):
            return False
    for form in (_FORMS.get(kind), functions.inline):
        if form is not None and form(graph, node) is True:
            return True
    raise NotConvertible(kind, current, target)


def _fits(node: ir.Node, old: onnx.defs.OpSchema, new: onnx.defs.OpSchema | None) -> bool:
    """Whether the older schema takes this node, once attributes that say nothing are dropped."""
    if len(node.inputs) > old.max_input or len(node.outputs) > old.max_output:
        return False
    for i, value in enumerate(node.inputs):
        if value is None or value.dtype is None:
            continue
        formal = old.inputs[min(i, len(old.inputs) - 1)]
        if f"tensor({onnx.TensorProto.DataType.Name(int(value.dtype)).lower()})" not in formal.types:
            return False
    for name in [n for n in node.attributes if n not in old.attributes]:
        if name not in _IDLE:
            default = new.attributes[name].default_value if new is not None and name in new.attributes else None
            if default is None or default.type == onnx.AttributeProto.UNDEFINED:
                return False
            value = onnx.helper.get_attribute_value(default)
            if node.attributes[name].value != (value.decode() if isinstance(value, bytes) else value):
                return False
        node.attributes.pop(name)
    return True


def _reduce(graph: ir.Model, node: ir.Node, target: int) -> Outcome:
    at = Site(graph, node)
    if target >= 18 or (not at.has(1) and "noop_with_empty_axes" not in node.attributes):
        return False
    axes = reduction.axes_of(at)
    if isinstance(axes, Refused):
        return axes
    if not axes:
        return at.replace(at.input())
    return at.replace(at.reduce(node.op_type, at.input(), axes, at.attr("keepdims", 1)))


def _split(graph: ir.Model, node: ir.Node, target: int) -> Outcome:
    at, dims, count = Site(graph, node), Site(graph, node).dims(), len(node.outputs)
    if target >= 18 or "num_outputs" not in node.attributes:
        return False
    axis = at.attr("axis", 0)
    size = None if dims is None else dims[axis]
    if size is None:
        return Refused("parts of an axis that is not static")
    part = -(-size // count)
    sizes = at.ints([part] * (count - 1) + [size - part * (count - 1)])
    graph.graph.register_initializer(sizes)
    node.resize_inputs(2)
    node.replace_input_with(1, sizes)
    return at.retain(num_outputs=None)


def _pad(graph: ir.Model, node: ir.Node, target: int) -> Outcome:
    if target < 18 and Site(graph, node).has(3):
        return pads.BY_NAME["pad-axes"].apply(graph, node)
    if target < 19 and Site(graph, node).attr("mode") == "wrap":
        return pads.BY_NAME["pad-mode"].apply(graph, node)
    return False


def _resize(graph: ir.Model, node: ir.Node, target: int) -> Outcome:
    at = Site(graph, node)
    symmetric = at.attr("coordinate_transformation_mode") == "half_pixel_symmetric" and target < 19
    policy = at.attr("keep_aspect_ratio_policy", "stretch") != "stretch"
    modern = "axes" in node.attributes or at.attr("antialias", 0) or policy
    if symmetric or (modern and target < 18):
        return resize.BY_NAME["resize-matmul"].apply(graph, node)
    return False


def _average_pool(graph: ir.Model, node: ir.Node, target: int) -> Outcome:
    dilations = Site(graph, node).attr("dilations")
    if dilations is None or target >= 19:
        return False
    if set(dilations) == {1}:
        return Site(graph, node).retain(dilations=None)
    return average_pooling.BY_NAME["averagepool-valid"].apply(graph, node)


def _reshape(graph: ir.Model, node: ir.Node, target: int) -> Outcome:
    at = Site(graph, node)
    if target >= 14 or not at.attr("allowzero", 0):
        return False
    shape, dims = at.constant(1), dims_of(node.outputs[0])
    if shape is not None and 0 not in shape.tolist():
        return at.retain(allowzero=None)
    if dims is None or 0 in dims or not reshapable(dims):
        return Refused("allowzero with zeros")
    return at.replace(at.reshape(at.input(), dims))


def _shape(graph: ir.Model, node: ir.Node, target: int) -> Outcome:
    at = Site(graph, node)
    start, end = at.attr("start", 0), at.attr("end", np.iinfo(np.int64).max)
    if target >= 15 or not {"start", "end"} & set(node.attributes):
        return False
    return at.replace(at.slice(at.op("Shape", at.input()), 0, start, int(end)))


def _batch_norm(graph: ir.Model, node: ir.Node, target: int) -> Outcome:
    if Site(graph, node).attr("training_mode", 0):
        return Refused("training mode")
    return Site(graph, node).retain(training_mode=None) if target < 14 else False


_SPECIAL: dict[str, Callable[[ir.Model, ir.Node, int], Outcome]] = {
    **dict.fromkeys(reduction.REDUCTIONS - {"ReduceSum"}, _reduce),
    "Split": _split,
    "Pad": _pad,
    "Resize": _resize,
    "AveragePool": _average_pool,
    "Reshape": _reshape,
    "Shape": _shape,
    "BatchNormalization": _batch_norm,
}
_FORMS: dict[str, Callable[[ir.Model, ir.Node], Outcome]] = {
    op_type: rule.apply
    for rule in (
        *activations.REWRITES[:2],
        *normalization.REWRITES,
        *cumulative.REWRITES,
        *selection.REWRITES,
        *recurrent.REWRITES,
        *grid_sample.REWRITES,
    )
    for op_type in sorted(rule.operators)
}
