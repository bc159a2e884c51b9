"""Write pooling and resizing by operators that exporters get right. Worker side, torch only.

Each function takes an ATen operator and its arguments, and gives what the operator does; where exporters are right with
what it was given, it calls the operator itself. All tensors are channels first: (N, C, *spatial).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

ATEN = torch.ops.aten
Rewrite = Callable[..., Any]


def _each(value: Any, count: int) -> list[int]:
    """Return a setting for every spatial axis; a single number holds for all of them."""
    values = [value] if isinstance(value, int) else list(value)
    return values * count if len(values) == 1 else values


def _past_the_end(size: int, kernel: int, stride: int, pad: int, dilation: int, ceil: bool) -> int:
    """Return how far behind the padded input the last window of ``ceil_mode`` ends, which must be padded.

    PyTorch's rule: one more window where the division leaves a rest, unless it would start in the right padding.
    """
    reach = dilation * (kernel - 1) + 1
    rest = size + 2 * pad - reach
    windows = (-(-rest // stride) if ceil else rest // stride) + 1
    if ceil and (windows - 1) * stride >= size + pad:
        windows -= 1
    return max((windows - 1) * stride + reach - (size + 2 * pad), 0)


def _padded(x: Any, pads: Sequence[int], behind: Sequence[int], value: float) -> Any:
    """Pad the spatial axes explicitly; ``behind`` is what the end of each gets on top."""
    amounts = [n for pad, more in zip(reversed(pads), reversed(behind), strict=True) for n in (pad, pad + more)]
    return ATEN.constant_pad_nd.default(x, amounts, value) if any(amounts) else x


def _average(operator: Any, x: Any, kernel: Any, stride: Any = (), padding: Any = 0, ceil: bool = False,
             include: bool = True, divisor: int | None = None) -> Any:  # fmt: skip
    """Average over explicit zeros, times window size over divisor: exporters drop ``divisor_override``."""
    if divisor is None:
        return operator(x, kernel, stride, padding, ceil, include, None)
    spatial = _rank(operator)
    kernel = _each(kernel, spatial)
    strides, pads = _each(stride, spatial) or kernel, _each(padding, spatial)
    rows = zip(x.shape[-spatial:], kernel, strides, pads, strict=True)
    behind = [_past_the_end(n, k, s, p, 1, ceil) for n, k, s, p in rows]
    average = operator(_padded(x, pads, behind, 0.0), kernel, strides, [0] * spatial, False, True, None)
    return average * (math.prod(kernel) / divisor)


def _maximum(operator: Any, x: Any, kernel: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1,
             ceil: bool = False) -> Any:  # fmt: skip
    """Pad explicitly by minus infinity: ONNX counts the windows of ``ceil_mode`` otherwise than PyTorch."""
    if not ceil or not x.dtype.is_floating_point:
        return operator(x, kernel, stride, padding, dilation, ceil)
    spatial = _rank(operator)
    kernel = _each(kernel, spatial)
    strides, pads, gaps = _each(stride, spatial) or kernel, _each(padding, spatial), _each(dilation, spatial)
    rows = zip(x.shape[-spatial:], kernel, strides, pads, gaps, strict=True)
    behind = [_past_the_end(n, k, s, p, d, True) for n, k, s, p, d in rows]
    return operator(_padded(x, pads, behind, -math.inf), kernel, strides, [0] * spatial, gaps, False)


def _rank(operator: Any) -> int:
    """Return the number of spatial axes of an operator that has it in its name, as ``max_pool2d`` has."""
    return int(str(operator).split("d.")[0][-1])


def _bins(size: int, count: int) -> list[tuple[int, int]]:
    """Return the windows of adaptive pooling: from floor(i*size/count) up to ceil((i+1)*size/count)."""
    return [(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]


def _adaptive_average(operator: Any, x: Any, output: Any) -> Any:
    """Average windows of different sizes by a matrix of weights along each axis: an average is separable."""
    spatial = _rank(operator)
    output = _each(output, spatial)
    if all(size % count == 0 for size, count in zip(x.shape[-spatial:], output, strict=True)):
        return operator(x, output)
    for axis, count in enumerate(output, start=-spatial):
        size = x.shape[axis]
        rows = [[1 / (b - a) if a <= i < b else 0.0 for i in range(size)] for a, b in _bins(size, count)]
        x = _along(axis, x, torch.tensor(rows, dtype=x.dtype))
    return x


def _along(axis: int, x: Any, matrix: Any) -> Any:
    """Apply a matrix (outputs, inputs) along one axis, counted from the end."""
    if axis == -1:
        return torch.matmul(x, matrix.t())
    if axis == -2:
        return torch.matmul(matrix, x)
    return torch.matmul(x.transpose(axis, -1), matrix.t()).transpose(axis, -1)


def _adaptive_maximum(operator: Any, x: Any, output: Any) -> Any:
    """Slice and take the maximum for each row and column, as windows differ in size. Without the indices."""
    spatial = _rank(operator)
    output = _each(output, spatial)
    if all(size % count == 0 for size, count in zip(x.shape[-spatial:], output, strict=True)):
        return operator(x, output)
    for axis, count in enumerate(output, start=-spatial):
        windows = [x.narrow(axis, a, b - a).amax(axis, keepdim=True) for a, b in _bins(x.shape[axis], count)]
        x = torch.cat(windows, axis)
    return x, None


def _antialiased(operator: Any, x: Any, output: Any, corners: bool, *rest: Any) -> Any:
    """Interpolate with antialiasing by a matrix of weights along height and one along width: it is separable."""
    vector = str(operator).endswith(".vec")
    factors = (rest[0] or (None, None)) if vector else ([*rest, None, None])[:2]
    cubic = "bicubic" in str(operator)
    for axis, factor in zip((-2, -1), factors, strict=True):
        size = x.shape[axis]
        count = int(output[axis]) if output is not None else int(size * factor)
        x = _along(axis, x, torch.tensor(_weights(size, count, corners, factor, cubic), dtype=x.dtype))
    return x


def _weights(size: int, count: int, corners: bool, factor: float | None, cubic: bool) -> list[list[float]]:
    """Return the weight of each input (column) in each output (row), as in PyTorch's UpSampleKernel (antialias)."""
    scale = 1 / factor if factor else size / count
    if corners:
        scale = (size - 1) / (count - 1) if count > 1 else 0.0
    stretch = max(scale, 1.0)
    reach = (2.0 if cubic else 1.0) * stretch
    rows = []
    for index in range(count):
        middle = scale * (index + 0.5)
        first, last = max(int(middle - reach + 0.5), 0), min(int(middle + reach + 0.5), size)
        row = [(_cubic if cubic else _linear)((i - middle + 0.5) / stretch) for i in range(first, last)]
        total = sum(row)
        rows.append([0.0] * first + [weight / total for weight in row] + [0.0] * (size - last))
    return rows


