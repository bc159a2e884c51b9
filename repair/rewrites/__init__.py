"""Equivalent forms of ONNX graphs that public converters get right.

A converter that crashes on an operator, or gets an attribute wrong, is fed the same function in other
words. Every rewrite keeps names, types and shapes at its borders and equals the original as onnxruntime
runs it (tests: within 1e-5 of the largest output). `rewrite` and `prepare` return new models.
"""

from __future__ import annotations

from collections.abc import Collection

import onnx
import onnx_ir as ir

from .application import load, name_nodes, run, settle
from .opset import prepare
from .rule import Applied, NotConvertible, Refused, Rewrite, Skipped
from .rules import (
    activations,
    auto_pad,
    average_pooling,
    broadcasting,
    comparisons,
    convolution,
    cumulative,
    defaults,
    einsum,
    exponentials,
    filling,
    functions,
    gathering,
    grid_sample,
    loops,
    matmul,
    max_pooling,
    movement,
    normalization,
    pads,
    recurrent,
    reduced_pooling,
    reduction,
    resize,
    rounding,
    selection,
    slicing,
    softmax,
    structure,
    transposed,
    trigonometry,
)

__all__ = [
    "ALTERNATIVES",
    "CANONICAL",
    "MISSING",
    "OLDEST",
    "ON_REQUEST",
    "PLAIN",
    "REWRITES",
    "Applied",
    "NotConvertible",
    "Refused",
    "Rewrite",
    "Skipped",
    "named",
    "prepare",
    "refusals",
    "rewrite",
]

OLDEST = 13
"""The opset that a model is raised to where it is older: below it, operators mean other things."""

REWRITES: tuple[Rewrite, ...] = (
    *structure.REWRITES,
    *auto_pad.REWRITES,
    *pads.REWRITES,
    *defaults.REWRITES,
    *broadcasting.REWRITES,
    *convolution.REWRITES,
    *transposed.REWRITES,
    *max_pooling.REWRITES,
    *average_pooling.REWRITES,
    *reduced_pooling.REWRITES,
    *resize.REWRITES,
    *normalization.REWRITES,
    *activations.REWRITES,
    *softmax.REWRITES,
    *exponentials.REWRITES,
    *trigonometry.REWRITES,
    *rounding.REWRITES,
    *comparisons.REWRITES,
    *cumulative.REWRITES,
    *selection.REWRITES,
    *gathering.REWRITES,
    *grid_sample.REWRITES,
    *recurrent.REWRITES,
    *loops.REWRITES,
    *filling.REWRITES,
    *reduction.REWRITES,
    *einsum.REWRITES,
    *matmul.REWRITES,
    *movement.REWRITES,
    *slicing.REWRITES,
    *functions.REWRITES,
)

CANONICAL: tuple[str, ...] = (
    "no-op",
    "auto-pad",
    "explicit-attributes",
    "pad-axes",
    "reduce-axes",
    "constant-rank",
    "slope-rank",
    "reshape-explicit",
    "gemm-plain",
    "pool-ceil",
    "constant-of-shape",
)
"""Safe anywhere: the same operators, said explicitly."""

MISSING: tuple[str, ...] = (
    *CANONICAL,
    "activation-modern",
    "prelu",
    "resize-matmul",
    "lppool",
    "layernorm",
    "groupnorm",
    "instancenorm",
    "meanvariancenorm",
    "lpnorm",
    "lrn",
    "depth-to-space",
    "space-to-depth",
    "logsoftmax",
    "reduce-composite",
    "variadic",
    "averagepool-valid",
    "maxpool-pads-value",
    "pad-mode",
    "pad-negative",
    "flatten-axis",
    "convtranspose-plain",
    "conv-pads-asymmetric",
    "conv-dilations-unequal",
    "reduce-prod",
    "hyperbolic",
    "hardmax",
    "onehot",
    "cumsum",
    "trilu",
    "compress",
    "gather-constant",
    "scatter-constant",
    "gather-nd-marks",
    "grid-sample",
    "recurrent-unrolled",
    "loop-unrolled",
    "batch-filled",
    "function-body",
)
"""CANONICAL, and without the operators and attributes that converters commonly lack."""

