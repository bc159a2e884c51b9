"""MaxPool without pads, ceil_mode or dilations."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from ..rule import Outcome, Refused, Rewrite
from ..site import Site, spatial
from .auto_pad import window
from .pads import fill_border
from .pool_windows import borders, overhang, pooled, single_output

MAX_TAPS = 32


def _pool_ceil(model: ir.Model, node: ir.Node) -> Outcome:
    at = Site(model, node)
    if not at.attr("ceil_mode", 0):
        return False
    if node.op_type == "AveragePool":
        return False
    geometry, extra = window(at), overhang(at)
    if isinstance(extra, Refused) or geometry is None:
        return extra if isinstance(extra, Refused) else False
    pads, half = geometry[3], len(extra)
    ends = [p + e for p, e in zip(pads[half:], extra, strict=True)]
    if any(e >= k for e, k in zip(ends, geometry[0], strict=True)) and any(extra):
        return Refused("the overhang would make a pad as large as the kernel")
    out = pooled(at)
    if out is not None:
        at.correct(out)
    return at.retain(ceil_mode=None, pads=[*pads[:half], *ends])


def _max_pads(model: ir.Model, node: ir.Node) -> Outcome:
    return _max_bordered(model, node, as_map=False)


def _max_pads_map(model: ir.Model, node: ir.Node) -> Outcome:
    return _max_bordered(model, node, as_map=True)


def _max_bordered(model: ir.Model, node: ir.Node, as_map: bool) -> Outcome:
    """Border of the lowest finite number, then MaxPool without pads."""
    at = Site(model, node)
    geometry, edges = window(at), borders(at)
    if isinstance(edges, Refused):
        return edges
    begins, ends = edges
    if geometry is None or (not any(begins) and not any(ends) and not at.attr("ceil_mode", 0)):
        return False
    if not at.floating:
        return Refused("only float types have a lowest number that padding can use")
    if not single_output(node):
        return Refused("the Indices output counts in the unpadded tensor")
    kernel, strides, dilations, pads = geometry
    lowest = float(np.finfo(at.dtype).min)
    if as_map:
        bordered = fill_border(at, at.input(), at.dims() or [], begins, ends, lowest)
        if bordered is None:
            return Refused("a border map needs static spatial dims")
    else:
        bordered = at.op("Pad", at.input(), at.ints([*begins, *ends]), at.const(lowest), mode="constant")
    attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": strides, "pads": [0] * len(pads)}
    if any(d != 1 for d in dilations):
        attributes["dilations"] = dilations
    return at.replace(at.op("MaxPool", bordered, **attributes), dims=pooled(at))


def _max_of_slices(model: ir.Model, node: ir.Node, only_dilated: bool = True) -> Outcome:
    """Max over shifted slices, one axis after the other, then every stride-th by a MaxPool of kernel 1."""
    at = Site(model, node)
    geometry, edges, sizes = window(at), borders(at), spatial(at)
    if isinstance(edges, Refused):
        return edges
    if geometry is None or sizes is None:
        return Refused("slices for every tap need static spatial dims")
    kernel, strides, dilations, pads = geometry
    if (only_dilated and all(d == 1 for d in dilations)) or all(k == 1 for k in kernel):
        return False
    if not at.floating:
        return Refused("only float types have a lowest number that padding can use")
    if not single_output(node):
        return Refused("the Indices output is not computed by Max")
    if sum(kernel) > MAX_TAPS:
        return Refused(f"more than {MAX_TAPS} taps")
    begins, ends = edges
    x: ir.Value | None = at.input()
    if any(begins) or any(ends):
        x = fill_border(at, at.input(), at.dims() or [], begins, ends, float(np.finfo(at.dtype).min))
    if x is None:
        return Refused("a border map needs static spatial dims")
    for i, (k, d) in enumerate(zip(kernel, dilations, strict=True)):
        length = sizes[i] + begins[i + 2] + ends[i + 2] - (k - 1) * d
        taps = [at.slice(x, i + 2, t * d, t * d + length) for t in range(k)] if k > 1 else [x]
        x = taps[0]
        for tap in taps[1:]:
            x = at.op("Max", x, tap)
    if any(s != 1 for s in strides):
        x = at.op("MaxPool", x, kernel_shape=[1] * len(kernel), strides=strides, pads=[0] * len(pads))
    return at.replace(x, dims=pooled(at))


def _max_all_slices(model: ir.Model, node: ir.Node) -> Outcome:
    return _max_of_slices(model, node, only_dilated=False)


_MAX = frozenset({"MaxPool"})
REWRITES = (
    Rewrite("pool-ceil", frozenset({"MaxPool", "LpPool"}), "LH", "ceil_mode becomes end padding", _pool_ceil),
    Rewrite("maxpool-dilations", _MAX, "LH", "dilated windows become Max over shifted slices", _max_of_slices),
    Rewrite(
        "maxpool-pads-map",
        _MAX,
        "LH",
        "pads become zero padding plus a map of the lowest number",
        _max_pads_map,
    ),
    Rewrite("maxpool-pads-value", _MAX, "LH", "pads become a Pad with the lowest number", _max_pads),
    Rewrite("maxpool-slices", _MAX, "CG", "every window becomes Max over shifted slices", _max_all_slices),
)
