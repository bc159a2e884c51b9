"""Write elementwise operators, reductions and attention by operators that exporters get right. Worker side, torch only.

Each function takes an ATen operator and its arguments, and gives what the operator does;
where exporters are right with what it was given, it calls the operator itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

ATEN = torch.ops.aten
Rewrite = Callable[..., Any]


def _log_sigmoid(_: Any, x: Any) -> Any:
    """Write min(x, 0) - log(1 + exp(-|x|)); the exported Log(Sigmoid(x)) is minus infinity below about -90."""
    return torch.minimum(x, torch.zeros_like(x)) - _log1p(_, torch.exp(-torch.abs(x)))


def _logaddexp(_: Any, a: Any, b: Any) -> Any:
    """Write the larger + log(1 + exp(-|a - b|)); the exported Log(Exp(a) + Exp(b)) overflows above about 89."""
    distance = torch.where(a == b, torch.zeros_like(a), torch.abs(a - b))
    return torch.maximum(a, b) + _log1p(_, torch.exp(-distance))


def _rrelu(operator: Any, x: Any, lower: float = 1 / 8, upper: float = 1 / 3, *random: Any) -> Any:
    """Write LeakyReLU: in inference the slope is the mean of the two."""
    if random and random[0]:
        return operator(x, lower, upper, *random)
    return torch.nn.functional.leaky_relu(x, (lower + upper) / 2)


def _threshold(_: Any, x: Any, threshold: float, value: float) -> Any:
    return torch.where(x > threshold, x, torch.full_like(x, value))


def _truncated(_: Any, x: Any) -> Any:
    return torch.sign(x) * torch.floor(torch.abs(x)) if x.dtype.is_floating_point else x


def _fraction(_: Any, x: Any) -> Any:
    return x - _truncated(_, x)


def _hypotenuse(_: Any, a: Any, b: Any) -> Any:
    """Take the larger of the two out of the root, so that no square overflows."""
    a, b = torch.abs(a), torch.abs(b)
    large, small = torch.maximum(a, b), torch.minimum(a, b)
    share = torch.where(large > 0, small / large, torch.zeros_like(small))
    return large * torch.sqrt(1 + share * share)


def _copied_sign(operator: Any, x: Any, sign: Any) -> Any:
    """Write ``copysign``; a reciprocal tells a negative zero from a positive one."""
    if not x.dtype.is_floating_point:
        return operator(x, sign)
    sign = torch.as_tensor(sign, dtype=x.dtype)
    negative = (sign < 0) | ((sign == 0) & (1 / sign < 0))
    return torch.where(negative, -torch.abs(x), torch.abs(x))


def _log1p(operator: Any, x: Any) -> Any:
    """Use the series around 0, where the exported Log(1 + x) cancels; its relative error is below 4e-8."""
    if not x.dtype.is_floating_point:
        return operator(x)
    series = x * (1 - x * (1 / 2 - x * (1 / 3 - x * (1 / 4))))
    return torch.where(torch.abs(x) < 0.02, series, torch.log(1 + x))


def _expm1(_: Any, x: Any) -> Any:
    """Write exp(x) - 1 as tanh(x / 2) * (exp(x) + 1), which does not cancel near 0."""
    return torch.tanh(x / 2) * (torch.exp(x) + 1)


def _whole(value: Any) -> bool:
    return not value.dtype.is_floating_point if isinstance(value, torch.Tensor) else isinstance(value, int)


def _floor_divided(operator: Any, a: Any, b: Any, **mode: Any) -> Any:
    """Take the remainder off first, so that nothing is left to round: the tracing exporter truncates whole numbers."""
    if mode.get("rounding_mode", "floor") != "floor" or not (_whole(a) and _whole(b)):
        return operator(a, b, **mode)
    if isinstance(b, int) and b:
        return _floored(a, b)
    return torch.div(a - torch.remainder(a, b), b, rounding_mode="trunc")


def _floored(a: Any, b: int) -> Any:
    """Move negative numbers down by b - 1, then truncate: onnx2keras lacks remainder, sign and comparison."""
    if b < 0:
        a, b = a * -1, -b
    return torch.div(a + torch.clamp(a, -1, 0) * (b - 1), b, rounding_mode="trunc")


def _shifted_right(operator: Any, a: Any, b: Any) -> Any:
    """Divide by a power of two, rounded down: ONNX shifts only unsigned numbers."""
    if not isinstance(b, int):
        return operator(a, b)
    return _floored(a, 2**b)


def _sorted(_: Any, x: Any, *, stable: bool | None, dim: int = -1, descending: bool = False) -> Any:
    """Sort without asking for stability: ONNX's TopK is stable anyway."""
    return torch.sort(x, dim, descending)