PLAIN: tuple[str, ...] = (
    *(name for name in MISSING if name != "maxpool-pads-value"),
    "maxpool-dilations",
    "maxpool-pads-map",
    "pad-value",
    "pad-odd-axes",
    "conv-pads",
    "conv-dilations",
    "conv-group",
    "one-axis-as-two",
    "activation-known",
    "erf",
    "clip",
    "global-pool",
    "reduce-min",
    "reduce-keepdims",
    "top",
    "arg-last",
    "arg-min",
    "arg-keepdims",
    "ceil",
    "sign",
    "round",
    "mod",
    "integer-division",
    "comparison",
    "logic",
    "where",
    "power-of-constant",
    "trigonometry",
    "reduce-batch-of-one",
    "squeeze",
    "expand",
    "tile",
    "split",
    "slice-explicit",
    "slice-steps",
    "gather",
    "gather-marks",
    "matmul-constant-first",
    "matmul-stack",
    "matmul-computed",
    "einsum",
    "transposes-as-one",
    "batch-back",
    "batch-first",
    "reshapes-as-one",
    "rows-apart",
)
"""All in its most primitive form: Conv, MaxPool, AveragePool, MatMul, Gemm, Pad with zeros, Slice, Concat, Reshape,
Transpose, ReduceSum/Mean/Max, ArgMax, Softmax, Relu, Exp, Log, Sqrt, Pow, Tanh, Sigmoid, Floor, Cast, + - * /."""

ALTERNATIVES: tuple[str, ...] = (
    "pad-zeros-as-concat",
    "channel-constant-as-batchnorm",
    "channel-constant-as-convolution",
    "conv-depthwise",
    "conv-strides",
    "conv-bias",
    "convtranspose-as-convolution",
    "maxpool-slices",
    "averagepool-convolution",
    "resize-nearest-gather",
    "resize-nearest-slices",
    "batchnorm",
    "batchnorm-as-convolution",
    "softmax-last-axis",
    "softmax-exponentials",
    "reduce-as-matmul",
    "gemm-as-matmul",
    "flatten-as-reshape",
    "maxpool-pads-value",
)
"""Second forms, for the converter that gets the first one wrong; each to be asked for by name."""

ON_REQUEST: tuple[str, ...] = ("stable-logsigmoid",)
"""Not an equivalent: changes what the model computes where the original overflows."""


def _chosen(names: Collection[str] | None) -> list[Rewrite]:
    wanted = PLAIN if names is None else names
    unknown = set(wanted) - {r.name for r in REWRITES}
    if unknown:
        raise ValueError(f"no rewrite is called {sorted(unknown)}; known: {sorted(r.name for r in REWRITES)}")
    # Those asked for as second forms go first, or the first form would have taken the node already.
    second = set(ALTERNATIVES)
    return sorted((r for r in REWRITES if r.name in wanted), key=lambda r: r.name not in second)


def _run(
    model: onnx.ModelProto, names: Collection[str] | None, nodes: Collection[str] | None
) -> tuple[ir.Model, list[Applied], list[Skipped]]:
    chosen = _chosen(names)
    graph = load(prepare(model, None))
    settle(graph)
    # First what is unrolled: states of zeros are still seen to be zeros, and what counts iterations is folded.
    applied, _ = run(graph, [r for r in chosen if r in (*loops.REWRITES, *recurrent.REWRITES)], nodes)
    if applied:
        settle(graph)
    more, skipped = run(graph, chosen, nodes)
    applied += more
    if any(a.rewrite in ("function-body", "loop-unrolled") for a in applied):
        settle(graph)
        more, skipped = run(graph, chosen, nodes)
        applied += more
    return graph, applied, skipped


def rewrite(
    model: onnx.ModelProto, *, names: Collection[str] | None = None, nodes: Collection[str] | None = None
) -> tuple[onnx.ModelProto, list[Applied]]:
    """An equivalent model in other forms, and what was applied, in order.

    names: which rewrites (any of CANONICAL, MISSING, PLAIN, ALTERNATIVES or REWRITES by name); PLAIN if None.
    nodes: only these nodes, by the names that `named` gives, and whatever they turn into; all if None.
    The model's opset is raised to 13 where it is lower; constants are folded into initializers.
    Raises ValueError for an unknown rewrite, NotConvertible where the opset cannot be raised.
    """
    graph, applied, _ = _run(model, names, nodes)
    return ir.to_proto(graph), applied


def refusals(
    model: onnx.ModelProto, *, names: Collection[str] | None = None, nodes: Collection[str] | None = None
) -> list[Skipped]:
    """What the same call of `rewrite` leaves undone, and why."""
    return _run(model, names, nodes)[2]


def named(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with the unique node names that `nodes` and `Applied.node` use."""
    graph = load(model)
    name_nodes(graph)
    return ir.to_proto(graph)
