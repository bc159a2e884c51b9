"""Pair the Target's tensors behind a node with the Source's tensors that they may hold, in which layout."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from ...runtimes.tensor_layout import TensorLayout, arrangements
from ..graph.runner import LAYOUT, computing_nodes
from .matching import correlation
from .walk import DEPTH, Walk

MAX_LAYOUTS = 6  # of one pair of tensors that are looked at
MAX_PAIRS = 80  # of tensors that are looked at for one fault


def paired_tensors(walk: Walk, node: onnx.NodeProto) -> Iterator[tuple[str, str]]:
    """Pair tensors behind ``node`` with what they should hold, likeliest first: those that few nodes compute."""
    aligned = walk.aligned_sources()
    outputs = [name for name in node.output if name]
    behind = [name for name in walk.target.following(outputs, DEPTH - 1) if name not in walk.aligned]
    targets = {
        n: len(computing_nodes(walk.target.between(n, walk.aligned))) for n in dict.fromkeys((*outputs, *behind))
    }
    # What the Target lacks may be long: the Source's tensors count by the shortest way, which may skip a branch.
    following = walk.source.following(walk.bases([node]), DEPTH)
    sources = {name: steps for name, steps in following.items() if name not in aligned}
    ranked: list[tuple[int, int, float, int, str, str]] = []
    for t, steps in targets.items():
        for s, source_steps in sources.items():
            maker, source_maker = walk.target.maker[t], walk.source.maker.get(s)
            if source_maker is None or s not in walk.contents.tensors:
                continue
            is_other = maker.op_type != source_maker.op_type
            layouts = (maker.op_type in LAYOUT) + (source_maker.op_type in LAYOUT)
            unlikely = steps + source_steps + is_other + layouts
            unlike = _unlike(walk, maker, source_maker)
            ranked.append((unlikely, abs(steps - source_steps), unlike, len(ranked), t, s))
    for *_, t, s in sorted(ranked)[:MAX_PAIRS]:
        yield t, s


def _unlike(walk: Walk, node: onnx.NodeProto, source_node: onnx.NodeProto) -> float:
    """Tell how unlike the weights of two nodes are, from 0 to 1: it decides between several like nodes."""
    values = [walk.target.constants[n] for n in node.input if n in walk.target.constants]
    source_values = [walk.source.constants[n] for n in source_node.input if n in walk.source.constants]
    pairs = zip(values, source_values, strict=False)
    likeness = [correlation(a, b) for a, b in pairs if a.size == b.size and a.dtype.kind == "f"]
    return 1 - max(likeness, default=0.0)


def candidate_layouts(walk: Walk, tensor: str, source: str, node: onnx.NodeProto) -> list[TensorLayout]:
    """List the layouts in which the Target's tensor may hold the Source's, likeliest first."""
    content = walk.contents.tensors[source]
    value = walk.values.get(tensor)
    layouts: list[TensorLayout] = []
    perms = [m.arrangement.perm for name in walk.target.dynamic(node) for m in walk.aligned.get(name, ())[:1]]
    perms += [tuple(range(content.ndim))]
    if content.ndim == 4:
        perms += [(0, 2, 3, 1), (0, 3, 1, 2)]
    if value is not None:
        layouts += list(arrangements(content.shape, value.shape))
        layouts.sort(key=lambda layout: layout.perm not in perms)
    if value is None or value.size != content.size:
        for perm in perms:
            if len(perm) == content.ndim:
                layouts.append(TensorLayout(perm, tuple(content.shape[axis] for axis in perm[1:])))
    return list(dict.fromkeys(layouts))[:MAX_LAYOUTS]
