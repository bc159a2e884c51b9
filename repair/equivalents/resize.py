"""Resize as constant interpolation matrices, one axis at a time, in onnxruntime's numerics."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir as ir

from .contract import Outcome, Refused, Rewrite
from .pads import gather_by_slices
from .site import Array, Dims, Site

MAX_ELEMENTS = 4_000_000
_ROUND = {
    "round_prefer_floor": lambda x: math.floor(x) if x == math.floor(x) + 0.5 else math.floor(x + 0.5),
    "round_prefer_ceil": lambda x: math.floor(x + 0.5),
    "floor": math.floor,
    "ceil": math.ceil,
}


def source_coordinate(mode: str, position: int, scale: np.float32, size: int, out: int) -> float:
    """Where an output position reads from, in float32 as onnxruntime computes it."""
    one, half, x = np.float32(1), np.float32(0.5), np.float32(position)
    if mode == "asymmetric":
        return float(x / scale)
    if mode == "align_corners":
        return 0.0 if out == 1 else float(x * np.float32(size - 1) / np.float32(out - 1))
    if mode == "pytorch_half_pixel":
        return float((x + half) / scale - half) if out > 1 else 0.0
    if mode == "tf_half_pixel_for_nn":
        return float((x + half) / scale)
    if mode == "half_pixel_symmetric":
        adjustment = np.float32(out) / (scale * np.float32(size))
        center = np.float32(size) / np.float32(2)
        return float(center * (one - adjustment) + (x + half) / scale - half)
    return float((x + half) / scale - half)


def _cubic(at: float, size: int, a: float, exclude_outside: bool) -> dict[int, float]:
    base = math.floor(at)
    t = at - base
    weights = [
        ((a * (t + 1) - 5 * a) * (t + 1) + 8 * a) * (t + 1) - 4 * a,
        ((a + 2) * t - (a + 3)) * t * t + 1,
        ((a + 2) * (1 - t) - (a + 3)) * (1 - t) * (1 - t) + 1,
        ((a * (2 - t) - 5 * a) * (2 - t) + 8 * a) * (2 - t) - 4 * a,
    ]
    if exclude_outside:
        weights = [w if 0 <= base - 1 + i < size else 0.0 for i, w in enumerate(weights)]
        total = sum(weights)
        weights = [w / total for w in weights]
    row: dict[int, float] = {}
    for i, weight in enumerate(weights):
        index = min(max(base - 1 + i, 0), size - 1)
        row[index] = row.get(index, 0.0) + weight
    return row


def matrix(at: Site, size: int, out: int, scale: np.float32) -> Array:
    """(size, out): column j holds the weights with which output j mixes the inputs."""
    mode = str(at.attr("mode", "nearest"))
    default = "half_pixel" if at.node.op_type == "Resize" else "asymmetric"
    coordinates = str(at.attr("coordinate_transformation_mode", default))
    round_mode = str(at.attr("nearest_mode", "round_prefer_floor" if at.node.op_type == "Resize" else "floor"))
    result = np.zeros((size, out))
    for j in range(out):
        x = source_coordinate(coordinates, j, scale, size, out) if scale != 1 or out != size else float(j)
        if mode == "nearest":
            result[min(max(_ROUND[round_mode](x), 0), size - 1), j] = 1
        elif mode == "cubic":
            a = float(at.attr("cubic_coeff_a", -0.75))
            for i, weight in _cubic(x, size, a, bool(at.attr("exclude_outside", 0))).items():
                result[i, j] = weight
        else:
            x = min(max(x, 0.0), size - 1.0)
            low = min(int(x), size - 1)
            result[low, j] += 1 - (x - low)
            result[min(low + 1, size - 1), j] += x - low
    return result


def _geometry(at: Site) -> list[tuple[int, int, int, np.float32]] | Refused:
    """(axis, size, out, scale) for each axis that is resized."""
    dims = at.dims()
    if dims is None:
        return Refused("the rank is unknown")
    if at.attr("antialias", 0):
        return Refused("antialias is not a fixed interpolation matrix here")
    if at.attr("coordinate_transformation_mode") == "tf_crop_and_resize":
        return Refused("tf_crop_and_resize reads a region of interest")
    if at.attr("keep_aspect_ratio_policy", "stretch") != "stretch":
        return Refused("keep_aspect_ratio_policy other than stretch")
    axes = [int(a) % len(dims) for a in at.attr("axes") or range(len(dims))]
    upsample = at.node.op_type == "Upsample"
    scales, sizes = at.constant(1 if upsample else 2), None if upsample else at.constant(3)
    found: list[tuple[int, int, int, np.float32]] = []
    if scales is not None and scales.size:
        for axis, scale in zip(axes, scales.astype(np.float32), strict=True):
            size = dims[axis]
            if scale == 1:
                continue
            if size is None:
                return Refused("Resize needs static dims on the axes that it resizes")
            found.append((axis, size, math.floor(np.float32(size) * scale), scale))
    elif sizes is not None and sizes.size:
        for axis, out in zip(axes, sizes, strict=True):
            size = dims[axis]
            if size is None and axis == 0:
                continue
            if size is None:
                return Refused("Resize needs static dims on the axes that it resizes")
            if int(out) != size:
                found.append((axis, size, int(out), np.float32(out) / np.float32(size)))
    else:
        return Refused("scales and sizes are computed")
    if any(size * out > MAX_ELEMENTS for _, size, out, _ in found):
        return Refused("the interpolation matrix would be too large")
    return found


def _matmul(model: ir.Model, node: ir.Node) -> Outcome:
    at = Site(model, node)
    geometry = _geometry(at)
    if isinstance(geometry, Refused):
        return geometry
    if not at.floating:
        return Refused("interpolation matrices are for float types")
    rank, x = len(at.dims() or []), at.input()
    for axis, size, out, scale in sorted(geometry, key=lambda g: -g[0]):
        weights = at.const(matrix(at, size, out, scale))
        x = at.swap_last(at.op("MatMul", at.swap_last(x, axis, rank), weights), axis, rank)
    return at.replace(x, dims=_resized(at, geometry))


def _resized(at: Site, geometry: list[tuple[int, int, int, np.float32]]) -> Dims:
    """Output dims: onnxruntime multiplies size and scale in float32, shape inference may not."""
    dims = at.dims() or []
    for axis, _, out, _ in geometry:
        dims[axis] = out
    return dims


def _nearest_positions(model: ir.Model, node: ir.Node, gather: bool) -> Outcome:
    at = Site(model, node)
    if at.attr("mode", "nearest") != "nearest":
        return False
    geometry = _geometry(at)
    if isinstance(geometry, Refused):
        return geometry
    x: Any = at.input()
    for axis, size, out, scale in geometry:
        positions = [int(p) for p in matrix(at, size, out, scale).argmax(axis=0)]
        if gather:
            x = at.op("Gather", x, at.ints(positions), axis=axis)
        else:
            x = gather_by_slices(at, x, axis, size, positions)
    return at.replace(x, dims=_resized(at, geometry))


def _nearest_gather(model: ir.Model, node: ir.Node) -> Outcome:
    return _nearest_positions(model, node, gather=True)


def _nearest_slices(model: ir.Model, node: ir.Node) -> Outcome:
    return _nearest_positions(model, node, gather=False)


_OPS = frozenset({"Resize", "Upsample"})
REWRITES = (
    Rewrite("resize-matmul", _OPS, "LH", "any interpolation becomes a constant matrix on each axis", _matmul),
    Rewrite("resize-nearest-gather", _OPS, "LH", "nearest becomes a Gather on each axis", _nearest_gather),
    Rewrite(
        "resize-nearest-slices",
        _OPS,
        "LH",
        "nearest becomes Slices and a Concat on each axis",
        _nearest_slices,
    ),
)

BY_NAME = {rule.name: rule for rule in REWRITES}
