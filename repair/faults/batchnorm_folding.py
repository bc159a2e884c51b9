"""Compare a convolution and what scales and shifts its channels behind it, whether in one node or in several.

Two models may hold the same numbers in other pieces, as with a batch normalisation that is folded. Worker side.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from ..alignment.walk import Divergence, Walk
from ..graph.runner import GraphRunner, computing_nodes
from .proposal import Array, constants, same

Change = tuple[onnx.NodeProto, int, Array, onnx.NodeProto, Array]
"""A node of the Target, the index of its input and the array there, the Source's node, and the array to set instead."""


@dataclass(frozen=True)
class Affine:
    """A convolution with all that scales and shifts its channels behind it: ``scale * conv(x) + shift``.

    ``additives`` are the constants that are added, each with the scale that it still meets, and ``factors`` those that
    multiply, each with the product of all other scales; the last ones first: node, index of the input, array, scale.
    """

    conv: onnx.NodeProto
    weight: Array
    scale: Array
    shift: Array
    additives: Sequence[tuple[onnx.NodeProto, int, Array, Array]]
    factors: Sequence[tuple[onnx.NodeProto, int, Array, Array]]

    @property
    def whole(self) -> Array:
        """Multiply the scale into the weights."""
        return self.weight * self.scale.reshape(-1, *[1] * (self.weight.ndim - 1))


def unfolded(walk: Walk, divergence: Divergence) -> Iterator[list[Change]]:
    """Compute the arrays of a layer that is in several nodes on one side and folded into its convolution on the other.

    Yields one array at a time, then each with the last constant that is added.
    """
    layer, source_layer = affine(walk.target, divergence.nodes), affine(walk.source, divergence.origins)
    if layer is None or source_layer is None or layer.weight.shape != source_layer.weight.shape or not layer.additives:
        return
    with np.errstate(divide="ignore", invalid="ignore"):
        added: list[Change] = []
        for node, index, array, scale in layer.additives:
            value = array.reshape(-1) + (source_layer.shift - layer.shift) / scale
            added.append((node, index, array, source_layer.conv, value.astype(array.dtype).reshape(array.shape)))
        each = (-1, *[1] * (layer.weight.ndim - 1))
        weight = (source_layer.whole / layer.scale.reshape(each)).astype(layer.weight.dtype)
        multiplied: list[Change] = [(layer.conv, 1, layer.weight, source_layer.conv, weight)]
        for node, index, array, scale in layer.factors:
            ratio = source_layer.whole / (layer.weight * scale.reshape(each))
            value = np.nanmedian(ratio.reshape(len(ratio), -1), axis=1)
            if np.allclose(layer.weight * (scale * value).reshape(each), source_layer.whole, rtol=1e-3):
                value = value.astype(array.dtype).reshape(array.shape)
                multiplied.insert(0, (node, index, array, source_layer.conv, value))
    singles, pairs = [[change] for change in (*added, *multiplied)], [[change, added[0]] for change in multiplied]
    for changes in (*singles, *pairs):
        if all(np.isfinite(value).all() and not same(value, array) for _, _, array, _, value in changes):
            yield changes


def folded_alike(walk: Walk, divergence: Divergence) -> bool:
    """Do both sides convolve, scale and shift by the same numbers, in whatever nodes they hold them?"""
    layer, source_layer = affine(walk.target, divergence.nodes), affine(walk.source, divergence.origins)
    if layer is None or source_layer is None or layer.weight.shape != source_layer.weight.shape:
        return False
    pairs = ((layer.whole, source_layer.whole), (layer.shift, source_layer.shift))
    return all(bool(np.allclose(a, b, rtol=1e-4, atol=1e-5 * float(np.abs(b).max(initial=0.0)))) for a, b in pairs)


def affine(steps: GraphRunner, nodes: Sequence[onnx.NodeProto]) -> Affine | None:
    """Read these nodes as one convolution with a scale and a shift for each channel; None where they are not that."""
    chain = [node for node in computing_nodes(nodes) if node.op_type != "Pad"]
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
        arrays = [(index, array) for index, _, array in constants(steps, node)]
        by, more, additive, factor = np.ones(channels), np.zeros(channels), None, None
        if node.op_type == "BatchNormalization" and len(arrays) == 4:
            epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
            gamma, beta, mean, variance = (array.astype(np.float64) for _, array in arrays)
            unit = 1 / np.sqrt(variance + epsilon)
            by, factor = gamma * unit, (node, *arrays[0], scale * unit)
            more, additive = beta - mean * by, arrays[1]
        elif node.op_type in ("Mul", "Add") and len(arrays) == 1 and arrays[0][1].size in (1, channels):
            value = np.broadcast_to(arrays[0][1].reshape(-1), (channels,)).astype(np.float64)
            is_per_channel = arrays[0][1].size == channels
            if node.op_type == "Mul":
                by, factor = value, (node, *arrays[0], scale) if is_per_channel else None
            else:
                more, additive = value, arrays[0] if is_per_channel else None
        else:
            return None
        scale, shift = scale * by, shift * by + more
        additives = [(n, index, array, by * later) for n, index, array, later in additives]
        factors = [(n, index, array, by * other) for n, index, array, other in factors]
        if additive is not None:
            additives.insert(0, (node, *additive, np.ones(channels)))
        if factor is not None:
            factors.insert(0, factor)
    return Affine(conv, weight, scale, shift, additives, factors)