def _linear(x: float) -> float:
    return max(1 - abs(x), 0.0)


def _cubic(x: float, a: float = -0.5) -> float:
    x = abs(x)
    if x < 1:
        return ((a + 2) * x - (a + 3)) * x * x + 1
    return (((x - 5) * x + 8) * x - 4) * a if x < 2 else 0.0


def _nearest(operator: Any, x: Any, output: Any, *factors: Any) -> Any:
    """Choose nearest pixels by their indices: exporters write ONNX's Resize, where rounding picks other pixels.

    Whole factors stay: there ONNX and PyTorch read the same pixels.
    """
    spatial = _rank(operator)
    sizes = x.shape[-spatial:]
    scales = list(factors[0] or [None] * spatial) if str(operator).endswith(".vec") else list(factors)
    scales += [None] * (spatial - len(scales))
    if x.dtype != torch.float32 or not all(isinstance(size, int) for size in (*sizes, *(output or ()))):
        return operator(x, output, *factors)
    counts = [int(s * f) for s, f in zip(sizes, scales, strict=True)] if output is None else list(output)
    exact = "nearest_exact" in str(operator)
    rows = [_nearest_indices(*row, exact) for row in zip(sizes, counts, scales, strict=True)]
    if all(_is_whole_factor(row, size) for row, size in zip(rows, sizes, strict=True)):
        return operator(x, output, *factors)
    for axis, row in enumerate(rows, start=-spatial):
        if row != list(range(x.shape[axis])):
            x = torch.index_select(x, axis, torch.tensor(row))
    return x


