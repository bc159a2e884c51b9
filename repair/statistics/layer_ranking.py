"""Rank the layers of a Target by the Kruskal-Wallis test of its activations' differences from the Source's.

After FetaFix (arXiv 2312.15101, fault localisation); which layer goes with which is known from the walk (``walking``),
not from names or weights. Both views run as they are, unrepaired, so a fault shows in its layer and in those behind it.
Worker side: ``aligned`` needs a session of ``locate``, ``rank`` two files only.
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
from ..localization.session import held
from . import kruskal
from .aligned_layers import AlignedLayer, AlignedLayers
from .row_runner import Model

Array = np.ndarray[Any, Any]
CORE = (
    "Conv", "ConvTranspose", "DeformConv", "Gemm", "MatMul", "BatchNormalization", "InstanceNormalization",
    "GroupNormalization", "LayerNormalization", "PRelu", "LSTM", "GRU", "RNN", "ConvInteger", "MatMulInteger",
    "QLinearConv", "QLinearMatMul",
)  # fmt: skip
"""Operators with weights: the layers that are ranked where a person names none."""
BEHIND = 8  # nodes behind a layer in which a tensor that the Source has is looked for
BYTES = 512 << 20  # of differences held at once; more run in several rounds


@dataclass(frozen=True)
class Layer:
    """A layer of the Target and what it is held against: ``tensor`` ought to be ``source`` in that arrangement.

    ``tensor`` is the node's own output or, where the Source computes nothing of the kind, the first one behind it.
    """

    tensor: str
    source: str
    arrangement: TensorLayout

    @property
    def size(self) -> int:
        """Elements for one input."""
        return int(np.prod(self.arrangement.shape))


def unknown(names: Sequence[str]) -> dict[str, list[str]]:
    """Those of the names that are no operator of ONNX, each with operators that are spelt nearly so."""
    known = sorted({one.name for one in onnx.defs.get_all_schemas_with_history() if one.domain == ""})
    small = {name.lower(): name for name in known}
    return {
        name: [small[one] for one in difflib.get_close_matches(name.lower(), small, 3, 0.6)]
        for name in names
        if name not in known
    }


def aligned(session_id: str, source: str, core: Sequence[str] | None) -> AlignedLayers:
    """The core layers of a Target that ``locate`` looked at, each with the Source's tensor that it is compared with.

    ``source`` is the Source's view, ``core`` operator types (None: ``CORE``).
    """
    session = held(session_id)
    ours, theirs = GraphRunner(session.model), GraphRunner(canonical(source))
    types = set(CORE if core is None else core)
    layers: list[AlignedLayer] = []
    unaligned: list[str] = []
    for node in ours.nodes:
        if node.op_type not in types or not ours.dynamic(node):
            continue
        tensor = _seen(ours, node, session.aligned)
        if tensor is None:
            unaligned.append(node.name)
            continue
        match = session.aligned[tensor]
        origin = theirs.maker.get(match.name)
        layers.append(
            AlignedLayer(
                op_type=node.op_type,
                target_node=node.name,
                target_tensor=node.output[0],
                source_node=match.name if origin is None else origin.name,
                source_tensor=match.name,
                metadata={entry.key: entry.value for entry in node.metadata_props},
                compared_tensor=tensor,
                layout=match.arrangement,
            )
        )
    return AlignedLayers(tuple(layers), tuple(unaligned))


def _seen(steps: GraphRunner, node: onnx.NodeProto, aligned: Mapping[str, Match]) -> str | None:
    """The node's own output if the Source has it, else the nearest tensor behind it that the Source has."""
    own: list[str] = [name for name in node.output if name]
    if found := [name for name in own if name in aligned]:
        return found[0]
    behind = {name: far for name, far in steps.following(own, BEHIND).items() if name in aligned}
    return min(behind, key=lambda name: behind[name], default=None)


