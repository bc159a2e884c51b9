"""WB, weights and biases: a layer whose weights are not the Source's, in whatever layout and node they are held.

FetaFix matches layers by name and weight distance and copies every tensor that differs. Here the layer is one whose
own output differs on the Source's activations, the weights are those of the Source's nodes that compute the same
tensor, and a tensor is replaced only where that makes the output agree. Worker side.
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
from ..graph.runner import computing_nodes
from . import hyperparameters
from .batchnorm_folding import Change, unfolded
from .codes import FaultCode
from .fault_type import FaultType
from .idle_nodes import idle_divergences
from .operators import NEUTRAL, SETTINGS, SPREADING, WEIGHTED, has_like_operators
from .proposal import Array, Proposal, constants, fitted, same

MAX_TOGETHER = 4  # arrays of one divergence tried in every combination

Candidate = tuple[onnx.NodeProto, int, Array, onnx.NodeProto, list[Array]]
"""A ``Change`` with every array that may be the right one, likeliest first."""


def localise(walk: Walk, node: onnx.NodeProto) -> Iterator[Divergence]:
    """Find a bias or scale that the Source does not have, and nodes whose slope or bias makes them do nothing."""
    if not hyperparameters.is_temperature(walk, node):
        yield from _needless(walk, node)
    yield from idle_divergences(walk, node)


def propose(walk: Walk, divergence: Divergence) -> Iterator[Proposal]:
    """Set one array to the Source's, then several together; a bias or scale that the Source lacks to a neutral one."""
    if not divergence.origins:
        yield from _neutral(walk, divergence)
    elif has_like_operators(walk, divergence):
        arrays = list(candidates(walk, divergence))
        for node, index, value, source_node, options in arrays:
            for option in options:
                yield _proposal([(node, index, value, source_node, option)])
        yield from _several(walk, divergence, arrays)


def all_at_once(walk: Walk, divergence: Divergence) -> Proposal | None:
    """Set every array that differs to what it is likeliest to be."""
    arrays = _likeliest(list(candidates(walk, divergence)))
    return _by_node(arrays) if arrays else None


def _several(walk: Walk, divergence: Divergence, arrays: Sequence[Candidate]) -> Iterator[Proposal]:
    """Set arrays together: those of one layer that is in several nodes, then any two or more that differ."""
    for changes in unfolded(walk, divergence):
        yield replace(_proposal(changes), is_fitted=True, takes_several=True)
    firsts = _likeliest(arrays)
    for count in range(2, min(len(firsts), MAX_TOGETHER) + 1):
        for some in itertools.combinations(firsts, count):
            yield _by_node(some)
    if len(firsts) > MAX_TOGETHER:
        yield _by_node(firsts)


def _by_node(changes: Sequence[Change]) -> Proposal:
    """Make one proposal of the changes, a fault for each node."""
    names = dict.fromkeys(change[0].name for change in changes)
    first, *others = (_proposal([change for change in changes if change[0].name == name]) for name in names)
    return replace(first, also=tuple(others), takes_several=True)


def _likeliest(arrays: Sequence[Candidate]) -> list[Change]:
    return [(node, index, value, source_node, options[0]) for node, index, value, source_node, options in arrays]


def candidates(walk: Walk, divergence: Divergence) -> Iterator[Candidate]:
    """Find constants of the Target's nodes that equal no constant of the Source's, and what they may have to be."""
    source_arrays = [
        (source_node, index, array)
        for source_node in computing_nodes(divergence.origins)
        for index, _, array in constants(walk.source, source_node)
        if array.dtype.kind == "f" and source_node.op_type not in SETTINGS
    ]
    for node in computing_nodes(divergence.nodes):
        if node.op_type in SETTINGS:
            continue
        for index, _, value in constants(walk.target, node):
            if value.dtype.kind != "f":
                continue
            ranked = sorted(source_arrays, key=lambda entry: (entry[0].op_type != node.op_type, entry[1] != index))
            options = _options(walk, node, value, ranked)
            if options:
                yield node, index, value, options[0][0], [array for _, array in options[:6]]


def _options(
    walk: Walk, node: onnx.NodeProto, value: Array, source_arrays: Sequence[tuple[onnx.NodeProto, int, Array]]
) -> list[tuple[onnx.NodeProto, Array]]:
    """The Source's arrays as this one may have to be, likeliest first; none where one of them is the same."""
    options: list[tuple[onnx.NodeProto, Array]] = []
    for source_node, _, array in source_arrays:
        fits = fitted(array, value) + _reordered(walk, node, array, value)
        spreads = node.op_type in SPREADING and node.op_type == source_node.op_type and array.shape != value.shape
        if spreads and array.size == value.size:  # the same numbers, meant for another axis
            fits.insert(0, array.astype(value.dtype))
        elif any(same(option, value) for option in fits[:1]):
            return []
        options += [(source_node, option) for option in fits]
    return options


