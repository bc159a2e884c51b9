"""WB, weights and biases: a layer whose weights are not the Source's, in whatever layout and node they are held.

FetaFix matches layers by name and weight distance and copies every tensor that differs. Here the layer is one whose
own output differs on the Source's activations, the weights are those of the Source's nodes that compute the same
tensor, and a tensor is replaced only where that makes the output agree. Child side.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from .edits import SetConstant
from .proposals import Array, Proposal, constants, core, fitted, same
from .stepping import Steps
from .walking import Parting, Walk, correlation

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


Change = tuple[onnx.NodeProto, int, Array, onnx.NodeProto, Array]
"""A node of the Target, its input's number and array, the node of the Source, and the array that it ought to be."""


def single(walk: Walk, parting: Parting) -> Iterator[tuple[Proposal, ...]]:
    """One tensor that differs, as each array of the Source that it may have to be."""
    for node, index, have, origin, options in _candidates(walk, parting):
        for value in options:
            yield (_proposal([(node, index, have, origin, value)]),)


def several(walk: Walk, parting: Parting) -> Iterator[tuple[Proposal, ...]]:
    """Tensors that differ together: a proposal for each node."""
    yield from _unfolded(walk, parting)
    firsts = _nearest([*_candidates(walk, parting)])
    for count in range(2, min(len(firsts), TOGETHER) + 1):
        for some in itertools.combinations(firsts, count):
            yield _of_each(some)
    if len(firsts) > TOGETHER:
        yield _of_each(firsts)


def together(walk: Walk, parting: Parting) -> tuple[Proposal, ...]:
    """All that differ at once, each as what is likeliest."""
    return _of_each(_nearest([*_candidates(walk, parting)]))


def _of_each(changes: Sequence[Change]) -> tuple[Proposal, ...]:
    names = dict.fromkeys(change[0].name for change in changes)
    return tuple(_proposal([change for change in changes if change[0].name == name]) for name in names)


Candidate = tuple[onnx.NodeProto, int, Array, onnx.NodeProto, list[Array]]


def _nearest(found: Sequence[Candidate]) -> list[Change]:
    return [(node, index, have, origin, options[0]) for node, index, have, origin, options in found]


def _candidates(walk: Walk, parting: Parting) -> Iterator[Candidate]:
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


def needless(walk: Walk, node: onnx.NodeProto) -> Iterator[tuple[Parting, Proposal]]:
    """A bias or scale behind a layer with weights for which the Source has none, as exporters leave out a bias of
    zeros: its constant made one that changes nothing."""
    names = walk.target.dynamic(node)
    if node.op_type not in NEUTRAL or len(names) != 1 or names[0] not in walk.bound:
        return
    match, tensor = walk.bound[names[0]][0], node.output[0]
    origin = walk.source.maker.get(match.name)
    scaled = any(n.op_type in (*NEUTRAL, "BatchNormalization") for n in walk.source.readers.get(match.name, ()))
    if origin is None or origin.op_type not in WEIGHTED or scaled:
        return
    value = match.arrangement.of(walk.contents.tensors[match.name])
    for index, _, have in constants(walk.target, node):
        if (index or node.op_type not in ("Sub", "Div")) and walk.continues(tensor, value, match.name):
            given = walk.values.get(tensor)
            apart = float("inf") if given is None else walk.contents.apart(value, given)
            parting = Parting(tensor, match.name, match.arrangement, (node,), (), apart, given)
            neutral = np.full_like(have, NEUTRAL[node.op_type])
            yield parting, _proposal([(node, index, have, origin, neutral)])


@dataclass(frozen=True)
class Affine:
    """A convolution and what scales and shifts its channels behind it, as one: ``scale * conv(x) + shift``.

    ``additive`` is the last constant that is added: node, input, array, and the scale that it still meets.
    """

    conv: onnx.NodeProto
    weight: Array
    scale: Array
    shift: Array
    additive: tuple[onnx.NodeProto, int, Array, Array] | None


