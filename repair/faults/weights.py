"""WB, weights and biases: a layer whose weights are not the Source's, in whatever layout and node they are held.

FetaFix matches layers by name and weight distance and copies every tensor that differs. Here the layer is one whose
own output differs on the Source's activations, the weights are those of the Source's nodes that compute the same
tensor, and a tensor is replaced only where that makes the output agree. Child side.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx

from ..alignment.matching import correlation
from ..alignment.walk import Divergence, Walk
from ..graph.edits import SetConstant
from ..graph.runner import core
from .batchnorm_folding import Change, unfolded
from .proposal import Array, Proposal, constants, fitted, same

TOGETHER = 4  # tensors of one parting that may be wrong at once
SPREADING = frozenset({"PRelu", "Mul", "Add", "Sub", "Div"})
"""Operators that spread a constant over the axes that its shape says."""
SETTINGS = frozenset(
    {"Clip", "Pad", "Slice", "Resize", "Upsample", "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "TopK"}
    | {"Gather"}
    | {"Reshape", "Expand", "Tile", "Squeeze", "Unsqueeze", "Split", "Dropout", "OneHot", "CumSum", "Pow"}
)
"""Operators whose constant inputs are settings rather than weights: see ``hyperparameters``."""
NEUTRAL = {"Add": 0.0, "Sub": 0.0, "Mul": 1.0, "Div": 1.0}
"""Operators that change nothing with this constant as their second input."""
WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


Candidate = tuple[onnx.NodeProto, int, Array, onnx.NodeProto, list[Array]]
"""A ``Change`` with all that the array may have to be, likeliest first."""


def single(found: Sequence[Candidate]) -> Iterator[tuple[Proposal, ...]]:
    """One tensor that differs, as each array of the Source that it may have to be."""
    for node, index, have, origin, options in found:
        for value in options:
            yield (_proposal([(node, index, have, origin, value)]),)


def several(walk: Walk, parting: Divergence, found: Sequence[Candidate]) -> Iterator[tuple[Proposal, ...]]:
    """Tensors that differ together: a proposal for each node."""
    for changes in unfolded(walk, parting):  # one layer, in several nodes
        yield (replace(_proposal(changes), proven=False),)
    firsts = _nearest(found)
    for count in range(2, min(len(firsts), TOGETHER) + 1):
        for some in itertools.combinations(firsts, count):
            yield _of_each(some)
    if len(firsts) > TOGETHER:
        yield _of_each(firsts)


def together(found: Sequence[Candidate]) -> tuple[Proposal, ...]:
    """All that differ at once, each as what is likeliest."""
    return _of_each(_nearest(found))


def _of_each(changes: Sequence[Change]) -> tuple[Proposal, ...]:
    names = dict.fromkeys(change[0].name for change in changes)
    return tuple(_proposal([change for change in changes if change[0].name == name]) for name in names)


def _nearest(found: Sequence[Candidate]) -> list[Change]:
    return [(node, index, have, origin, options[0]) for node, index, have, origin, options in found]


def candidates(walk: Walk, parting: Divergence) -> Iterator[Candidate]:
    """Constants of the Target's nodes that no constant of the Source's nodes equals, with what they may have to be."""
    theirs = [
        (origin, index, value)
        for origin in core(parting.origins)
        for index, _, value in constants(walk.source, origin)
        if value.dtype.kind == "f" and origin.op_type not in SETTINGS
    ]
    for node in core(parting.nodes):
        if node.op_type in SETTINGS:
            continue
        for index, _, have in constants(walk.target, node):
            if have.dtype.kind != "f":
                continue
            ranked = sorted(theirs, key=lambda one: (one[0].op_type != node.op_type, one[1] != index))
            options: list[tuple[onnx.NodeProto, Array]] = []
            for origin, _, value in ranked:
                fits = fitted(value, have)
                fits += _reordered(walk, parting, node, origin, value, have)
                spread = node.op_type in SPREADING and node.op_type == origin.op_type and value.shape != have.shape
                if spread and value.size == have.size:  # the same numbers, meant for another axis
                    fits.insert(0, value.astype(have.dtype))
                elif any(same(one, have) for one in fits[:1]):
                    options = []
                    break
                options += [(origin, one) for one in fits]
            if options:
                yield node, index, have, options[0][0], [value for _, value in options[:6]]


def needless(walk: Walk, node: onnx.NodeProto) -> Iterator[tuple[Divergence, Proposal]]:
    """A bias or scale behind a layer with weights for which the Source has none, as exporters leave out a bias of
    zeros: its constant made one that changes nothing."""
    names = walk.target.dynamic(node)
    if node.op_type not in NEUTRAL or len(names) != 1 or names[0] not in walk.aligned:
        return
    match, tensor = walk.aligned[names[0]][0], node.output[0]
    origin = walk.source.maker.get(match.name)
    scaled = any(n.op_type in (*NEUTRAL, "BatchNormalization") for n in walk.source.readers.get(match.name, ()))
    if origin is None or origin.op_type not in WEIGHTED or scaled:
        return
    value = match.arrangement.of(walk.contents.tensors[match.name])
    for index, _, have in constants(walk.target, node):
        if (index or node.op_type not in ("Sub", "Div")) and walk.continues(tensor, value, match.name):
            given = walk.values.get(tensor)
            apart = float("inf") if given is None else walk.contents.apart(value, given)
            parting = Divergence(tensor, match.name, match.arrangement, (node,), (), apart, given)
            neutral = np.full_like(have, NEUTRAL[node.op_type])
            yield parting, _proposal([(node, index, have, origin, neutral)])


def likeness(walk: Walk, node: onnx.NodeProto, origin: onnx.NodeProto) -> list[dict[str, Any]]:
    """How like the weights of two nodes are, where both have some of one shape: evidence as of a proposal."""
    ours = next((array for _, _, array in constants(walk.target, node) if array.ndim > 1), None)
    theirs = next((array for _, _, array in constants(walk.source, origin) if array.ndim > 1), None)
    if ours is None or theirs is None or ours.shape != theirs.shape:
        return []
    scaled = _scaled(ours, theirs)
    return [{"role": "weights", "correlation": correlation(ours, theirs), "channels_scaled_only": scaled}]


def _reordered(
    walk: Walk, parting: Divergence, node: onnx.NodeProto, origin: onnx.NodeProto, value: Array, have: Array
) -> list[Array]:
    """Weights of a matrix product whose rows follow the order in which its flattened input lies."""
    if value.ndim != 2 or have.ndim != 2 or node.op_type not in ("Gemm", "MatMul"):
        return []
    name = next((n for n in node.input if n in walk.aligned), None)
    if name is None:
        return []
    match = walk.aligned[name][0]
    content = walk.contents.tensors[match.name]
    if content.ndim <= 2 or content[0].size not in value.shape:
        return []
    order = np.arange(content[0].size).reshape(1, *content.shape[1:])
    places = match.arrangement.of(order).reshape(-1)
    found = []
    for matrix in (value, value.T):
        if matrix.shape[0] == places.size:
            moved = matrix[places]
            found += [one for one in (moved, moved.T) if one.shape == have.shape]
    return found


def _proposal(some: Sequence[Change]) -> Proposal:
    edits = []
    tensors: list[dict[str, Any]] = []
    for node, index, have, origin, value in some:
        role = _role(node, index)
        # Where the value is meant for other axes all of it is another.
        before = have.astype(np.float64) if have.shape == value.shape else np.full(value.shape, np.inf)
        apart = np.abs(before - value)
        changed = int((apart > 1e-6 * float(np.abs(value).max(initial=0.0))).sum())
        words = f"{role} of {node.op_type} set to the Source's ({changed} of {value.size} values)"
        edits.append(SetConstant(words, node.name, index, value))
        tensors.append(
            {
                "tensor": node.input[index],
                "role": role,
                "shape": list(have.shape),
                "values_that_differ": changed,
                "max_abs": float(apart.max(initial=0.0)) if have.shape == value.shape else None,
                "correlation": correlation(have, value),
                "channels_scaled_only": _scaled(have, value),
                "source_tensor": next((n for n in origin.input if n), ""),
            }
        )
    node, _, _, origin, _ = max(some, key=lambda one: one[2].size)
    return Proposal("WB", node.name, origin.name, tuple(edits), {"operator": node.op_type, "tensors": tensors})


def _scaled(have: Array, value: Array) -> bool:
    """Is each output channel (first axis) only longer or shorter than it should be?"""
    if have.ndim < 2:
        return True
    a, b = (one.reshape(len(one), -1).astype(np.float64) for one in (have, value))
    sizes = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return bool(np.all(np.abs((a * b).sum(axis=1)) >= (1 - 1e-6) * sizes))


def _role(node: onnx.NodeProto, index: int) -> str:
    roles = {
        "BatchNormalization": ("input", "scale", "bias", "mean", "variance"),
        "InstanceNormalization": ("input", "scale", "bias"),
        "LayerNormalization": ("input", "scale", "bias"),
        "PRelu": ("input", "slope"),
        "Add": ("bias", "bias"),
    }.get(node.op_type, ("weights", "weights", "bias"))
    return roles[index] if index < len(roles) else f"input {index}"


def without_bias(walk: Walk, node: onnx.NodeProto) -> bool:
    """Is there a bias that adds nothing, being zero?"""
    bias = walk.target.constants.get(node.input[2]) if node.op_type in WEIGHTED and len(node.input) > 2 else None
    return bias is not None and not bias.any()