def _nearest_indices(size: int, count: int, factor: float | None, exact: bool) -> list[int]:
    """Return the input pixel of each output pixel, in float32 as in PyTorch's UpSampleKernel (HelperInterpNearest)."""
    step = np.float32(1 / factor) if factor else np.float32(size) / np.float32(count)
    shift = np.float32(0.5 if exact else 0)
    return [min(int(np.floor((np.float32(i) + shift) * step)), size - 1) for i in range(count)]


def _is_whole_factor(row: Sequence[int], size: int) -> bool:
    """Do the indices repeat each pixel equally often, or take every n-th one, as a whole factor does?"""
    count = len(row)
    return max(size, count) % min(size, count) == 0 and list(row) == [i * size // count for i in range(count)]


def _folded(operator: Any, x: Any, output: Any, kernel: Any, dilation: Any, padding: Any, stride: Any) -> Any:
    """Write ``fold``, which adds up overlapping windows, as a transposed convolution with one-hot weights."""
    kernel, dilation, padding, stride = (_each(v, 2) for v in (kernel, dilation, padding, stride))
    rows = list(zip(output, kernel, dilation, padding, stride, strict=True))
    counts = [(o + 2 * p - d * (k - 1) - 1) // s + 1 for o, k, d, p, s in rows]
    more = [(o + 2 * p - d * (k - 1) - 1) % s for o, k, d, p, s in rows]
    window = math.prod(kernel)
    channels = x.shape[-2] // window
    weight = torch.eye(window, dtype=x.dtype).reshape(window, 1, *kernel).repeat(channels, 1, 1, 1)
    columns = x.reshape(-1, channels * window, *counts)
    folded = torch.nn.functional.conv_transpose2d(columns, weight, None, stride, padding, more, channels, dilation)
    return folded if x.dim() == 3 else folded[0]


REWRITES: dict[Any, Rewrite] = {
    operator: rewrite
    for rewrite, operators in (
        (_average, (ATEN.avg_pool2d.default, ATEN.avg_pool3d.default)),
        (_maximum, (ATEN.max_pool1d.default, ATEN.max_pool2d.default, ATEN.max_pool3d.default)),
        (
            _adaptive_average,
            (ATEN.adaptive_avg_pool1d.default, ATEN.adaptive_avg_pool2d.default, ATEN.adaptive_avg_pool3d.default),
        ),
        (_antialiased, (ATEN._upsample_bilinear2d_aa.vec, ATEN._upsample_bicubic2d_aa.vec)),
        (_antialiased, (ATEN._upsample_bilinear2d_aa.default, ATEN._upsample_bicubic2d_aa.default)),
        (
            _nearest,
            (
                ATEN.upsample_nearest1d.vec,
                ATEN.upsample_nearest2d.vec,
                ATEN.upsample_nearest3d.vec,
                ATEN.upsample_nearest1d.default,
                ATEN.upsample_nearest2d.default,
                ATEN.upsample_nearest3d.default,
            ),
        ),
        (
            _nearest,
            (
                ATEN._upsample_nearest_exact1d.vec,
                ATEN._upsample_nearest_exact2d.vec,
                ATEN._upsample_nearest_exact3d.vec,
                ATEN._upsample_nearest_exact1d.default,
                ATEN._upsample_nearest_exact2d.default,
                ATEN._upsample_nearest_exact3d.default,
            ),
        ),
        (_folded, (ATEN.col2im.default,)),
    )
    for operator in operators
}
"""What stands for which operators. Each is called with the operator and then its arguments."""

VALUES_ONLY: dict[Any, Rewrite] = {
    ATEN.adaptive_max_pool1d.default: _adaptive_maximum,
    ATEN.adaptive_max_pool2d.default: _adaptive_maximum,
    ATEN.adaptive_max_pool3d.default: _adaptive_maximum,
}
"""The same where only the first result is used: these give None for the indices."""
