"""Rank the layers of a Target by the Kruskal-Wallis test of its activations' differences from the Source's.

After FetaFix (arXiv 2312.15101, fault localisation). Which layer corresponds to which is known from the session of
``locate``, not from names or weights. Both views run unrepaired, so a fault shows in its layer and in those behind it.
Worker side: ``align_layers`` needs the session, ``rank_layers`` the two files only.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from ...runtimes.tensor_layout import TensorLayout
from ..alignment.matching import CLOSE, Match
from ..graph.runner import GraphRunner
from ..localization.locate import canonical
from ..localization.session import session_of
from . import kruskal
from .ranking_values import (
    AlignedLayer,
    AlignedLayers,
    InputGroups,
    LayerScore,
    LayerScores,
    UnknownOperator,
    ViewInputs,
)
from .row_runner import RowRunner

Array = np.ndarray[Any, Any]
WEIGHTED_OPERATORS = (
    "Conv", "ConvTranspose", "DeformConv", "Gemm", "MatMul", "BatchNormalization", "InstanceNormalization",
    "GroupNormalization", "LayerNormalization", "PRelu", "LSTM", "GRU", "RNN", "ConvInteger", "MatMulInteger",
    "QLinearConv", "QLinearMatMul",
)  # fmt: skip
"""The layers that are ranked where a person names none."""
MAX_NODES_BEHIND = 8  # a layer, within which a tensor that the Source has is looked for
MAX_BYTES_HELD = 512 << 20  # of differences at once; more are computed in several rounds


@dataclass(frozen=True)
class ComparedTensor:
    """A tensor ``target`` of the Target that ought to hold the Source's tensor ``source`` in this layout."""

    target: str
    source: str
    layout: TensorLayout

    @property
    def size(self) -> int:
        """Elements for one input."""
        return int(np.prod(self.layout.shape))


@dataclass(frozen=True)
class Piece:
    """The elements of a tensor from ``start`` to ``stop``."""

    tensor: ComparedTensor
    start: int
    stop: int


def unknown_operators(names: Sequence[str]) -> tuple[UnknownOperator, ...]:
    """Return those of the names that are no operators of ONNX."""
    known = sorted({schema.name for schema in onnx.defs.get_all_schemas_with_history() if schema.domain == ""})
    by_lower_case = {name.lower(): name for name in known}
    return tuple(
        UnknownOperator(
            name,
            tuple(by_lower_case[close] for close in difflib.get_close_matches(name.lower(), by_lower_case, 3, 0.6)),
        )
        for name in names
        if name not in known
    )


def align_layers(session_id: str, source: str, core: Sequence[str] | None) -> AlignedLayers:
    """Return the layers of a Target that ``locate`` looked at, each with the Source's tensor that it is compared with.

    ``source`` is the Source's view, ``core`` are operator types (None: ``WEIGHTED_OPERATORS``). Raises SessionLost.
    """
    session = session_of(session_id)
    target_runner, source_runner = GraphRunner(session.model), GraphRunner(canonical(source))
    types = set(WEIGHTED_OPERATORS if core is None else core)
    layers: list[AlignedLayer] = []
    unaligned: list[str] = []
    for node in target_runner.nodes:
        if node.op_type not in types or not target_runner.dynamic(node):
            continue
        tensor = _aligned_tensor(target_runner, node, session.aligned)
        if tensor is None:
            unaligned.append(node.name)
            continue
        match = session.aligned[tensor]
        source_node = source_runner.maker.get(match.name)
        layers.append(
            AlignedLayer(
                op_type=node.op_type,
                target_node=node.name,
                target_tensor=node.output[0],
                source_node=match.name if source_node is None else source_node.name,
                source_tensor=match.name,
                metadata={entry.key: entry.value for entry in node.metadata_props},
                compared_tensor=tensor,
                layout=match.arrangement,
            )
        )
    return AlignedLayers(tuple(layers), tuple(unaligned))


def _aligned_tensor(runner: GraphRunner, node: onnx.NodeProto, aligned: Mapping[str, Match]) -> str | None:
    """The node's own output if the Source has it, else the nearest tensor behind it that the Source has."""
    outputs: list[str] = [name for name in node.output if name]
    if aligned_outputs := [name for name in outputs if name in aligned]:
        return aligned_outputs[0]
    behind = {name: far for name, far in runner.following(outputs, MAX_NODES_BEHIND).items() if name in aligned}
    return min(behind, key=lambda name: behind[name], default=None)


