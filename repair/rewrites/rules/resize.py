"""Resize as constant interpolation matrices, one axis at a time, in onnxruntime's numerics."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from ..rule import Outcome, Refused, Rewrite
from ..site import Array, Dims, Site
from .pads import gather_by_slices

MAX_ELEMENTS = 4_000_000
_ROUND = {
    "round_prefer_floor": lambda x: math.floor(x) if x == math.floor(x) + 0.5 else math.floor(x + 0.5),
    "round_prefer_ceil": lambda x: math.floor(x + 0.5),
    "floor": math.floor,
    "ceil": math.ceil,
}


def source_coordinate(mode: str, position: int, scale: np.float32, size: int, out: int) -> float:
    """Where an output position reads from, in float32 as onnxruntime computes it."""
    unit, half, x = np.float32(1), np.float32(0.5), np.float32(position)
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
        return float(center * (unit - adjustment) + (x + half) / scale - half)
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


def _cropped(position: int, size: int, out: int, roi: tuple[np.float32, np.float32]) -> float:
    """The source coordinate of tf_crop_and_resize, in float32."""
    last, (start, end) = np.float32(size - 1), roi
    if out == 1:
        return float(np.float32(0.5) * (start + end) * last)
    return float(start * last + np.float32(position) * (end - start) * last / np.float32(out - 1))


def _antialiased(
    center: float, size: int, scale: float, cubic: float | None, exclude_outside: bool
) -> dict[int, float]:
    """A filter as wide as what one output covers; outside the image its edge counts, or nothing. center: in pixels."""
    narrow = min(scale, 1.0)
    reach = (1.0 if cubic is None else 2.0) / narrow
    row: dict[int, float] = {}
    for i in range(math.floor(center - reach + 0.5), math.floor(center + reach + 0.5)):
        if exclude_outside and not 0 <= i < size:
            continue
        distance = abs((i - center + 0.5) * narrow)
        if cubic is None:
            weight = max(1 - distance, 0.0)
        elif distance < 1:
            weight = ((cubic + 2) * distance - (cubic + 3)) * distance * distance + 1
        else:
            weight = (
                ((cubic * distance - 5 * cubic) * distance + 8 * cubic) * distance - 4 * cubic if distance < 2 else 0.0
            )
        index = min(max(i, 0), size - 1)
        row[index] = row.get(index, 0.0) + weight
    total = sum(row.values())
    return {i: w / total for i, w in row.items()}


def matrix(at: Site, size: int, out: int, scale: np.float32, roi: tuple[np.float32, np.float32] | None = None) -> Array:
    """(size, out): column j holds the weights with which output j mixes the inputs.

    roi: start and end of what tf_crop_and_resize reads, as shares of the axis; columns that read outside are zero.
    """
    mode = str(at.attr("mode", "nearest"))
    default = "half_pixel" if at.node.op_type == "Resize" else "asymmetric"
    coordinates = str(at.attr("coordinate_transformation_mode", default))
    round_mode = str(at.attr("nearest_mode", "round_prefer_floor" if at.node.op_type == "Resize" else "floor"))
    result = np.zeros((size, out))
    for j in range(out):
        if roi is not None:
            x = _cropped(j, size, out, roi)
            if not 0 <= x <= size - 1:
                continue
        else:
            x = source_coordinate(coordinates, j, scale, size, out) if scale != 1 or out != size else float(j)
        if at.attr("antialias", 0) and mode != "nearest":
            a = float(at.attr("cubic_coeff_a", -0.75)) if mode == "cubic" else None
            excluded = bool(at.attr("exclude_outside", 0))
            for i, weight in _antialiased(x + 0.5, size, float(scale), a, excluded).items():
                result[i, j] = weight
        elif mode == "nearest":
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


@dataclass(frozen=True)
class _Axis:
    """An axis that is resized, and what of it is read (None: all)."""

    axis: int
    size: int
    out: int
    scale: np.float32
    roi: tuple[np.float32, np.float32] | None = None

    def matrix(self, at: Site) -> Array:
        return matrix(at, self.size, self.out, self.scale, self.roi)


def _geometry(at: Site) -> list[_Axis] | Refused:
    """The axes that are resized."""
    dims = at.dims()
    if dims is None:
        return Refused("the rank is unknown")
    axes = [int(a) % len(dims) for a in at.attr("axes") or range(len(dims))]
    upsample = at.node.op_type == "Upsample"
    scales, sizes = at.constant(1 if upsample else 2), None if upsample else at.constant(3)
    whole = (np.float32(0), np.float32(1))
    regions: list[tuple[np.float32, np.float32]] = [whole] * len(axes)
    cropped = at.attr("coordinate_transformation_mode") == "tf_crop_and_resize"
    if cropped:
        roi = at.constant(1)
        if roi is None or roi.size != 2 * len(axes):
            return Refused("a computed region of interest")
        if at.attr("antialias", 0):
            return Refused("antialias of a region of interest")
        regions = list(zip(roi[: len(axes)].astype(np.float32), roi[len(axes) :].astype(np.float32), strict=True))
    resized: list[_Axis] = []
    if scales is not None and scales.size:
        for axis, scale, region in zip(axes, scales.astype(np.float32), regions, strict=True):
            size = dims[axis]
            if scale == 1 and region == whole:
                continue
            if size is None:
                return Refused("Resize needs static dims on the axes that it resizes")
            read = np.float32(size) * (region[1] - region[0]) if cropped else np.float32(size)
            resized.append(_Axis(axis, size, math.floor(read * scale), scale, region if cropped else None))
    elif sizes is not None and sizes.size:
        policy = at.attr("keep_aspect_ratio_policy", "stretch")
        common = _common_scale(policy, [dims[a] for a in axes], sizes)
        for axis, wanted, region in zip(axes, sizes, regions, strict=True):
            size = dims[axis]
            if size is None and axis == 0 and common is None:
                continue
            if size is None:
                return Refused("Resize needs static dims on the axes that it resizes")
            out = int(wanted) if common is None else math.floor(np.float32(size) * common + np.float32(0.5))
            scale = np.float32(out) / np.float32(size) if common is None else common
            if out != size or region != whole:
                resized.append(_Axis(axis, size, out, scale, region if cropped else None))
    else:
        return Refused("scales and sizes are computed")
    if any(a.size * a.out > MAX_ELEMENTS for a in resized):
        return Refused("the interpolation matrix would be too large")
    return resized


def _common_scale(policy: str, dims: Dims, sizes: Array) -> np.float32 | None:
    """The one scale of all axes that keep_aspect_ratio_policy asks for; None where each has its own."""
    if policy == "stretch" or None in dims:
        return None
    scales = [np.float32(wanted) / np.float32(size or 1) for wanted, size in zip(sizes, dims, strict=True)]
    return min(scales) if policy == "not_larger" else max(scales)


def _matmul(model: ir.Model, node: ir.Node) -> Outcome:
    at = Site(model, node)
    geometry = _geometry(at)
    if isinstance(geometry, Refused):
        return geometry
    if not at.floating:
        return Refused("interpolation matrices are for float types")
    rank, x = len(at.dims() or []), at.input()
    outside = np.zeros([1] * rank, dtype=bool)
    for a in sorted(geometry, key=lambda g: -g.axis):
        weights = a.matrix(at)
        x = at.swap_last(at.op("MatMul", at.swap_last(x, a.axis, rank), at.const(weights)), a.axis, rank)
        outside = outside | ~weights.any(axis=0).reshape([-1 if i == a.axis else 1 for i in range(rank)])
    if outside.any():
        x = at.op("Add", x, at.const(outside * at.attr("extrapolation_value", 0.0)))
    return at.replace(x, dims=_resized(at, geometry))


def _resized(at: Site, geometry: list[_Axis]) -> Dims:
    """Output dims: onnxruntime multiplies size and scale in float32, shape inference may not."""
    dims = at.dims() or []
    for a in geometry:
        dims[a.axis] = a.out
    return dims


def _nearest_positions(model: ir.Model, node: ir.Node, gather: bool) -> Outcome:
    at = Site(model, node)
    if at.attr("mode", "nearest") != "nearest":
        return False
    geometry = _geometry(at)
    if isinstance(geometry, Refused):
        return geometry
    x: Any = at.input()
    for a in geometry:
        weights = a.matrix(at)
        if not weights.any(axis=0).all():
            return Refused("positions outside the image")
        positions = [int(p) for p in weights.argmax(axis=0)]
        if gather:
            x = at.op("Gather", x, at.ints(positions), axis=a.axis)
        else:
            x = gather_by_slices(at, x, a.axis, a.size, positions)
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
