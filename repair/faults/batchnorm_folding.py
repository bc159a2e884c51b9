"""A convolution and what scales and shifts its channels behind it, in one node or in several: two models may hold the
same numbers in other pieces. Child side.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from ..alignment.walk import Divergence, Walk
from ..graph.runner import GraphRunner, core
from .proposal import Array, constants, same

Change = tuple[onnx.NodeProto, int, Array, onnx.NodeProto, Array]
"""A node of the Target, its input's number and array, the node of the Source, and the array that it ought to be."""


@dataclass(frozen=True)
class Affine:
    """A convolution and what scales and shifts its channels behind it, as one: ``scale * conv(x) + shift``.

    ``additives`` are the constants that are added, with the scale that each still meets, ``factors`` those that
    multiply, with all that scales beside each; last ones first: node, number of the input, array, scale.
    """

    conv: onnx.NodeProto
    weight: Array
    scale: Array
    shift: Array
    additives: Sequence[tuple[onnx.NodeProto, int, Array, Array]]
    factors: Sequence[tuple[onnx.NodeProto, int, Array, Array]]

    @property
    def whole(self) -> Array:
        """The weights with the scale multiplied in."""
        return self.weight * self.scale.reshape(-1, *[1] * (self.weight.ndim - 1))


def unfolded(walk: Walk, parting: Divergence) -> Iterator[list[Change]]:
    """One side scales and shifts in nodes of its own, the other has it folded into the convolution before them."""
    ours, theirs = affine(walk.target, parting.nodes), affine(walk.source, parting.origins)
    if ours is None or theirs is None or ours.weight.shape != theirs.weight.shape or not ours.additives:
        return
    with np.errstate(divide="ignore", invalid="ignore"):
        added: list[Change] = []
        for node, index, have, met in ours.additives:
            value = have.reshape(-1) + (theirs.shift - ours.shift) / met
            added.append((node, index, have, theirs.conv, value.astype(have.dtype).reshape(have.shape)))
        each = (-1, *[1] * (ours.weight.ndim - 1))
        weight = theirs.whole / ours.scale.reshape(each)
        multiplied: list[Change] = [(ours.conv, 1, ours.weight, theirs.conv, weight.astype(ours.weight.dtype))]
        for node, index, have, beside in ours.factors:
            ratio = theirs.whole / (ours.weight * beside.reshape(each))
            value = np.nanmedian(ratio.reshape(len(ratio), -1), axis=1)
            if np.allclose(ours.weight * (beside * value).reshape(each), theirs.whole, rtol=1e-3):
                value = value.astype(have.dtype).reshape(have.shape)
                multiplied.insert(0, (node, index, have, theirs.conv, value))
    pairs = [[one, added[0]] for one in multiplied]
    for some in (*([one] for one in (*added, *multiplied)), *pairs):
        if all(np.isfinite(value).all() and not same(value, have) for _, _, have, _, value in some):
            yield some


def folded_alike(walk: Walk, parting: Divergence) -> bool:
    """Do both sides convolve, scale and shift by the same numbers, in whatever pieces they hold them?"""
    ours, theirs = affine(walk.target, parting.nodes), affine(walk.source, parting.origins)
    if ours is None or theirs is None or ours.weight.shape != theirs.weight.shape:
        return False
    pairs = [(one.whole, one.shift) for one in (ours, theirs)]
    return all(
        bool(np.allclose(a, b, rtol=1e-4, atol=1e-5 * float(np.abs(b).max(initial=0.0))))
        for a, b in zip(*pairs, strict=True)
    )


def affine(steps: GraphRunner, nodes: Sequence[onnx.NodeProto]) -> Affine | None:
    chain = [node for node in core(nodes) if node.op_type != "Pad"]
    if not chain or chain[0].op_type != "Conv" or chain[0].input[1] not in steps.constants:
        return None
    conv, weight = chain[0], steps.constants[chain[0].input[1]]
    channels = weight.shape[0]
    scale, shift = np.ones(channels), np.zeros(channels)
    additives: list[tuple[onnx.NodeProto, int, Array, Array]] = []
    factors: list[tuple[onnx.NodeProto, int, Array, Array]] = []
    if len(conv.input) > 2 and conv.input[2]:
        if conv.input[2] not in steps.constants:
            return None
        bias = steps.constants[conv.input[2]]
        shift, additives = bias.astype(np.float64), [(conv, 2, bias, np.ones(channels))]
    for node in chain[1:]:
        given = [(index, array) for index, _, array in constants(steps, node)]
        by, more, own, factor = np.ones(channels), np.zeros(channels), None, None
        if node.op_type == "BatchNormalization" and len(given) == 4:
            epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
            gamma, beta, mean, variance = (array.astype(np.float64) for _, array in given)
            unit = 1 / np.sqrt(variance + epsilon)
            by, factor = gamma * unit, (node, *given[0], scale * unit)
            more, own = beta - mean * by, given[1]
        elif node.op_type in ("Mul", "Add") and len(given) == 1 and given[0][1].size in (1, channels):
            value = np.broadcast_to(given[0][1].reshape(-1), (channels,)).astype(np.float64)
            whole = given[0][1].size == channels
            if node.op_type == "Mul":
                by, factor = value, (node, *given[0], scale) if whole else None
            else:
                more, own = value, given[0] if whole else None
        else:
            return None
        scale, shift = scale * by, shift * by + more
        additives = [(n, index, array, met * by) for n, index, array, met in additives]
        factors = [(n, index, array, beside * by) for n, index, array, beside in factors]
        if own is not None:
            additives.insert(0, (node, *own, np.ones(channels)))
        if factor is not None:
            factors.insert(0, factor)
    return Affine(conv, weight, scale, shift, additives, factors)
