"""Nodes that move or keep elements: no-ops removed, shape changes as Reshape, block moves as Transpose."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ..rule import Outcome, Refused, Rewrite
from ..site import Site, constant_of, dims_of, reshapable


def _no_op(model: ir.Model, node: ir.Node) -> Outcome:
    """Identity, inference Dropout, and Cast to the type that is there already."""
    at, source, result = Site(model, node), node.inputs[0], node.outputs[0]
    if source is None:
        return False
    if node.op_type == "Dropout":
        if len(node.outputs) > 1 and (node.outputs[1].uses() or node.outputs[1].is_graph_output()):
            return Refused("the mask of a Dropout is used")
        training = at.constant(2)
        if at.has(2) and (training is None or bool(training.reshape(-1)[0])):
            return Refused("Dropout in training mode")
    if node.op_type == "Cast" and (source.dtype is None or source.dtype != ir.DataType(at.attr("to"))):
        return False
    if not result.is_graph_output():
        result.replace_all_uses_with(source)
        model.graph.remove(node, safe=True)
        return True
    if source.producer() is None or source.is_graph_output() or source.is_graph_input():
        return False if node.op_type == "Identity" else at.replace(source)
    name = result.name
    result.replace_all_uses_with(source, replace_graph_outputs=True)
    model.graph.remove(node, safe=True)
    result.name = None
    source.name = name
    return True


def _as_reshape(model: ir.Model, node: ir.Node) -> Outcome:
    """Squeeze, Unsqueeze and Flatten are Reshapes to the output's shape."""
    at, dims = Site(model, node), dims_of(node.outputs[0])
    if dims is None or not reshapable(dims):
        return Refused("the output's shape is not static enough")
    if node.op_type == "Flatten":
        source = at.dims()
        if source is None or at.attr("axis", 1) % (len(source) + 1) == 1:
            return False
    return at.replace(at.reshape(at.input(), dims))


def _flatten(model: ir.Model, node: ir.Node) -> Outcome:
    at, dims = Site(model, node), dims_of(node.outputs[0])
    if dims is None or not reshapable(dims):
        return Refused("the output's shape is not static enough")
    return at.replace(at.reshape(at.input(), dims))


def _reshape(model: ir.Model, node: ir.Node) -> Outcome:
    """Reshape without 0 (copy) entries: the numbers themselves, the batch as -1."""
    at, wanted, dims = Site(model, node), Site(model, node).constant(1), dims_of(node.outputs[0])
    if wanted is None:
        return False if dims is not None and not reshapable(dims) else _computed_shape(at, dims)
    if 0 not in wanted.tolist():
        if not at.attr("allowzero", 0):
            return False
        # The attribute says what a 0 would mean; without one it only stops converters that do not know it.
        return at.replace(at.op("Reshape", at.input(), at.input(1)))
    if at.attr("allowzero", 0):
        return False
    if dims is None or not reshapable(dims):
        return Refused("the output's shape is not static enough")
    return at.replace(at.reshape(at.input(), dims))


def _computed_shape(at: Site, dims: list[int | None] | None) -> Outcome:
    if dims is None:
        return Refused("the shape is computed and the output's rank unknown")
    return at.replace(at.reshape(at.input(), dims))


def _expand(model: ir.Model, node: ir.Node) -> Outcome:
    """x broadcast against ones."""
    at, shape = Site(model, node), Site(model, node).constant(1)
    if shape is None:
        return Refused("a computed shape")
    if at.dtype.kind not in "fiu":
        return Refused("Mul has no such type")
    if int(np.prod(shape)) > 4_000_000:
        return Refused("the broadcast would be too large")
    return at.replace(at.op("Mul", at.input(), at.const(np.ones([int(s) for s in shape]))))


def _tile(model: ir.Model, node: ir.Node) -> Outcome:
    at, repeats = Site(model, node), Site(model, node).constant(1)
    if repeats is None or int(repeats.max()) > 64:
        return Refused("computed or many repeats")
    y = at.input()
    for axis, count in enumerate(int(r) for r in repeats):
        if count < 1:
            return Refused("zero repeats")
        y = y if count == 1 else at.op("Concat", *[y] * count, axis=axis)
    return at.replace(y)


