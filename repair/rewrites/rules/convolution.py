"""Conv without pads, groups, dilations or strides, each on its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from ..rule import Outcome, Refused, Rewrite
from ..site import Array, Site
from .auto_pad import window

MAX_DENSE_ELEMENTS = 4_000_000
MAX_PARTS = 64


def spread(kernel: Array, dilations: list[int]) -> Array:
    """A kernel with zeros between its taps, so that it needs no dilation. Axes 2.. are spatial."""
    shape = [(k - 1) * d + 1 for k, d in zip(kernel.shape[2:], dilations, strict=True)]
    wide = np.zeros((*kernel.shape[:2], *shape), dtype=kernel.dtype)
    wide[(slice(None), slice(None), *(slice(None, None, d) for d in dilations))] = kernel
    return wide


def block_diagonal(kernel: Array, group: int) -> Array:
    """A grouped Conv kernel (M, C/group, ...) as a dense one (M, C, ...): zero across groups."""
    filters, inner = kernel.shape[:2]
    dense = np.zeros((filters, inner * group, *kernel.shape[2:]), dtype=kernel.dtype)
    step = filters // group
    for g in range(group):
        dense[g * step : (g + 1) * step, g * inner : (g + 1) * inner] = kernel[g * step : (g + 1) * step]
    return dense


def _attributes(at: Site) -> dict[str, Any] | None:
    """All attributes of a Conv, in full."""
    geometry = window(at)
    if geometry is None:
        return None
    kernel, strides, dilations, pads = geometry
    return {
        "kernel_shape": kernel,
        "strides": strides,
        "dilations": dilations,
        "pads": pads,
        "group": at.attr("group", 1),
    }


def _pads(model: ir.Model, node: ir.Node) -> Outcome:
    at = Site(model, node)
    attributes = _attributes(at)
    if attributes is None or at.attr("auto_pad", "NOTSET") != "NOTSET":
        return Refused("auto_pad is not resolved")
    pads = attributes["pads"]
    if not any(pads):
        return False
    half = len(pads) // 2
    x = at.pad(at.input(), [0, 0, *pads[:half]], [0, 0, *pads[half:]])
    attributes["pads"] = [0] * len(pads)
    return at.replace(at.op("Conv", x, *node.inputs[1:], **attributes))


def _asymmetric_pads(model: ir.Model, node: ir.Node) -> Outcome:
    pads = Site(model, node).attr("pads") or []
    half = len(pads) // 2
    return False if pads[:half] == pads[half:] else _pads(model, node)


def _dilations(model: ir.Model, node: ir.Node, only_unequal: bool = False) -> Outcome:
    at = Site(model, node)
    attributes = _attributes(at)
    if attributes is None:
        return Refused("the kernel's shape is unknown")
    dilations = attributes["dilations"]
    if all(d == 1 for d in dilations) or (only_unequal and len(set(dilations)) == 1):
        return False
    kernel = at.constant(1)
    if kernel is None:
        return Refused("a computed kernel cannot be spread")
    wide = spread(kernel, dilations)
    if wide.size > MAX_DENSE_ELEMENTS:
        return Refused(f"the spread kernel would have {wide.size} elements")
    attributes.update(kernel_shape=list(wide.shape[2:]), dilations=[1] * len(dilations))
    return at.replace(at.op("Conv", at.input(), at.const(wide), *node.inputs[2:], **attributes))


def _unequal_dilations(model: ir.Model, node: ir.Node) -> Outcome:
    return _dilations(model, node, only_unequal=True)


def _group(model: ir.Model, node: ir.Node) -> Outcome:
    """All groups but the one case that every converter knows: depthwise with one filter a channel."""
    weight = Site(model, node).dims(1)
    depthwise = weight is not None and weight[1] == 1 and weight[0] == Site(model, node).attr("group", 1)
    return False if depthwise else _dense(model, node)


def _dense(model: ir.Model, node: ir.Node) -> Outcome:
    at = Site(model, node)
    attributes = _attributes(at)
    group = at.attr("group", 1)
    if group == 1:
        return False
    kernel = at.constant(1)
    if attributes is None or kernel is None:
        return Refused("a computed kernel cannot be regrouped")
    filters, inner = kernel.shape[0] // group, kernel.shape[1]
    if kernel.size * group <= MAX_DENSE_ELEMENTS:
        dense = at.const(block_diagonal(kernel, group))
        attributes["group"] = 1
        return at.replace(at.op("Conv", at.input(), dense, *node.inputs[2:], **attributes))
    if inner == 1 and filters > 1 and filters * group**2 <= MAX_DENSE_ELEMENTS:
        return _repeated_channels(at, attributes, group, filters)
    bias = at.constant(2)
    if at.has(2) and bias is None:
        return Refused("a computed bias cannot be split by group")
    if group > MAX_PARTS:
        return Refused(f"more than {MAX_PARTS} groups, and too many channels for one kernel")
    attributes["group"] = 1
    parts = []
    for g in range(group):
        x = at.slice(at.input(), 1, g * inner, (g + 1) * inner)
        rows = slice(g * filters, (g + 1) * filters)
        extra = [] if bias is None else [at.const(bias[rows])]
        parts.append(at.op("Conv", x, at.const(kernel[rows]), *extra, **attributes))
    return at.replace(at.op("Concat", *parts, axis=1))


def _repeated_channels(at: Site, attributes: dict[str, Any], group: int, filters: int) -> Outcome:
    """Depthwise with several filters a channel: each channel repeated by a 1x1 Conv, then one filter each."""
    unit = [1] * len(attributes["kernel_shape"])
    repeat = np.repeat(np.eye(group), filters, axis=0).reshape([group * filters, group, *unit])
    x = at.op("Conv", at.input(), at.const(repeat), kernel_shape=unit, strides=unit, dilations=unit,
              pads=[0] * (2 * len(unit)), group=1)  # fmt: skip
    attributes["group"] = group * filters
    return at.replace(at.op("Conv", x, *at.node.inputs[1:], **attributes))


def _strides(model: ir.Model, node: ir.Node) -> Outcome:
    at = Site(model, node)
    attributes = _attributes(at)
    if attributes is None:
        return Refused("the kernel's shape is unknown")
    strides = attributes["strides"]
    if all(s == 1 for s in strides):
        return False
    if at.attr("auto_pad", "NOTSET") != "NOTSET":
        return Refused("auto_pad is not resolved")
    attributes["strides"] = [1] * len(strides)
    y = at.op("Conv", *node.inputs, **attributes)
    for i, stride in enumerate(strides):
        if stride != 1:
            y = at.slice(y, i + 2, 0, np.iinfo(np.int64).max, stride)
    return at.replace(y)


def _bias(model: ir.Model, node: ir.Node) -> Outcome:
    """Conv carries its bias as a constant; a computed one, or one that converters drop, becomes an Add."""
    at = Site(model, node)
    if not at.has(2):
        return False
    rank = len(at.dims() or [0, 0, 0, 0])
    bias = at.constant(2)
    if bias is None:
        return Refused("a computed bias stays with its Conv")
    attributes = _attributes(at)
    if attributes is None:
        return Refused("the kernel's shape is unknown")
    y = at.op("Conv", at.input(), at.input(1), **attributes)
    return at.replace(at.op("Add", y, at.full_rank(bias, rank)))


_CONV = frozenset({"Conv"})
REWRITES = (
    Rewrite(
        "conv-dilations-unequal",
        _CONV,
        "LH",
        "unequal dilations become zeros in the kernel",
        _unequal_dilations,
    ),
    Rewrite("conv-dilations", _CONV, "LH", "dilations become zeros in the kernel", _dilations),
    Rewrite("conv-pads-asymmetric", _CONV, "LH", "asymmetric pads become a Pad", _asymmetric_pads),
    Rewrite("conv-pads", _CONV, "LH", "pads become a Pad", _pads),
    Rewrite("conv-group", _CONV, "WB", "groups become a block-diagonal kernel, or one Conv each", _group),
    Rewrite("conv-depthwise", _CONV, "WB", "depthwise too becomes a block-diagonal kernel", _dense),
    Rewrite("conv-strides", _CONV, "LH", "strides become a Slice with steps", _strides),
    Rewrite("conv-bias", _CONV, "WB", "the bias becomes an Add", _bias),
)
