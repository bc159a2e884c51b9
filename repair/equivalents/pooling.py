"""Pooling without pads, ceil_mode, dilations or count rules; global and Lp pooling as reductions."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from .contract import Outcome, Refused, Rewrite
from .pads import fill_border, window
from .site import Dims, Site, spatial

MAX_TAPS = 32


def _overhang(at: Site) -> list[int] | Refused:
    """Extra end padding per axis that makes the floor rule give what ceil_mode gives (spec of opset 22).

    A window that would start in the end padding is not taken.
    """
    geometry = window(at)
    if geometry is None:
        return Refused("the kernel's shape is unknown")
    kernel, strides, dilations, pads = geometry
    if not at.attr("ceil_mode", 0):
        return [0] * len(kernel)
    sizes = spatial(at)
    if sizes is None:
        return Refused("ceil_mode needs static spatial dims")
    extra = []
    for i, (n, k, s, d) in enumerate(zip(sizes, kernel, strides, dilations, strict=True)):
        reach, begin, end = (k - 1) * d + 1, pads[i], pads[i + len(kernel)]
        count = -(-(n + begin + end - reach) // s) + 1
        if (count - 1) * s >= n + begin:
            count -= 1
        extra.append(max((count - 1) * s + reach - (n + begin + end), 0))
    return extra


def _pooled(at: Site) -> Dims | None:
    """Output dims as the runtimes have them; shape inference before opset 22 counts a window more under ceil_mode."""
    geometry, extra, dims, sizes = window(at), _overhang(at), at.dims(), spatial(at)
    if geometry is None or isinstance(extra, Refused) or dims is None or sizes is None:
        return None
    kernel, strides, dilations, pads = geometry
    for i, (n, k, s, d) in enumerate(zip(sizes, kernel, strides, dilations, strict=True)):
        dims[i + 2] = (n + pads[i] + pads[i + len(kernel)] + extra[i] - (k - 1) * d - 1) // s + 1
    return dims


def _borders(at: Site) -> tuple[list[int], list[int]] | Refused:
    """Begin and end padding over all axes, ceil_mode's overhang included."""
    geometry, extra = window(at), _overhang(at)
    if isinstance(extra, Refused):
        return extra
    if geometry is None or at.attr("auto_pad", "NOTSET") != "NOTSET":
        return Refused("auto_pad is not resolved")
    pads, half = geometry[3], len(extra)
    return [0, 0, *pads[:half]], [0, 0, *(p + e for p, e in zip(pads[half:], extra, strict=True))]


def _single_output(node: ir.Node) -> bool:
    return len([v for v in node.outputs if v.uses() or v.is_graph_output()]) <= 1 and not (
        len(node.outputs) > 1 and (node.outputs[1].uses() or node.outputs[1].is_graph_output())
    )


def _pool_ceil(model: ir.Model, node: ir.Node) -> Outcome:
    at = Site(model, node)
    if not at.attr("ceil_mode", 0):
        return False
    if node.op_type == "AveragePool":
        return False
    geometry, extra = window(at), _overhang(at)
    if isinstance(extra, Refused) or geometry is None:
        return extra if isinstance(extra, Refused) else False
    pads, half = geometry[3], len(extra)
    ends = [p + e for p, e in zip(pads[half:], extra, strict=True)]
    if any(e >= k for e, k in zip(ends, geometry[0], strict=True)) and any(extra):
        return Refused("the overhang would make a pad as large as the kernel")
    out = _pooled(at)
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
    geometry, borders = window(at), _borders(at)
    if isinstance(borders, Refused):
        return borders
    begins, ends = borders
    if geometry is None or (not any(begins) and not any(ends) and not at.attr("ceil_mode", 0)):
        return False
    if not at.floating:
        return Refused("only float types have a lowest number that padding can use")
    if not _single_output(node):
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
    return at.replace(at.op("MaxPool", bordered, **attributes), dims=_pooled(at))


def _max_of_slices(model: ir.Model, node: ir.Node, only_dilated: bool = True) -> Outcome:
    """Max over shifted slices, one axis after the other, then every stride-th by a MaxPool of kernel 1."""
    at = Site(model, node)
    geometry, borders, sizes = window(at), _borders(at), spatial(at)
    if isinstance(borders, Refused):
        return borders
    if geometry is None or sizes is None:
        return Refused("slices for every tap need static spatial dims")
    kernel, strides, dilations, pads = geometry
    if (only_dilated and all(d == 1 for d in dilations)) or all(k == 1 for k in kernel):
        return False
    if not at.floating:
        return Refused("only float types have a lowest number that padding can use")
    if not _single_output(node):
        return Refused("the Indices output is not computed by Max")
    if sum(kernel) > MAX_TAPS:
        return Refused(f"more than {MAX_TAPS} taps")
    begins, ends = borders
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
    return at.replace(x, dims=_pooled(at))


