"""AveragePool without pads, ceil_mode, dilations or count rules."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from ..rule import Outcome, Refused, Rewrite
from ..site import Array, Site, spatial
from .auto_pad import window
from .pool_windows import borders, overhang, pooled


def _counts(at: Site, begins: list[int], ends: list[int]) -> Array | Refused | None:
    """(1, 1, out...) number of cells that each window averages over; None if all count the full kernel."""
    geometry, extra = window(at), overhang(at)
    if isinstance(extra, Refused):
        return extra
    if geometry is None:
        return Refused("the kernel's shape is unknown")
    kernel, strides, dilations, pads = geometry
    include = bool(at.attr("count_include_pad", 0))
    if not any(extra) and (include or not any(pads)):
        return None
    sizes = spatial(at)
    if sizes is None:
        return Refused("window counts need static spatial dims")
    total = np.ones([1] * (len(kernel) + 2))
    for i, (n, k, s, d) in enumerate(zip(sizes, kernel, strides, dilations, strict=True)):
        begin, end = begins[i + 2], ends[i + 2]
        counted = np.zeros(n + begin + end)
        counted[begin : begin + n] = 1
        if include:
            counted[: len(counted) - extra[i]] = 1
        out = (len(counted) - ((k - 1) * d + 1)) // s + 1
        per_axis = np.array([counted[o * s : o * s + (k - 1) * d + 1 : d].sum() for o in range(out)])
        total = total * per_axis.reshape([-1 if a == i + 2 else 1 for a in range(total.ndim)])
    return total


def _average(model: ir.Model, node: ir.Node, convolve: bool) -> Outcome:
    at = Site(model, node)
    geometry, edges = window(at), borders(at)
    if isinstance(edges, Refused):
        return edges
    if geometry is None:
        return Refused("the kernel's shape is unknown")
    kernel, strides, dilations, pads = geometry
    begins, ends = edges
    dilated = any(d != 1 for d in dilations)
    if not convolve and not dilated and not any(begins) and not any(ends) and not at.attr("ceil_mode", 0):
        return False
    counts = _counts(at, begins, ends)
    if isinstance(counts, Refused):
        return counts
    area, x = int(np.prod(kernel)), at.pad(at.input(), begins, ends)
    attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": strides, "pads": [0] * len(pads)}
    if convolve or dilated:
        dims = at.dims()
        if dims is None or dims[1] is None:
            return Refused("a Conv in place of AveragePool needs static channels")
        weights = at.const(np.full([dims[1], 1, *kernel], 1 / area))
        y = at.op("Conv", x, weights, group=dims[1], dilations=dilations, **attributes)
    else:
        y = at.op("AveragePool", x, count_include_pad=1, ceil_mode=0, **attributes)
    return at.replace(y if counts is None else at.op("Mul", y, at.const(area / counts)), dims=pooled(at))


def _average_valid(model: ir.Model, node: ir.Node) -> Outcome:
    return _average(model, node, convolve=False)


def _average_conv(model: ir.Model, node: ir.Node) -> Outcome:
    return _average(model, node, convolve=True)


_AVERAGE = frozenset({"AveragePool"})
REWRITES = (
    Rewrite(
        "averagepool-valid",
        _AVERAGE,
        "LH",
        "pads, ceil_mode and counts become a Pad and a constant map",
        _average_valid,
    ),
    Rewrite("averagepool-convolution", _AVERAGE, "CG", "the average becomes a depthwise Conv", _average_conv),
)

BY_NAME = {rule.name: rule for rule in REWRITES}