def _kth_value(_: Any, x: Any, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    values, indices = torch.topk(x, k, dim, largest=False)
    kth = values.narrow(dim, k - 1, 1), indices.narrow(dim, k - 1, 1)
    return kth if keepdim else tuple(part.squeeze(dim) for part in kth)


def _median(_: Any, x: Any, dim: int = -1, keepdim: bool = False) -> Any:
    """Take the lower of the two middle values."""
    return _kth_value(_, x, (x.shape[dim] + 1) // 2, dim, keepdim)


MAX_RUNNING_LENGTH = 256
"""Positions of an axis: running extremes and products take its square; on a longer one the operator stays as it is."""


def _spread(x: Any, dim: int, neutral: float) -> Any:
    """Give each position the values up to it, and a neutral value for the others: (..., n, n), the axis last."""
    x = x.transpose(dim, -1)
    size = x.shape[-1]
    seen = torch.tensor([[j <= i for j in range(size)] for i in range(size)])
    return torch.where(seen, x.unsqueeze(-2), torch.full((), neutral, dtype=x.dtype))


def _running(operator: Any, x: Any, dim: int) -> Any:
    """Return the running extremes without their indices, which would be others among equal values."""
    if x.shape[dim] > MAX_RUNNING_LENGTH or not x.dtype.is_floating_point:
        return operator(x, dim)
    if operator is ATEN.cummax.default:
        return _spread(x, dim, -math.inf).amax(-1).transpose(dim, -1), None
    return _spread(x, dim, math.inf).amin(-1).transpose(dim, -1), None


def _running_product(operator: Any, x: Any, dim: int, **dtype: Any) -> Any:
    if x.shape[dim] > MAX_RUNNING_LENGTH or dtype.get("dtype") is not None:
        return operator(x, dim, **dtype)
    return torch.prod(_spread(x, dim, 1.0), -1).transpose(dim, -1)


def _counted(operator: Any, x: Any, dim: int, **dtype: Any) -> Any:
    """Add up integers where PyTorch adds up truth values: ONNX's CumSum takes none."""
    return operator(x.to(torch.int64) if x.dtype == torch.bool else x, dim, **dtype)


def _distances(operator: Any, a: Any, b: Any, p: float = 2.0, mode: int | None = None) -> Any:
    differences = torch.abs(a.unsqueeze(-2) - b.unsqueeze(-3))
    if p == math.inf:
        return differences.amax(-1)
    if p == 1:
        return differences.sum(-1)
    return torch.sqrt((differences * differences).sum(-1)) if p == 2 else operator(a, b, p, mode)


def _bilinear(_: Any, a: Any, b: Any, weight: Any, bias: Any = None) -> Any:
    outputs, left, right = weight.shape
    by_left = torch.matmul(a, weight.permute(1, 0, 2).reshape(left, outputs * right))
    product = (by_left.reshape(*by_left.shape[:-1], outputs, right) * b.unsqueeze(-2)).sum(-1)
    return product if bias is None else product + bias


def _attention(operator: Any, query: Any, key: Any, value: Any, mask: Any = None, dropout: float = 0.0,
               causal: bool = False, **more: Any) -> Any:  # fmt: skip
    """Write attention by its definition; the tracing exporter knows it from opset 14 on."""
    if more.get("enable_gqa") or dropout:
        return operator(query, key, value, mask, dropout, causal, **more)
    scale = more.get("scale")
    scores = torch.matmul(query, key.transpose(-2, -1)) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if causal:
        rows, columns = scores.shape[-2:]
        mask = torch.tensor([[j <= i for j in range(columns)] for i in range(rows)])
    if mask is not None and mask.dtype == torch.bool:
        scores = torch.where(mask, scores, torch.full((), -math.inf, dtype=scores.dtype))
    elif mask is not None:
        scores = scores + mask
    return torch.matmul(torch.softmax(scores, -1), value)


def _normalized(operator: Any, x: Any, weight: Any, bias: Any, mean: Any, variance: Any, of_input: bool,
                momentum: float, eps: float, cudnn: bool) -> Any:  # fmt: skip
    """Write instance normalisation by kept statistics as batch normalisation, which it is."""
    if of_input:
        return operator(x, weight, bias, mean, variance, of_input, momentum, eps, cudnn)
    return torch.nn.functional.batch_norm(x, mean, variance, weight, bias, False, momentum, eps)


REWRITES: dict[Any, Rewrite] = {
    operator: rewrite
    for rewrite, operators in (
        (_log_sigmoid, (ATEN.log_sigmoid.default,)),
        (_logaddexp, (ATEN.logaddexp.default,)),
        (_rrelu, (ATEN.rrelu.default,)),
        (_threshold, (ATEN.threshold.default,)),
        (_truncated, (ATEN.trunc.default, ATEN.fix.default)),
        (_fraction, (ATEN.frac.default,)),
        (_hypotenuse, (ATEN.hypot.default,)),
        (_expm1, (ATEN.expm1.default,)),
        (_log1p, (ATEN.log1p.default,)),
        (_copied_sign, (ATEN.copysign.Tensor, ATEN.copysign.Scalar)),
        (_floor_divided, (ATEN.floor_divide.default, ATEN.floor_divide.Scalar)),
        (_floor_divided, (ATEN.div.Tensor_mode, ATEN.div.Scalar_mode)),
        (_shifted_right, (ATEN.__rshift__.Scalar, ATEN.bitwise_right_shift.Tensor_Scalar)),
        (_sorted, (ATEN.sort.stable,)),
        (_kth_value, (ATEN.kthvalue.default,)),
        (_median, (ATEN.median.dim,)),
        (_running_product, (ATEN.cumprod.default,)),
        (_counted, (ATEN.cumsum.default,)),
        (_distances, (ATEN.cdist.default,)),
        (_bilinear, (ATEN.bilinear.default,)),
        (_attention, (ATEN.scaled_dot_product_attention.default,)),
        (_normalized, (ATEN.instance_norm.default,)),
    )
    for operator in operators
}
"""What stands for which operators. Each is called with the operator and then its arguments."""

VALUES_ONLY: dict[Any, Rewrite] = {ATEN.cummax.default: _running, ATEN.cummin.default: _running}
"""The same where only the first result is used: these give None for the indices."""