def rank_layers(
    views: ViewInputs,
    layers: Sequence[AlignedLayer],
    groups: InputGroups,
    *,
    is_unquantized: bool = True,
    max_bytes_held: int = MAX_BYTES_HELD,
) -> LayerScores:
    """Rank the layers, most suspicious first, on the inputs of the groups.

    ``views`` hold the inputs ``groups.rows``, in that order. Layers of another shape than the Source's come first; then
    by significant share, by mean H and in the order of the graph. Layers that do not hold one row for each input are
    left out.
    """
    runners = RowRunner.of_source(views), RowRunner.of_target(views)
    count = runners[0].count
    compared = [ComparedTensor(layer.compared_tensor, layer.source_tensor, layer.layout) for layer in layers]
    tensors = list(dict.fromkeys(compared))
    probabilities: dict[ComparedTensor, list[tuple[Array, Array]]] = {tensor: [] for tensor in tensors}
    reshaped: set[ComparedTensor] = set()
    not_per_input: set[ComparedTensor] = set()
    model_runs = 0
    for pieces in _rounds(tensors, max(1, max_bytes_held // (4 * count))):
        differences = _differences(runners, pieces, reshaped, not_per_input, is_unquantized=is_unquantized)
        model_runs += count
        for piece, values in zip(pieces, differences, strict=True):
            if piece.tensor not in reshaped | not_per_input:
                p_values = kruskal.probabilities(values, groups.is_similar, groups.draws)
                probabilities[piece.tensor].append(p_values)
    scores = _scores([tensor for tensor in tensors if tensor not in not_per_input], probabilities, reshaped)
    ranking = [LayerScore(index, *scores[tensor]) for index, tensor in enumerate(compared) if tensor in scores]
    ranking.sort(key=_suspicion)
    return LayerScores(tuple(ranking), model_runs)


def _suspicion(score: LayerScore) -> tuple[bool, float, float, int]:
    """A key that is smaller for the more suspicious of two layers."""
    share = score.significant_share
    return share is not None, -(share or 0.0), -score.mean_h, score.layer


def _scores(
    tensors: Sequence[ComparedTensor],
    probabilities: Mapping[ComparedTensor, Sequence[tuple[Array, Array]]],
    reshaped: set[ComparedTensor],
) -> dict[ComparedTensor, tuple[float | None, float]]:
    """Share of significant elements and mean H of each tensor; the correction is made over all elements of all."""
    tested = [tensor for tensor in tensors if tensor not in reshaped]
    values = {tensor: [np.concatenate(part) for part in zip(*probabilities[tensor], strict=True)] for tensor in tested}
    flags = kruskal.significant(np.concatenate([values[each][0] for each in tested])) if tested else np.zeros(0, bool)
    scores: dict[ComparedTensor, tuple[float | None, float]] = dict.fromkeys(reshaped, (None, 0.0))
    start = 0
    for tensor in tested:
        p, h = values[tensor]
        scores[tensor] = float(flags[start : start + len(p)].mean()), float(h.mean())
        start += len(p)
    return scores


def _rounds(tensors: Sequence[ComparedTensor], elements: int) -> Iterator[list[Piece]]:
    """Cut the tensors into pieces, and group these into rounds of at most so many elements."""
    pieces: list[Piece] = []
    left = elements
    for tensor in tensors:
        start = 0
        while start < tensor.size:
            stop = min(tensor.size, start + left)
            pieces.append(Piece(tensor, start, stop))
            left -= stop - start
            start = stop
            if not left:
                yield pieces
                pieces, left = [], elements
    if pieces:
        yield pieces


def _differences(
    runners: tuple[RowRunner, RowRunner],
    pieces: Sequence[Piece],
    reshaped: set[ComparedTensor],
    not_per_input: set[ComparedTensor],
    *,
    is_unquantized: bool,
) -> list[Array]:
    """Compute the absolute differences of Source and Target in each piece, float32 (inputs, elements).

    They are absolute since values that lie farther on either side of zero have the ranks of values near zero, which a
    test of ranks would not see.

    Adds to ``reshaped`` the tensors of another shape than the Source's, to ``not_per_input`` those that do not hold one
    row for each input, so that one input's share of them cannot be told.
    """
    differences = [np.zeros((runners[0].count, piece.stop - piece.start), np.float32) for piece in pieces]
    tensors = list(dict.fromkeys(piece.tensor for piece in pieces))
    values = zip(
        runners[0].each([tensor.source for tensor in tensors]),
        runners[1].each([tensor.target for tensor in tensors]),
        strict=True,
    )
    for row, (source_values, target_values) in enumerate(values):
        by_tensor: dict[ComparedTensor, Array] = {}
        for tensor in tensors:
            a, b = source_values[tensor.source], target_values[tensor.target]
            if a.size != tensor.size or len(a) != 1:
                not_per_input.add(tensor)
            elif b.shape != (1, *tensor.layout.shape):
                reshaped.add(tensor)
            else:
                by_tensor[tensor] = _difference(tensor.layout.of(a), b, is_unquantized=is_unquantized)
        for piece, part in zip(pieces, differences, strict=True):
            if piece.tensor in by_tensor:
                part[row] = by_tensor[piece.tensor][piece.start : piece.stop]
    return differences


def _difference(a: Array, b: Array, *, is_unquantized: bool) -> Array:
    """The absolute difference of two arrays, float32 (elements,); what is not finite is infinite.

    Differences that rounding explains (``matching.CLOSE``) are 0, unless a model is quantised.
    """
    a, b = a.reshape(-1), b.reshape(-1)
    with np.errstate(invalid="ignore", over="ignore"):
        difference = np.abs(b.astype(np.float32) - a.astype(np.float32))
    difference[~np.isfinite(difference)] = np.inf
    if is_unquantized:
        scale = float(np.abs(a[np.isfinite(a)]).max(initial=0.0))
        difference[difference <= CLOSE * scale] = 0.0
    return difference
