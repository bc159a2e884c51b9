"""GridSample of images as one product with weights made of the grid.

Weights of a point: max(0, 1 - |y - k|) over the rows times the same over the columns. That is bilinear interpolation
between the four pixels around the point with zeros outside the image, and nearest where the point is rounded first.

Equations: GridSample-16 and GridSample-20 of the ONNX operator specification. X is [N, C, H, W], the grid
[N, Ho, Wo, 2] holds (x, y) from -1 to 1. With `align_corners` these are the centres of the outermost pixels,
x = (g + 1) / 2 (W - 1), else their edges, x = ((g + 1) W - 1) / 2. Padding `border` clips the point to the image;
nearest rounds half to even.

Refused: cubic, `reflection`, volumes, images that may hold infinities (0 * inf is NaN), and more than MAX_ELEMENTS
weights for a sample, H W Ho Wo: 44 x 44 pixels from 44 x 44 at most.
"""

from __future__ import annotations

import onnx_ir as ir

from ..arithmetic import Terms
from ..rule import Outcome, Refused, Rewrite
from ..site import Site
from .gathering import unsafe
from .selection import MAX_ELEMENTS, marks


def _grid_sample(model: ir.Model, node: ir.Node) -> Outcome:
    at = Site(model, node)
    dims, grid = at.dims(0), at.dims(1)
    mode, border = at.attr("mode", "bilinear"), at.attr("padding_mode", "zeros")
    if mode not in ("bilinear", "linear", "nearest") or border not in ("zeros", "border"):
        return Refused(f"mode {mode} with padding {border}")
    if dims is None or grid is None or len(dims) != 4 or None in dims[1:] or None in grid[1:] or dims[0] != grid[0]:
        return Refused("volumes, shapes that are not static, or another batch of points than of images")
    if at.dtype.name not in ("float32", "float64") or at.input(1).dtype != at.input(0).dtype:
        return Refused(f"pixels of {at.dtype.name}, or points of another type")
    batch, channels, height, width = dims[0], *(d or 0 for d in dims[1:])
    rows, columns = (d or 0 for d in grid[1:3])
    points = rows * columns
    if height * width * points > MAX_ELEMENTS:
        return Refused("the weights would be too large")
    refused = unsafe(at.input())
    if refused:
        return refused
    t = Terms(at)
    t.rank = 3
    flat = at.op("Transpose", at.reshape(at.input(1), [batch, points, 2]), perm=[0, 2, 1])
    weights = []
    for place, size in ((1, height), (0, width)):
        x = t.add(at.slice(flat, 1, place, place + 1), 1.0)
        x = t.mul(x, (size - 1) / 2) if at.attr("align_corners", 0) else t.mul(t.add(t.mul(x, size), -1.0), 0.5)
        if mode == "nearest":
            x = t.unary("Round", x)
        if border == "border":
            x = t.high(t.low(x, size - 1), 0.0)
        weights.append(marks(t, x, size, 3, 1))  # [N, size, points]
    spread = at.op(
        "Mul",
        at.reshape(weights[0], [batch, height, 1, points]),
        at.reshape(weights[1], [batch, 1, width, points]),
    )
    image = at.reshape(at.input(), [batch, channels, height * width])
    y = at.op("MatMul", image, at.reshape(spread, [batch, height * width, points]))
    return at.replace(at.reshape(y, [batch, channels, rows, columns]))


REWRITES = (
    Rewrite("grid-sample", frozenset({"GridSample"}), "CG", "becomes a product with weights of the grid", _grid_sample),
)