def _unfolded(walk: Walk, parting: Parting) -> Iterator[tuple[Proposal, ...]]:
    """One side has a batch normalisation of its own, the other has it folded into the convolution before it."""
    ours, theirs = affine(walk.target, parting.nodes), affine(walk.source, parting.origins)
    if ours is None or theirs is None or ours.additive is None or ours.weight.shape != theirs.weight.shape:
        return
    each = (-1, *[1] * (ours.weight.ndim - 1))
    node, index, have, factor = ours.additive
    with np.errstate(divide="ignore", invalid="ignore"):
        weight = theirs.weight * (theirs.scale / ours.scale).reshape(each)
        added = have.reshape(-1) + (theirs.shift - ours.shift) / factor
    if not np.isfinite(weight).all() or not np.isfinite(added).all():
        return
    both = [
        (ours.conv, 1, ours.weight, theirs.conv, weight.astype(ours.weight.dtype)),
        (node, index, have, theirs.conv, added.astype(have.dtype).reshape(have.shape)),
    ]
    differ = [one for one in both if not same(one[4], one[2])]
    yield from ((_proposal([one]),) for one in differ)
    if len(differ) > 1:
        yield (_proposal(differ),)  # one layer, in two nodes


def likeness(walk: Walk, node: onnx.NodeProto, origin: onnx.NodeProto) -> list[dict[str, Any]]:
    """How like the weights of two nodes are, where both have some of one shape: evidence as of a proposal."""
    ours = next((array for _, _, array in constants(walk.target, node) if array.ndim > 1), None)
    theirs = next((array for _, _, array in constants(walk.source, origin) if array.ndim > 1), None)
    if ours is None or theirs is None or ours.shape != theirs.shape:
        return []
    scaled = _scaled(ours, theirs)
    return [{"role": "weights", "correlation": correlation(ours, theirs), "channels_scaled_only": scaled}]


def folded_alike(walk: Walk, parting: Parting) -> bool:
    """Do both sides convolve, scale and shift by the same numbers, in whatever pieces they hold them?"""
    ours, theirs = affine(walk.target, parting.nodes), affine(walk.source, parting.origins)
    if ours is None or theirs is None or ours.weight.shape != theirs.weight.shape:
        return False
    each = (-1, *[1] * (ours.weight.ndim - 1))
    pairs = [(one.weight * one.scale.reshape(each), one.shift) for one in (ours, theirs)]
    return all(
        bool(np.allclose(a, b, rtol=1e-4, atol=1e-5 * float(np.abs(b).max(initial=0.0))))
        for a, b in zip(*pairs, strict=True)
    )


def affine(steps: Steps, nodes: Sequence[onnx.NodeProto]) -> Affine | None:
    chain = [node for node in core(nodes) if node.op_type != "Pad"]
    if not chain or chain[0].op_type != "Conv" or chain[0].input[1] not in steps.constants:
        return None
    conv, weight = chain[0], steps.constants[chain[0].input[1]]
    channels = weight.shape[0]
    scale, shift = np.ones(channels), np.zeros(channels)
    additive = None
    if len(conv.input) > 2 and conv.input[2]:
        if conv.input[2] not in steps.constants:
            return None
        shift = steps.constants[conv.input[2]].astype(np.float64)
        additive = (conv, 2, steps.constants[conv.input[2]])
    met = np.ones(channels)
    for node in chain[1:]:
        given = [(index, array) for index, _, array in constants(steps, node)]
        if node.op_type == "BatchNormalization" and len(given) == 4:
            epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
            gamma, beta, mean, variance = (array.astype(np.float64) for _, array in given)
            by = gamma / np.sqrt(variance + epsilon)
            scale, shift = scale * by, (shift - mean) * by + beta
            additive, met = (node, 2, given[1][1]), np.ones(channels)
        elif node.op_type in ("Mul", "Add") and len(given) == 1 and given[0][1].size in (1, channels):
            value = np.broadcast_to(given[0][1].reshape(-1), (channels,)).astype(np.float64)
            if node.op_type == "Mul":
                scale, shift, met = scale * value, shift * value, met * value
            else:
                shift = shift + value
                if given[0][1].size == channels:
                    additive, met = (node, given[0][0], given[0][1]), np.ones(channels)
        else:
            return None
    return Affine(conv, weight, scale, shift, None if additive is None else (*additive, met))


def _reordered(
    walk: Walk, parting: Parting, node: onnx.NodeProto, origin: onnx.NodeProto, value: Array, have: Array
) -> list[Array]:
    """Weights of a matrix product whose rows follow the order in which its flattened input lies."""
    if value.ndim != 2 or have.ndim != 2 or node.op_type not in ("Gemm", "MatMul"):
        return []
    name = next((n for n in node.input if n in walk.bound), None)
    if name is None:
        return []
    match = walk.bound[name][0]
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
