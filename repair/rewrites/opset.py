"""Bring a model to an opset that a converter takes, keeping its meaning.

Upwards to 13 (below it, Softmax flattens and axes are attributes) with ONNX's own version converter, after
making explicit what it gets wrong or writes with computed shapes. Downwards operator by operator: ONNX's
converter stops at the first missing adapter, and most newer versions only added types or moved an attribute.
"""

from __future__ import annotations

import re

import numpy as np
import onnx
import onnx.version_converter
import onnx_ir as ir

from .application import load, name_nodes, settle
from .opset_lowering import lower
from .rule import NotConvertible, Outcome, Refused
from .site import Site, reshapable

FLOOR = 13


def prepare(model: onnx.ModelProto, opset: int | None) -> onnx.ModelProto:
    """A new model of opset 13 or higher, and at most `opset` where that is given (13 or more).

    A model between the two comes back as it is. Raises NotConvertible where an operator has no form there.
    """
    if opset is not None and opset < FLOOR:
        raise ValueError(f"opset {opset} asked for; the lowest that can be prepared is {FLOOR}")
    graph = load(model)
    imports = graph.graph.opset_imports
    if "ai.onnx" in imports:
        imports[""] = max(imports.pop("ai.onnx"), imports.get("", 0))
    name_nodes(graph)
    current = imports.get("", FLOOR)
    if current < FLOOR:
        graph = _raise(graph, current)
    elif opset is not None and current > opset:
        settle(graph)
        lower(graph, current, opset)
    return ir.to_proto(graph)


def _raise(graph: ir.Model, current: int) -> ir.Model:
    graph.ir_version = max(graph.ir_version or 0, 7)
    settle(graph)
    for node in list(graph.graph):
        if node.op_type in ("Softmax", "LogSoftmax", "Hardmax"):
            outcome = _flattened(graph, node)
            if isinstance(outcome, Refused):
                raise NotConvertible(f"{node.op_type} ({outcome.reason})", current, FLOOR)
    resizes = [(n.name, n.outputs[0].name) for n in graph.graph if n.op_type in ("Upsample", "Resize")]
    try:
        raised = onnx.version_converter.convert_version(ir.to_proto(graph), FLOOR)
    except RuntimeError as error:
        match = re.search(r"for (\w+)", str(error))
        raise NotConvertible(match[1] if match else str(error), current, FLOOR) from error
    result = ir.from_proto(raised)
    if current < 11:
        settle(result)
        _as_before_11(result, resizes)
    name_nodes(result)
    return result


def _flattened(graph: ir.Model, node: ir.Node) -> Outcome:
    """Before opset 13 the axes from `axis` on are one: Softmax over their product."""
    at = Site(graph, node)
    dims = at.dims()
    if dims is None:
        return Refused("the rank is unknown")
    rank = len(dims)
    axis = at.attr("axis", 1) % rank
    if axis == rank - 1:
        return at.retain(axis=axis)
    if None in dims[axis:] or not reshapable(dims):
        return Refused("it flattens axes that are not static")
    inner = int(np.prod([d or 1 for d in dims[axis:]]))
    # The axes before stay apart: no converter needs to take the batch together with another axis.
    y = at.op(node.op_type, at.reshape(at.input(), [*dims[:axis], inner] if axis else [1, inner]), axis=max(axis, 1))
    return at.replace(at.reshape(y, dims))


def _as_before_11(graph: ir.Model, names: list[tuple[str | None, str | None]]) -> None:
    """Resize before 11 reads at x / scale; nearest rounds down where it enlarges and up where it shrinks.

    ONNX's converter forgets that, as it does the names.
    """
    nodes = [n for n in graph.graph if n.op_type == "Resize"]
    for node, (name, output) in zip(nodes, names, strict=True):
        node.name, node.outputs[0].name = name, output
        at = Site(graph, node)
        at.retain(coordinate_transformation_mode="asymmetric", nearest_mode="floor")
        scales = at.constant(2)
        if at.attr("mode", "nearest") != "nearest" or scales is None or (scales >= 1).all():
            continue
        x, attributes = at.input(), {a.name: a.value for a in node.attributes.values()}
        if (scales > 1).any():
            larger = at.const(np.maximum(scales, 1), np.float32)
            x = at.op("Resize", x, node.inputs[1], larger, **attributes)
        smaller = at.const(np.minimum(scales, 1), np.float32)
        at.replace(at.op("Resize", x, node.inputs[1], smaller, **{**attributes, "nearest_mode": "ceil"}))