def _max_all_slices(model: ir.Model, node: ir.Node) -> Outcome:
    return _max_of_slices(model, node, only_dilated=False)


def _counts(at: Site, begins: list[int], ends: list[int]) -> np.ndarray[Any, Any] | Refused | None:
    """(1, 1, out...) number of cells that each window averages over; None if all count the full kernel."""
    geometry, extra = window(at), _overhang(at)
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
    geometry, borders = window(at), _borders(at)
    if isinstance(borders, Refused):
        return borders
    if geometry is None:
        return Refused("the kernel's shape is unknown")
    kernel, strides, dilations, pads = geometry
    begins, ends = borders
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
    return at.replace(y if counts is None else at.op("Mul", y, at.const(area / counts)), dims=_pooled(at))


def _average_valid(model: ir.Model, node: ir.Node) -> Outcome:
    return _average(model, node, convolve=False)


def _average_conv(model: ir.Model, node: ir.Node) -> Outcome:
    return _average(model, node, convolve=True)


_GLOBAL = {"GlobalAveragePool": "ReduceMean", "GlobalMaxPool": "ReduceMax"}


def power_root(at: Site, total: ir.Value, p: float, rank: int) -> ir.Value:
    """total ** (1/p)."""
    if p == 1:
        return total
    return at.op("Sqrt", total) if p == 2 else at.op("Pow", total, at.scalar(1 / p, rank))


def absolute_power(at: Site, p: float, rank: int) -> ir.Value:
    """|x| ** p from Mul, Max and Pow alone."""
    x = at.input()
    if p == 2:
        return at.op("Mul", x, x)
    size = at.op("Max", x, at.op("Mul", x, at.scalar(-1, rank)))
    return size if p == 1 else at.op("Pow", size, at.scalar(p, rank))


def _global(model: ir.Model, node: ir.Node) -> Outcome:
    at = Site(model, node)
    dims = at.dims()
    if dims is None:
        return Refused("the rank is unknown")
    axes = list(range(2, len(dims)))
    if node.op_type == "GlobalLpPool":
        p = float(at.attr("p", 2))
        total = at.reduce("ReduceSum", absolute_power(at, p, len(dims)), axes)
        return at.replace(power_root(at, total, p, len(dims)))
    return at.replace(at.reduce(_GLOBAL[node.op_type], at.input(), axes))


def _lp(model: ir.Model, node: ir.Node) -> Outcome:
    """LpPool as the root of the window sums of |x|**p, the sums by a depthwise Conv of ones."""
    at = Site(model, node)
    geometry, borders, dims = window(at), _borders(at), at.dims()
    if isinstance(borders, Refused):
        return borders
    if geometry is None or dims is None or dims[1] is None:
        return Refused("LpPool needs static channels")
    kernel, strides, dilations, pads = geometry
    p = float(at.attr("p", 2))
    x = at.pad(absolute_power(at, p, len(dims)), *borders)
    ones = at.const(np.ones([dims[1], 1, *kernel]))
    total = at.op(
        "Conv",
        x,
        ones,
        group=dims[1],
        kernel_shape=kernel,
        strides=strides,
        dilations=dilations,
        pads=[0] * len(pads),
    )
    return at.replace(power_root(at, total, p, len(dims)))


_MAX, _AVERAGE = frozenset({"MaxPool"}), frozenset({"AveragePool"})
REWRITES = (
    Rewrite("pool-ceil", frozenset({"MaxPool", "LpPool"}), "LH", "ceil_mode becomes end padding", _pool_ceil),
    Rewrite(
        "maxpool-dilations", _MAX, "LH", "dilated windows become Max over shifted slices", _max_of_slices
    ),
    Rewrite(
        "maxpool-pads-map",
        _MAX,
        "LH",
        "pads become zero padding plus a map of the lowest number",
        _max_pads_map,
    ),
    Rewrite("maxpool-pads-value", _MAX, "LH", "pads become a Pad with the lowest number", _max_pads),
    Rewrite("maxpool-slices", _MAX, "CG", "every window becomes Max over shifted slices", _max_all_slices),
    Rewrite(
        "averagepool-valid",
        _AVERAGE,
        "LH",
        "pads, ceil_mode and counts become a Pad and a constant map",
        _average_valid,
    ),
    Rewrite("averagepool-convolution", _AVERAGE, "CG", "the average becomes a depthwise Conv", _average_conv),
    Rewrite("lppool", frozenset({"LpPool"}), "CG", "LpPool becomes Pow, Conv and root", _lp),
    Rewrite(
        "global-pool",
        frozenset({*_GLOBAL, "GlobalLpPool"}),
        "CG",
        "global pooling becomes a reduction",
        _global,
    ),
)

BY_NAME = {rule.name: rule for rule in REWRITES}
