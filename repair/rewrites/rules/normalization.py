"""Normalisations from means, products and square roots."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from ..rule import Outcome, Refused, Rewrite
from ..site import Array, Site
from .reduced_pooling import absolute_power, power_root


def _only_first_output(node: ir.Node) -> bool:
    return not any(v.uses() or v.is_graph_output() for v in node.outputs[1:])


def _standardise(
    at: Site, x: ir.Value, axes: Sequence[int], rank: int, epsilon: float, outside: bool = False
) -> ir.Value:
    """(x - mean) / sqrt(variance + epsilon), or with epsilon outside the root."""
    centred = at.op("Sub", x, at.reduce("ReduceMean", x, axes))
    variance = at.reduce("ReduceMean", at.op("Mul", centred, centred), axes)
    if outside:
        return at.op("Div", centred, at.op("Add", at.op("Sqrt", variance), at.scalar(epsilon, rank)))
    return at.op("Div", centred, at.op("Sqrt", at.op("Add", variance, at.scalar(epsilon, rank))))


def _affine(at: Site, y: ir.Value, rank: int, axis: int = 1, repeat: int = 1) -> ir.Value | Refused:
    """y * scale + bias, inputs 1 and 2, laid along an axis; computed ones are reshaped."""
    for index, op_type in ((1, "Mul"), (2, "Add")):
        if not at.has(index):
            continue
        vector = at.constant(index)
        if vector is not None:
            y = at.op(op_type, y, at.full_rank(np.repeat(vector, repeat), rank, axis))
        elif repeat == 1:
            shape: list[int] = [-1 if i == axis else 1 for i in range(rank)]
            y = at.op(op_type, y, at.op("Reshape", at.input(index), at.ints(shape)))
        else:
            return Refused("computed scale and bias per group")
    return y


def _done(at: Site, y: ir.Value | Refused) -> Outcome:
    return y if isinstance(y, Refused) else at.replace(y)


def _layer(model: ir.Model, node: ir.Node) -> Outcome:
    at, dims = Site(model, node), Site(model, node).dims()
    if dims is None:
        return Refused("the rank is unknown")
    if not _only_first_output(node):
        return Refused("the mean or deviation output is used")
    rank = len(dims)
    first = at.attr("axis", -1) % rank
    y = _standardise(at, at.input(), range(first, rank), rank, at.attr("epsilon", 1e-5))
    for index, op_type in ((1, "Mul"), (2, "Add")):
        if at.has(index):
            constant = at.constant(index)
            full = None if constant is None else constant.reshape([1] * (rank - constant.ndim) + list(constant.shape))
            y = at.op(op_type, y, at.input(index) if full is None else at.const(full))
    return at.replace(y)


def _instance(model: ir.Model, node: ir.Node) -> Outcome:
    at, dims = Site(model, node), Site(model, node).dims()
    if dims is None:
        return Refused("the rank is unknown")
    rank = len(dims)
    y = _standardise(at, at.input(), range(2, rank), rank, at.attr("epsilon", 1e-5))
    return _done(at, _affine(at, y, rank))


def _group(model: ir.Model, node: ir.Node) -> Outcome:
    at, dims = Site(model, node), Site(model, node).dims()
    if dims is None or None in dims[1:]:
        return Refused("GroupNormalization needs static channels and spatial dims")
    groups, inner = at.attr("num_groups"), int(np.prod([d or 1 for d in dims[1:]]))
    grouped = at.reshape(at.input(), [dims[0], groups, inner // groups])
    y = at.reshape(_standardise(at, grouped, [2], 3, at.attr("epsilon", 1e-5)), dims)
    scale = at.dims(1)
    if scale is None or scale[0] is None:
        return Refused("the scale's shape is unknown")
    return _done(at, _affine(at, y, len(dims), repeat=(dims[1] or 1) // scale[0]))


def _mean_variance(model: ir.Model, node: ir.Node) -> Outcome:
    at, dims = Site(model, node), Site(model, node).dims()
    if dims is None:
        return Refused("the rank is unknown")
    rank = len(dims)
    axes = [a % rank for a in at.attr("axes", [0, 2, 3])]
    return at.replace(_standardise(at, at.input(), axes, rank, 1e-9, outside=True))


def _lp(model: ir.Model, node: ir.Node) -> Outcome:
    at, dims = Site(model, node), Site(model, node).dims()
    if dims is None:
        return Refused("the rank is unknown")
    rank, p = len(dims), float(at.attr("p", 2))
    total = at.reduce("ReduceSum", absolute_power(at, p, rank), [at.attr("axis", -1) % rank])
    # A zero vector stays zero, as in onnxruntime.
    norm = at.op("Max", power_root(at, total, p, rank), at.scalar(float(np.finfo(at.dtype).tiny), rank))
    return at.replace(at.op("Div", at.input(), norm))


def _folded(at: Site) -> tuple[Array, Array] | Refused:
    """BatchNormalization as (scale, shift) per channel."""
    if at.attr("training_mode", 0) or not _only_first_output(at.node):
        return Refused("BatchNormalization in training mode")
    parts = [at.constant(i) for i in range(1, 5)]
    known = [p.astype(np.float64) for p in parts if p is not None]
    if len(known) != 4:
        return Refused("computed batch statistics")
    scale, bias, mean, variance = known
    factor = scale / np.sqrt(variance + at.attr("epsilon", 1e-5))
    return factor, bias - mean * factor


def _batch(model: ir.Model, node: ir.Node) -> Outcome:
    at, dims = Site(model, node), Site(model, node).dims()
    folded = _folded(at)
    if dims is None or isinstance(folded, Refused):
        return folded if isinstance(folded, Refused) else Refused("the rank is unknown")
    y = at.op("Mul", at.input(), at.full_rank(folded[0], len(dims)))
    return at.replace(at.op("Add", y, at.full_rank(folded[1], len(dims))))


def _batch_convolution(model: ir.Model, node: ir.Node) -> Outcome:
    at, dims = Site(model, node), Site(model, node).dims()
    folded = _folded(at)
    if isinstance(folded, Refused):
        return folded
    if dims is None or len(dims) < 3:
        return Refused("no spatial axis to convolve over")
    ones = [1] * (len(dims) - 2)
    weights = at.const(folded[0].reshape([-1, 1, *ones]))
    return at.replace(
        at.op(
            "Conv",
            at.input(),
            weights,
            at.const(folded[1]),
            kernel_shape=ones,
            strides=ones,
            dilations=ones,
            pads=[0] * (2 * len(ones)),
            group=len(folded[0]),
        )
    )


def _lrn(model: ir.Model, node: ir.Node) -> Outcome:
    """The window sum over channels is a 1x1 Conv with a band matrix."""
    at, dims = Site(model, node), Site(model, node).dims()
    if dims is None or dims[1] is None or len(dims) < 3:
        return Refused("LRN needs static channels")
    channels, size = dims[1], at.attr("size")
    offset = np.arange(channels)[None, :] - np.arange(channels)[:, None]
    band = (offset >= -((size - 1) // 2)) & (offset <= size // 2)
    x, ones = at.input(), [1] * (len(dims) - 2)
    weights = at.const((band * (at.attr("alpha", 1e-4) / size)).reshape([channels, channels, *ones]))
    shift = at.const(np.full(channels, at.attr("bias", 1.0)))
    total = at.op(
        "Conv",
        at.op("Mul", x, x),
        weights,
        shift,
        kernel_shape=ones,
        strides=ones,
        dilations=ones,
        pads=[0] * (2 * len(ones)),
        group=1,
    )
    return at.replace(at.op("Div", x, at.op("Pow", total, at.scalar(at.attr("beta", 0.75), len(dims)))))


def _ops(*names: str) -> frozenset[str]:
    return frozenset(names)


REWRITES = (
    Rewrite("layernorm", _ops("LayerNormalization"), "CG", "becomes means and a square root", _layer),
    Rewrite("instancenorm", _ops("InstanceNormalization"), "CG", "becomes means and a square root", _instance),
    Rewrite("groupnorm", _ops("GroupNormalization"), "CG", "becomes means over reshaped groups", _group),
    Rewrite(
        "meanvariancenorm",
        _ops("MeanVarianceNormalization"),
        "CG",
        "becomes means and a root",
        _mean_variance,
    ),
    Rewrite("lpnorm", _ops("LpNormalization"), "CG", "becomes a division by the norm", _lp),
    Rewrite("lrn", _ops("LRN"), "LH", "becomes a 1x1 Conv over squared channels, Pow and Div", _lrn),
    Rewrite(
        "batchnorm",
        _ops("BatchNormalization"),
        "CG",
        "becomes Mul and Add with constants",
        _batch,
        undoes=frozenset({"channel-constant-as-batchnorm"}),
    ),
    Rewrite(
        "batchnorm-as-convolution",
        _ops("BatchNormalization"),
        "CG",
        "becomes a depthwise 1x1 Conv",
        _batch_convolution,
    ),
)
