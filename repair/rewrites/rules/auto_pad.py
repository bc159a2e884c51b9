"""auto_pad as explicit pads, and the window geometry that all windowed operators share."""

from __future__ import annotations

import onnx_ir as ir

from ..rule import Outcome, Refused, Rewrite
from ..site import Site, spatial

WINDOWED = frozenset({"Conv", "ConvTranspose", "MaxPool", "AveragePool", "LpPool"})


def kernel_of(at: Site) -> list[int] | None:
    """Kernel extent per spatial axis, from the attribute or the weight's shape."""
    kernel = at.attr("kernel_shape")
    if kernel:
        return [int(k) for k in kernel]
    weight = at.dims(1) if at.has(1) else None
    if weight is None or None in weight:
        return None
    return [d for d in weight[2:] if d is not None]


def window(at: Site) -> tuple[list[int], list[int], list[int], list[int]] | None:
    """(kernel, strides, dilations, pads) in full; pads as ONNX lays them: all begins, then all ends."""
    kernel = kernel_of(at)
    if kernel is None:
        return None
    rank = len(kernel)
    return (
        kernel,
        at.attr("strides") or [1] * rank,
        at.attr("dilations") or [1] * rank,
        at.attr("pads") or [0] * (2 * rank),
    )


def _auto_pad(model: ir.Model, node: ir.Node) -> Outcome:
    at = Site(model, node)
    mode = at.attr("auto_pad", "NOTSET")
    if mode in ("NOTSET", ""):
        return at.retain(auto_pad=None) if "auto_pad" in node.attributes else False
    geometry = window(at)
    if geometry is None:
        return Refused("the kernel's shape is unknown")
    kernel, strides, dilations, _ = geometry
    transposed = node.op_type == "ConvTranspose"
    if mode == "VALID":
        if at.attr("ceil_mode", 0):
            return Refused("auto_pad VALID with ceil_mode is read differently by different runtimes")
        if transposed and at.attr("output_shape"):
            return Refused("auto_pad VALID beside output_shape contradicts it")
        return at.retain(auto_pad=None, pads=[0] * (2 * len(kernel)))
    if transposed and at.attr("output_shape"):
        return False
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    if transposed:
        extra = at.attr("output_padding") or [0] * len(kernel)
        totals = [e - s + o for e, s, o in zip(reach, strides, extra, strict=True)]
        if min(totals) < 0:
            return Refused("a kernel smaller than its stride leaves auto_pad nothing to cut")
    elif all(s == 1 for s in strides):
        totals = [e - 1 for e in reach]
    else:
        sizes = spatial(at)
        if sizes is None:
            return Refused("auto_pad with a stride needs static spatial dims")
        totals = [max((-(-n // s) - 1) * s + e - n, 0) for n, s, e in zip(sizes, strides, reach, strict=True)]
    small, large = [t // 2 for t in totals], [t - t // 2 for t in totals]
    upper = mode == "SAME_UPPER"
    pads = [*small, *large] if upper else [*large, *small]
    return at.retain(auto_pad=None, pads=pads, ceil_mode=None)


REWRITES = (Rewrite("auto-pad", WINDOWED, "LH", "auto_pad becomes explicit pads", _auto_pad),)
