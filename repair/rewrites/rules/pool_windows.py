"""Where pooling windows lie: ceil_mode's overhang, borders and output dims."""

from __future__ import annotations

import onnx_ir as ir

from ..rule import Refused
from ..site import Dims, Site, spatial
from .auto_pad import window


def overhang(at: Site) -> list[int] | Refused:
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


def pooled(at: Site) -> Dims | None:
    """Output dims as the runtimes have them; before opset 22 shape inference may count a window more."""
    geometry, extra, dims, sizes = window(at), overhang(at), at.dims(), spatial(at)
    if geometry is None or isinstance(extra, Refused) or dims is None or sizes is None:
        return None
    kernel, strides, dilations, pads = geometry
    for i, (n, k, s, d) in enumerate(zip(sizes, kernel, strides, dilations, strict=True)):
        dims[i + 2] = (n + pads[i] + pads[i + len(kernel)] + extra[i] - (k - 1) * d - 1) // s + 1
    return dims


def borders(at: Site) -> tuple[list[int], list[int]] | Refused:
    """Begin and end padding over all axes, ceil_mode's overhang included."""
    geometry, extra = window(at), overhang(at)
    if isinstance(extra, Refused):
        return extra
    if geometry is None or at.attr("auto_pad", "NOTSET") != "NOTSET":
        return Refused("auto_pad is not resolved")
    pads, half = geometry[3], len(extra)
    return [0, 0, *pads[:half]], [0, 0, *(p + e for p, e in zip(pads[half:], extra, strict=True))]


def single_output(node: ir.Node) -> bool:
    return len([v for v in node.outputs if v.uses() or v.is_graph_output()]) <= 1 and not (
        len(node.outputs) > 1 and (node.outputs[1].uses() or node.outputs[1].is_graph_output())
    )
