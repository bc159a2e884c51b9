"""Constant operands at full rank, per-channel constants as layers, operand lists in twos."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ..rule import Outcome, Refused, Rewrite
from ..site import Array, Site, constant_of, dims_of

ELEMENTWISE = frozenset({"Add", "Sub", "Mul", "Div", "Min", "Max", "Pow", "PRelu", "Sum", "Mean"})
_CHAINS = {"Sum": "Add", "Mean": "Add", "Min": "Min", "Max": "Max"}


def _full_rank(model: ir.Model, node: ir.Node) -> Outcome:
    at = Site(model, node)
    ranks = [dims_of(v) for v in node.inputs]
    if any(r is None for r in ranks):
        return Refused("the rank of an operand is unknown")
    rank = max(len(r) for r in ranks if r is not None)
    changed = False
    for i, value in enumerate(node.inputs):
        array = constant_of(value)
        if array is not None and array.ndim < rank:
            changed = True
            full = at.const(array.reshape([1] * (rank - array.ndim) + list(array.shape)), array.dtype)
            model.graph.register_initializer(full)
            node.replace_input_with(i, full)
    return changed


def _channel_constant(at: Site) -> tuple[ir.Value, Array, list[int | None]] | Refused | None:
    """(computed operand, constant per channel, dims), None if this is not x (op) channel constant."""
    for i in (0, 1):
        array, dims = at.constant(i), at.dims(1 - i)
        if array is None or at.constant(1 - i) is not None:
            continue
        if dims is None or len(dims) < 3 or dims[1] is None:
            return Refused("channels or rank are not static")
        full = array.reshape([1] * max(len(dims) - array.ndim, 0) + list(array.shape))
        if full.ndim != len(dims) or full.size != full.shape[1]:
            return Refused("the constant is not one number per channel")
        vector = np.broadcast_to(full.reshape(-1), [dims[1]]) if full.size == 1 else full.reshape(-1)
        if vector.shape[0] != dims[1]:
            return Refused("the constant widens the tensor")
        return at.input(1 - i), vector.astype(at.dtype), dims
    return None


def _channel_layer(model: ir.Model, node: ir.Node, convolve: bool) -> Outcome:
    at = Site(model, node)
    operands = _channel_constant(at)
    if operands is None or isinstance(operands, Refused):
        return operands if isinstance(operands, Refused) else False
    if not at.floating:
        return Refused("integers")
    x, vector, dims = operands
    ones, zeros = np.ones_like(vector), np.zeros_like(vector)
    scale, shift = (vector, zeros) if node.op_type == "Mul" else (ones, vector)
    if not convolve:
        constants = [at.const(v) for v in (scale, shift, zeros, ones)]
        return at.replace(at.op("BatchNormalization", x, *constants, epsilon=0.0, momentum=0.9))
    unit = [1] * (len(dims) - 2)
    weights = at.const(scale.reshape([-1, 1, *unit]))
    return at.replace(
        at.op(
            "Conv",
            x,
            weights,
            at.const(shift),
            kernel_shape=unit,
            strides=unit,
            dilations=unit,
            pads=[0] * (2 * len(unit)),
            group=len(vector),
        )
    )


def _as_batchnorm(model: ir.Model, node: ir.Node) -> Outcome:
    return _channel_layer(model, node, convolve=False)


def _as_convolution(model: ir.Model, node: ir.Node) -> Outcome:
    return _channel_layer(model, node, convolve=True)


def _chain(model: ir.Model, node: ir.Node) -> Outcome:
    at = Site(model, node)
    kind, values = node.op_type, [v for v in node.inputs if v is not None]
    if len(values) == 2 and kind in ("Min", "Max"):
        return False
    if kind == "Mean" and not at.floating:
        return Refused("a mean of integers")
    y = values[0]
    for value in values[1:]:
        y = at.op(_CHAINS[kind], y, value)
    if kind == "Mean" and len(values) > 1:
        ranks = [len(dims_of(v) or []) for v in values]
        y = at.op("Mul", y, at.scalar(1 / len(values), max(ranks)))
    return at.replace(y)


_PER_CHANNEL = frozenset({"Add", "Mul"})
REWRITES = (
    Rewrite("variadic", frozenset(_CHAINS), "CG", "many operands become a chain of two", _chain),
    Rewrite("constant-rank", ELEMENTWISE - {"PRelu"}, "TSS", "constant operands get the full rank", _full_rank),
    Rewrite("slope-rank", frozenset({"PRelu"}), "WB", "the slope, a weight, gets the full rank", _full_rank),
    Rewrite(
        "channel-constant-as-batchnorm",
        _PER_CHANNEL,
        "TSS",
        "x * c or x + c becomes BatchNormalization",
        _as_batchnorm,
        undoes=frozenset({"batchnorm"}),
    ),
    Rewrite(
        "channel-constant-as-convolution",
        _PER_CHANNEL,
        "TSS",
        "x * c or x + c becomes a depthwise 1x1 Conv",
        _as_convolution,
    ),
)