def rank(
    source: str,
    target: str,
    layers: Sequence[AlignedLayer],
    arrays: Mapping[str, Array],
    given: Mapping[str, Array],
    similar: Array,
    draws: Sequence[Array],
    *,
    batches: Sequence[int],
    is_unquantized: bool = True,
    budget: int = BYTES,
) -> dict[str, Any]:
    """The layers, most suspicious first: ``ranking`` holds place in ``layers``, share and mean H of each.

    ``arrays`` are inputs of the Source's view (batch first), ``given`` the same as the Target's view takes them;
    ``similar`` and ``draws`` are as ``input_groups.chosen`` gives them, ``batches`` are those that the views were made
    for. A share of None is a layer whose values cannot be subtracted, being of another shape than the Source's; such
    come first. Layers of equal share stand by mean H, then in the order of the graph. Layers that do not hold one row
    for each input are left out. ``runs`` counts runs of the Target's view on one input.
    """
    models = Model(source, arrays, batches[0]), Model(target, given, batches[1])
    count = models[0].count
    told = [Layer(layer.compared_tensor, layer.source_tensor, layer.layout) for layer in layers]
    unique = list(dict.fromkeys(told))
    results: dict[Layer, list[tuple[Array, Array]]] = {one: [] for one in unique}
    strange: set[Layer] = set()
    lost: set[Layer] = set()
    runs = 0
    for group in _grouped(unique, max(1, budget // (4 * count))):
        found = _differences(models, group, strange, lost, is_unquantized=is_unquantized)
        runs += count
        for (layer, _, _), values in zip(group, found, strict=True):
            if layer not in strange | lost:
                results[layer].append(kruskal.probabilities(values, similar, draws))
    scores = _scores([one for one in unique if one not in lost], results, strange)
    ranking = [(place, *scores[one]) for place, one in enumerate(told) if one in scores]
    ranking.sort(key=lambda one: (one[1] is not None, -(one[1] or 0.0), -one[2], one[0]))
    return {"ranking": ranking, "runs": runs}


def _scores(
    layers: Sequence[Layer], results: Mapping[Layer, Sequence[tuple[Array, Array]]], strange: set[Layer]
) -> dict[Layer, tuple[float | None, float]]:
    """Share of significant elements and mean H of each layer; the correction is made over all elements of all."""
    looked = [one for one in layers if one not in strange]
    values = {one: [np.concatenate(part) for part in zip(*results[one], strict=True)] for one in looked}
    flags = kruskal.significant(np.concatenate([values[one][0] for one in looked])) if looked else np.zeros(0, bool)
    scores: dict[Layer, tuple[float | None, float]] = dict.fromkeys(strange, (None, 0.0))
    start = 0
    for one in looked:
        p, h = values[one]
        scores[one] = float(flags[start : start + len(p)].mean()), float(h.mean())
        start += len(p)
    return scores


def _grouped(layers: Sequence[Layer], elements: int) -> Iterator[list[tuple[Layer, int, int]]]:
    """Pieces of layers (from which element to which) in groups of at most so many elements."""
    group: list[tuple[Layer, int, int]] = []
    left = elements
    for layer in layers:
        start = 0
        while start < layer.size:
            stop = min(layer.size, start + left)
            group.append((layer, start, stop))
            left -= stop - start
            start = stop
            if not left:
                yield group
                group, left = [], elements
    if group:
        yield group


def _differences(
    models: tuple[Model, Model],
    group: Sequence[tuple[Layer, int, int]],
    strange: set[Layer],
    lost: set[Layer],
    *,
    is_unquantized: bool,
) -> list[Array]:
    """How far Target and Source are apart in each piece, float32 (inputs, elements), of 0 or more.

    The size of the difference, not the difference: values that lie farther on either side of zero have the ranks of
    values near zero, and a test of ranks would not see them.

    Adds to ``strange`` the layers of another shape than the Source's, to ``lost`` those that do not hold one row for
    each input, so that one input's share of them cannot be told. Differences that rounding explains
    (``matching.CLOSE``) are none, unless a model is quantised; what is not finite is the largest difference.
    """
    found = [np.zeros((models[0].count, stop - start), np.float32) for _, start, stop in group]
    layers = list(dict.fromkeys(layer for layer, _, _ in group))
    values = zip(
        models[0].each([one.source for one in layers]),
        models[1].each([one.tensor for one in layers]),
        strict=True,
    )
    for place, (expected, given) in enumerate(values):
        apart: dict[Layer, Array] = {}
        for layer in layers:
            a, b = expected[layer.source], given[layer.tensor]
            if a.size != layer.size or len(a) != 1:
                lost.add(layer)
                continue
            if b.shape != (1, *layer.arrangement.shape):
                strange.add(layer)
                continue
            a = layer.arrangement.of(a).reshape(-1)
            with np.errstate(invalid="ignore", over="ignore"):
                apart[layer] = np.abs(b.reshape(-1).astype(np.float32) - a.astype(np.float32))
            apart[layer][~np.isfinite(apart[layer])] = np.inf
            if is_unquantized:
                scale = float(np.abs(a[np.isfinite(a)]).max(initial=0.0))
                apart[layer][apart[layer] <= CLOSE * scale] = 0.0
        for (layer, start, stop), kept in zip(group, found, strict=True):
            if layer in apart:
                kept[place] = apart[layer][start:stop]
    return found