def _depth_to_space(model: ir.Model, node: ir.Node) -> Outcome:
    at, dims = Site(model, node), Site(model, node).dims()
    if dims is None or len(dims) != 4 or None in dims[1:]:
        return Refused("DepthToSpace needs static channels and spatial dims")
    n, (c, h, w), b = dims[0], [d or 0 for d in dims[1:]], at.attr("blocksize")
    if at.attr("mode", "DCR") == "DCR":
        split, perm = [n, b, b, c // b**2, h, w], [0, 3, 4, 1, 5, 2]
    else:
        split, perm = [n, c // b**2, b, b, h, w], [0, 1, 4, 2, 5, 3]
    y = at.op("Transpose", at.reshape(at.input(), split), perm=perm)
    return at.replace(at.reshape(y, [n, c // b**2, h * b, w * b]))


def _space_to_depth(model: ir.Model, node: ir.Node) -> Outcome:
    at, dims = Site(model, node), Site(model, node).dims()
    if dims is None or len(dims) != 4 or None in dims[1:]:
        return Refused("SpaceToDepth needs static channels and spatial dims")
    n, (c, h, w), b = dims[0], [d or 0 for d in dims[1:]], at.attr("blocksize")
    y = at.reshape(at.input(), [n, c, h // b, b, w // b, b])
    y = at.op("Transpose", y, perm=[0, 3, 5, 1, 2, 4])
    return at.replace(at.reshape(y, [n, c * b * b, h // b, w // b]))


def _two_dimensional(model: ir.Model, node: ir.Node) -> Outcome:
    """A layer over one spatial axis as the layer over two, the first of extent 1."""
    at, dims, out = Site(model, node), Site(model, node).dims(), dims_of(node.outputs[0])
    if dims is None or len(dims) != 3:
        return False
    if out is None or not reshapable(dims) or not reshapable(out):
        return Refused("the shape is not static enough for a Reshape")
    if at.attr("auto_pad", "NOTSET") != "NOTSET" or at.attr("output_shape"):
        return Refused("auto_pad or output_shape is not resolved")
    if any(v.uses() or v.is_graph_output() for v in node.outputs[1:]):
        return Refused("the Indices output counts along one axis")
    attributes = {a.name: a.value for a in node.attributes.values()}
    for name, unit in (("kernel_shape", 1), ("strides", 1), ("dilations", 1), ("output_padding", 0)):
        if attributes.get(name):
            attributes[name] = [unit, *attributes[name]]
    if attributes.get("pads"):
        begin, end = attributes["pads"]
        attributes["pads"] = [0, begin, 0, end]
    rest = list(node.inputs[1:])
    if rest:
        kernel = constant_of(rest[0])
        if kernel is None:
            return Refused("a computed kernel")
        rest[0] = at.const(kernel[:, :, None, :])
    y = at.op(node.op_type, at.reshape(at.input(), [dims[0], dims[1], 1, dims[2]]), *rest, **attributes)
    return at.replace(at.reshape(y, out))


def _ops(*names: str) -> frozenset[str]:
    return frozenset(names)


REWRITES = (
    Rewrite("no-op", _ops("Identity", "Dropout", "Cast"), "CG", "a node that changes nothing goes", _no_op),
    Rewrite("reshape-explicit", _ops("Reshape"), "TSS", "0 entries and computed shapes become numbers", _reshape),
    Rewrite("flatten-axis", _ops("Flatten"), "TSS", "Flatten on an axis other than 1 becomes Reshape", _as_reshape),
    Rewrite("flatten-as-reshape", _ops("Flatten"), "TSS", "Flatten becomes Reshape", _flatten),
    Rewrite("squeeze", _ops("Squeeze", "Unsqueeze"), "TSS", "becomes Reshape", _as_reshape),
    Rewrite("expand", _ops("Expand"), "TSS", "becomes Mul with ones", _expand),
    Rewrite("tile", _ops("Tile"), "TSS", "becomes Concat", _tile),
    Rewrite("depth-to-space", _ops("DepthToSpace"), "TSS", "becomes Reshape, Transpose, Reshape", _depth_to_space),
    Rewrite("space-to-depth", _ops("SpaceToDepth"), "TSS", "becomes Reshape, Transpose, Reshape", _space_to_depth),
    Rewrite(
        "one-axis-as-two",
        _ops("Conv", "ConvTranspose", "MaxPool", "AveragePool", "LpPool"),
        "TSS",
        "a layer over one spatial axis becomes one over two",
        _two_dimensional,
    ),
)
