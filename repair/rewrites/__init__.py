"""Equivalent forms of ONNX graphs that public converters get right.

A converter that crashes on an operator, or gets an attribute wrong, is fed the same function made of other operators.
Every rewrite keeps names, types and shapes at its borders and equals the original as onnxruntime runs it (tests:
within 1e-5 of the largest output). `sets` says which rewrites are used when. `rewrite` and `prepare` make new models.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import onnx
import onnx_ir as ir

from .application import forget_lineage, has_foldable, load, name_nodes, run, settle
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
from .sets import ALTERNATIVES, CANONICAL, MISSING, ON_REQUEST, PLAIN

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


def _chosen(names: Collection[str] | None) -> list[Rewrite]:
    wanted = PLAIN if names is None else names
    unknown = set(wanted) - {r.name for r in REWRITES}
    if unknown:
        raise ValueError(f"no rewrite is called {sorted(unknown)}; known: {sorted(r.name for r in REWRITES)}")
    # Second forms that are asked for go first, or the first form would have replaced the node already. What one of them
    # has written is not written a third way by another.
    second = frozenset(ALTERNATIVES)
    chosen = [replace(r, undoes=r.undoes | second) if r.name in second else r for r in REWRITES if r.name in wanted]
    return sorted(chosen, key=lambda r: r.name not in second)


def _run(
    model: onnx.ModelProto, names: Collection[str] | None, nodes: Collection[str] | None
) -> tuple[ir.Model, list[Applied], list[Skipped]]:
    chosen = _chosen(names)
    graph = load(prepare(model, None))
    settle(graph)
    # Loops are unrolled first: states of zeros can still be told, and counts of iterations become constants.
    unrolling = {r.name for r in (*loops.REWRITES, *recurrent.REWRITES)}
    applied, _ = run(graph, [r for r in chosen if r.name in unrolling], nodes)
    if applied:
        settle(graph)
    more, skipped = run(graph, chosen, nodes)
    while more:
        applied += more
        if not has_foldable(graph):
            break
        settle(graph)
        more, skipped = run(graph, chosen, nodes)
    forget_lineage(graph)
    return graph, applied, skipped


def rewrite(
    model: onnx.ModelProto, *, names: Collection[str] | None = None, nodes: Collection[str] | None = None
) -> tuple[onnx.ModelProto, list[Applied]]:
    """Make an equivalent model in other forms; returns it and what was applied, in order.

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
    """List what the same call of `rewrite` leaves undone, and why."""
    return _run(model, names, nodes)[2]


def named(model: onnx.ModelProto) -> onnx.ModelProto:
    """Copy the model with the unique node names that `nodes` and `Applied.node` use."""
    graph = load(model)
    name_nodes(graph)
    return ir.to_proto(graph)
