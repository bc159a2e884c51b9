"""ConvTranspose reduced to its plain form (no pads, groups, dilations, output_shape), or to a Conv."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from ..rule import Outcome, Refused, Rewrite
from ..site import Array, Site, spatial
from .auto_pad import window
from .convolution import MAX_DENSE_ELEMENTS, spread


def _dense(kernel: Array, group: int) -> Array:
    """A grouped ConvTranspose kernel (C, M/group, ...) as a dense one (C, M, ...)."""
    channels, inner = kernel.shape[:2]
    step = channels // group
    dense = np.zeros((channels, inner * group, *kernel.shape[2:]), dtype=kernel.dtype)
    for g in range(group):
        dense[g * step : (g + 1) * step, g * inner : (g + 1) * inner] = kernel[g * step : (g + 1) * step]
    return dense


def _plain_kernel(at: Site, strides: list[int], dilations: list[int]) -> Array | Refused:
    kernel = at.constant(1)
    if kernel is None:
        return Refused("a computed kernel cannot be rewritten")
    group = at.attr("group", 1)
    if kernel.size * group * int(np.prod(dilations)) > MAX_DENSE_ELEMENTS:
        return Refused("the dense kernel would be too large")
    dense = spread(_dense(kernel, group), dilations)
    # Some frameworks size their output by max(kernel, stride): zero taps make the two agree.
    grow = [(0, max(s - k, 0)) for k, s in zip(dense.shape[2:], strides, strict=True)]
    return np.pad(dense, [(0, 0), (0, 0), *grow])


def _crop(at: Site, reach: list[int], strides: list[int], pads: list[int]) -> tuple[list[int], list[int]] | Refused:
    """What to cut from each side of the full output (in-1)*stride+reach; a negative end: zeros to add."""
    rank = len(reach)
    extra = at.attr("output_padding") or [0] * rank
    shape = at.attr("output_shape")
    mode = at.attr("auto_pad", "NOTSET")
    if not shape:
        if mode not in ("NOTSET", "VALID"):
            return Refused("auto_pad is not resolved")
        return pads[:rank], [e - o for e, o in zip(pads[rank:], extra, strict=True)]
    sizes = spatial(at)
    if sizes is None:
        return Refused("output_shape needs static spatial dims")
    shape = shape[-rank:]
    begins, ends = [], []
    for n, s, o, r, out in zip(sizes, strides, extra, reach, shape, strict=True):
        total = (n - 1) * s + o + r - out
        if total < 0:
            return Refused("output_shape is larger than what the kernel reaches")
        begin = total // 2 if mode == "SAME_UPPER" else total - total // 2
        begins.append(begin)
        ends.append(total - begin - o)
    return begins, ends


def _output_sizes(at: Site, begins: list[int], ends: list[int], reach: list[int], strides: list[int]) -> list[int]:
    sizes = spatial(at)
    if sizes is None:
        return []
    return [(n - 1) * s + r - b - e for n, s, r, b, e in zip(sizes, strides, reach, begins, ends, strict=True)]


def _plain(model: ir.Model, node: ir.Node) -> Outcome:
    at = Site(model, node)
    geometry = window(at)
    if geometry is None:
        return Refused("the kernel's shape is unknown")
    kernel, strides, dilations, pads = geometry
    wanted = at.attr("output_shape") or any(at.attr("output_padding") or [0])
    small = any(k < s for k, s in zip(kernel, strides, strict=True))
    if not any(pads) and not wanted and at.attr("group", 1) == 1 and set(dilations) == {1} and not small:
        return False
    weights = _plain_kernel(at, strides, dilations)
    if isinstance(weights, Refused):
        return weights
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    cut = _crop(at, reach, strides, pads)
    if isinstance(cut, Refused):
        return cut
    begins, ends = cut
    grown = [w - r for w, r in zip(weights.shape[2:], reach, strict=True)]
    attributes: dict[str, Any] = {
        "kernel_shape": list(weights.shape[2:]),
        "strides": strides,
        "dilations": [1] * len(kernel),
        "pads": [0] * len(pads),
        "group": 1,
    }
    lacking = [max(-(e + g), 0) for e, g in zip(ends, grown, strict=True)]
    bias = list(node.inputs[2:])
    if any(lacking) and at.has(2) and at.constant(2) is None:
        return Refused("output_padding beyond the kernel with a computed bias")
    late = at.constant(2) if any(lacking) and at.has(2) else None
    y = at.op("ConvTranspose", at.input(), at.const(weights), *([] if any(lacking) else bias), **attributes)
    y = at.pad(y, [0] * (len(kernel) + 2), [0, 0, *lacking])
    sizes = _output_sizes(at, begins, ends, reach, strides)
    for i, (begin, end, grow, lack) in enumerate(zip(begins, ends, grown, lacking, strict=True)):
        back = end + grow + lack
        if begin or back:
            stop = begin + sizes[i] if sizes else (-back if back else int(np.iinfo(np.int64).max))
            y = at.slice(y, i + 2, begin, stop)
    if late is not None:
        y = at.op("Add", y, at.full_rank(late, len(kernel) + 2))
    return at.replace(y)


def _as_convolution(model: ir.Model, node: ir.Node) -> Outcome:
    """Zeros between the inputs, then a Conv with the kernel mirrored and its channels exchanged."""
    at = Site(model, node)
    geometry, sizes, dims = window(at), spatial(at), at.dims()
    if geometry is None or sizes is None or dims is None or dims[1] is None:
        return Refused("a Conv in place of ConvTranspose needs static channels and spatial dims")
    kernel, strides, dilations, pads = geometry
    source = at.constant(1)
    if source is None:
        return Refused("a computed kernel cannot be mirrored")
    weights = spread(_dense(source, at.attr("group", 1)), dilations)
    if weights.size > MAX_DENSE_ELEMENTS:
        return Refused("the dense kernel would be too large")
    reach = list(weights.shape[2:])
    cut = _crop(at, reach, strides, pads)
    if isinstance(cut, Refused):
        return cut
    begins, ends = cut
    x, lead = at.input(), [dims[0], dims[1]]
    shape: list[int] = list(sizes)
    for i, stride in enumerate(strides):
        if stride == 1:
            continue
        # One axis at a time: (..., n, rest) -> (..., n, 1, rest), pad the 1 to stride, join, drop the tail.
        n, rest = shape[i], int(np.prod(shape[i + 1 :], dtype=np.int64))
        before = int(np.prod(shape[:i], dtype=np.int64)) * dims[1]
        x = at.reshape(x, [lead[0], before * n, 1, rest])
        x = at.pad(x, [0, 0, 0, 0], [0, 0, stride - 1, 0])
        shape[i] = n * stride
        x = at.reshape(x, [*lead, *shape])
        x = at.slice(x, i + 2, 0, (n - 1) * stride + 1)
        shape[i] = (n - 1) * stride + 1
    first = [r - 1 - b for r, b in zip(reach, begins, strict=True)]
    last = [r - 1 - e for r, e in zip(reach, ends, strict=True)]
    x = at.pad(x, [0, 0, *(max(p, 0) for p in first)], [0, 0, *(max(p, 0) for p in last)])
    for i, (begin, end) in enumerate(zip(first, last, strict=True)):
        if begin < 0 or end < 0:
            size = shape[i] + max(begin, 0) + max(end, 0)
            x = at.slice(x, i + 2, max(-begin, 0), size - max(-end, 0))
    mirrored = np.flip(weights, axis=tuple(range(2, weights.ndim))).swapaxes(0, 1)
    ones = [1] * len(kernel)
    return at.replace(
        at.op(
            "Conv",
            x,
            at.const(mirrored),
            *node.inputs[2:],
            kernel_shape=reach,
            strides=ones,
            dilations=ones,
            pads=[0] * len(pads),
            group=1,
        )
    )


_OPS = frozenset({"ConvTranspose"})
REWRITES = (
    Rewrite(
        "convtranspose-plain",
        _OPS,
        "LH",
        "pads, output_shape, output_padding, groups, dilations become kernel zeros and a Slice",
        _plain,
    ),
    Rewrite("convtranspose-as-convolution", _OPS, "CG", "zeros between the inputs, then a Conv", _as_convolution),
)