def _needless(walk: Walk, node: onnx.NodeProto) -> Iterator[Divergence]:
    """Find a bias or scale behind a layer with weights for which the Source has none.

    Exporters leave out a bias of zeros, so this is a wrong bias and not a node too many.
    """
    names = walk.target.dynamic(node)
    if node.op_type not in NEUTRAL or len(names) != 1 or names[0] not in walk.aligned:
        return
    match, tensor = walk.aligned[names[0]][0], node.output[0]
    layer = walk.source.maker.get(match.name)
    is_scaled = any(n.op_type in (*NEUTRAL, "BatchNormalization") for n in walk.source.readers.get(match.name, ()))
    if layer is None or layer.op_type not in WEIGHTED or is_scaled or not _changeable(walk, node):
        return
    wanted, value = match.arrangement.of(walk.contents.tensors[match.name]), walk.values.get(tensor)
    if walk.continues(tensor, wanted, match.name):
        difference = float("inf") if value is None else walk.contents.difference(wanted, value)
        yield Divergence(tensor, match.name, match.arrangement, (node,), (), difference, value, node, is_confirmed=True)


def _neutral(walk: Walk, divergence: Divergence) -> Iterator[Proposal]:
    """Set the constant of a bias or scale to one that changes nothing."""
    layer = walk.source.maker.get(divergence.source)
    for node in divergence.nodes if len(divergence.nodes) == 1 and layer is not None else ():
        for index, value in _changeable(walk, node) if node.op_type in NEUTRAL else ():
            assert layer is not None
            yield _proposal([(node, index, value, layer, np.full_like(value, NEUTRAL[node.op_type]))])


def _changeable(walk: Walk, node: onnx.NodeProto) -> list[tuple[int, Array]]:
    """The constants that can make the node change nothing: not what is divided or what something is taken from."""
    is_ordered = node.op_type in ("Sub", "Div")
    return [(index, value) for index, _, value in constants(walk.target, node) if index or not is_ordered]


def likeness(walk: Walk, node: onnx.NodeProto, source_node: onnx.NodeProto) -> list[dict[str, Any]]:
    """Compare the weights of two nodes where both have some of one shape: evidence like that of a proposal."""
    value = next((array for _, _, array in constants(walk.target, node) if array.ndim > 1), None)
    array = next((array for _, _, array in constants(walk.source, source_node) if array.ndim > 1), None)
    if value is None or array is None or value.shape != array.shape:
        return []
    is_scaled = _differs_in_scale_only(value, array)
    return [{"role": "weights", "correlation": correlation(value, array), "channels_scaled_only": is_scaled}]


def _reordered(walk: Walk, node: onnx.NodeProto, array: Array, value: Array) -> list[Array]:
    """The Source's matrix with its rows in the order in which the node's flattened input lies."""
    if array.ndim != 2 or value.ndim != 2 or node.op_type not in ("Gemm", "MatMul"):
        return []
    name = next((n for n in node.input if n in walk.aligned), None)
    if name is None:
        return []
    match = walk.aligned[name][0]
    content = walk.contents.tensors[match.name]
    if content.ndim <= 2 or content[0].size not in array.shape:
        return []
    order = np.arange(content[0].size).reshape(1, *content.shape[1:])
    places = match.arrangement.of(order).reshape(-1)
    moved = [matrix[places] for matrix in (array, array.T) if matrix.shape[0] == places.size]
    return [matrix for rows in moved for matrix in (rows, rows.T) if matrix.shape == value.shape]


def _proposal(changes: Sequence[Change]) -> Proposal:
    """Set these arrays, all of them of one layer."""
    edits = tuple(_edit(change) for change in changes)
    node, _, _, source_node, _ = max(changes, key=lambda change: change[2].size)
    evidence = {"operator": node.op_type, "tensors": [_evidence(change) for change in changes]}
    return Proposal("WB", node.name, source_node.name, edits, evidence)


def _edit(change: Change) -> SetConstant:
    node, index, _, _, array = change
    differing = _count_differing(change)
    words = f"{_role(node, index)} of {node.op_type} set to the Source's ({differing} of {array.size} values)"
    return SetConstant(words, node.name, index, array)


def _evidence(change: Change) -> dict[str, Any]:
    node, index, value, source_node, array = change
    is_same_shape = value.shape == array.shape
    return {
        "tensor": node.input[index],
        "role": _role(node, index),
        "shape": list(value.shape),
        "values_that_differ": _count_differing(change),
        "max_abs": float(_distances(value, array).max(initial=0.0)) if is_same_shape else None,
        "correlation": correlation(value, array),
        "channels_scaled_only": _differs_in_scale_only(value, array),
        "source_tensor": next((n for n in source_node.input if n), ""),
    }


def _distances(value: Array, array: Array) -> Array:
    """How far each number of ``array`` is from the old one: all of them are new where the shape is another."""
    before = value.astype(np.float64) if value.shape == array.shape else np.full(array.shape, np.inf)
    return np.asarray(np.abs(before - array))


def _count_differing(change: Change) -> int:
    _, _, value, _, array = change
    return int((_distances(value, array) > 1e-6 * float(np.abs(array).max(initial=0.0))).sum())


def _differs_in_scale_only(value: Array, array: Array) -> bool:
    """Is each output channel (first axis) only longer or shorter than it should be?"""
    if value.ndim < 2:
        return True
    a, b = (matrix.reshape(len(matrix), -1).astype(np.float64) for matrix in (value, array))
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


WEIGHTS = FaultType(FaultCode.WB, localise, propose)
