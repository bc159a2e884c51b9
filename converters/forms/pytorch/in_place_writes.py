"""What PyTorch leaves where it makes a program functional or decomposes it, for exporters that know no such operators.

Worker side, torch only. Values to ``torch_forms``: each function takes an ATen operator and its arguments, and gives
what the operator does; where it cannot say it otherwise, it calls the operator itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch

ATEN = torch.ops.aten
Rewrite = Callable[..., Any]
END = 2**62
"""An end that means "to the end": sizes are below, what exporters write for it is above."""


def _slice_written(operator: Any, x: Any, values: Any, dim: int = 0, start: int | None = None,
                   end: int | None = None, step: int = 1) -> Any:  # fmt: skip
    size = x.shape[dim]
    if start in (None, 0) and step == 1 and (end is None or end > END):
        return values.expand_as(x)
    if not isinstance(size, int):
        return operator(x, values, dim, start, end, step)
    return _spliced(x, values, dim, range(*slice(start, None if end is None else min(end, size), step).indices(size)))


def _row_written(operator: Any, x: Any, values: Any, dim: int, index: int) -> Any:
    size = x.shape[dim]
    if not isinstance(size, int):
        return operator(x, values, dim, index)
    return _spliced(x, values.unsqueeze(dim), dim, range(index % size, index % size + 1))


def _spliced(x: Any, values: Any, dim: int, places: range) -> Any:
    """Put ``values`` at those places of an axis of ``x``: concatenate runs of both, as every converter knows how to."""
    parts, used = [], 0
    for written, run in itertools.groupby(range(x.shape[dim]), places.__contains__):
        numbers = list(run)
        parts.append((values if written else x).narrow(dim, used if written else numbers[0], len(numbers)))
        used += written * len(numbers)
    return torch.cat(parts, dim)


def _copied(_: Any, x: Any, values: Any, non_blocking: bool = False) -> Any:
    return values.to(x.dtype).expand_as(x)


def _filled(_: Any, x: Any, value: Any) -> Any:
    return torch.zeros_like(x) + value


def _picked(operator: Any, x: Any, indices: Any) -> Any:
    """Make all indices positive: the tracing exporter flattens several into one, and goes wrong on negative ones."""
    if any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in indices):
        return operator(x, indices)
    return operator(x, [i if i is None else torch.where(i < 0, i + x.shape[a], i) for a, i in enumerate(indices)])


def _cast(operator: Any, x: Any, **settings: Any) -> Any:
    return operator(x, **settings) if settings.get("dtype") is None else x.to(settings["dtype"])


def _viewed(_: Any, x: Any, size: Any) -> Any:
    return x.reshape(size)


def _transposed(_: Any, x: Any) -> Any:
    return x.transpose(-2, -1)


def _normalized(_: Any, x: Any, weight: Any, bias: Any, mean: Any, variance: Any, momentum: float, eps: float) -> Any:
    return torch.nn.functional.batch_norm(x, mean, variance, weight, bias, False, momentum, eps), None, None


REWRITES: dict[Any, Rewrite] = {
    ATEN.slice_scatter.default: _slice_written,
    ATEN.select_scatter.default: _row_written,
    ATEN.copy.default: _copied,
    ATEN.fill.Tensor: _filled,
    ATEN.fill.Scalar: _filled,
    ATEN.index.Tensor: _picked,
    ATEN._to_copy.default: _cast,
    ATEN._unsafe_view.default: _viewed,
    ATEN.mT.default: _transposed,
    ATEN._native_batch_norm_legit_no_training.default: _normalized,
}
"""What stands for which operators. Each is called with the operator and then its arguments."""
