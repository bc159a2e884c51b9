"""CG, computation graph, by a node less or some nodes more.

Each proposal says what it leaves of the divergence that it was made for: the rest may be another fault. Worker side.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import onnx

from ...runtimes.tensor_layout import TensorLayout
from ..alignment.walk import Divergence, Walk
from ..graph.edits import Rewire
from ..graph.runner import computing_nodes
from .hyperparameters import is_temperature
from .proposal import Proposal
from .source_nodes import build

MAX_REMOVED = 6  # nodes of one divergence that are each tried without


def removals(walk: Walk, divergence: Divergence) -> Iterator[Proposal]:
    """Take one of the Target's nodes out: what reads it reads the node's first input."""
    for node in computing_nodes(divergence.nodes)[:MAX_REMOVED]:
        if len(divergence.nodes) < 2 or not node.input or node.input[0] in walk.target.constants:
            continue
        edit = Rewire(f"{node.op_type} passed by", node.output[0], node.input[0], readers(walk, node.output[0]))
        evidence = {"operator": node.op_type, "difference": "a node too many"}
        left = replace(divergence, nodes=tuple(other for other in divergence.nodes if other is not node))
        code = "LH" if is_temperature(walk, node) else "CG"
        yield Proposal(code, node.name, "", (edit,), evidence, leaves=left)


def insertions(walk: Walk, divergence: Divergence) -> Iterator[Proposal]:
    """Put the Source's nodes that the Target lacks before the first node of the divergence."""
    computed = {name for node in divergence.nodes for name in node.output}
    read = [name for node in divergence.nodes for name in walk.target.dynamic(node)]
    outside = dict.fromkeys(name for name in read if name not in computed and name in walk.aligned)
    known = walk.aligned_sources()
    for source_node in computing_nodes(divergence.origins)[:-1]:
        tensor = source_node.output[0]
        if tensor in walk.contents.tensors and tensor not in known:
            nodes = walk.source.between(tensor, known)
            for name in outside:
                yield from _insertion(walk, divergence, name, tensor, nodes)


def _insertion(
    walk: Walk, divergence: Divergence, name: str, source: str, nodes: Sequence[onnx.NodeProto]
) -> Iterator[Proposal]:
    """Put the Source's ``nodes``, which compute ``source``, behind the Target's tensor ``name``."""
    match, content = walk.aligned[name][0], walk.contents.tensors[source]
    perm = match.arrangement.perm
    if content.ndim != len(perm):
        return
    layout = TensorLayout(perm, tuple(content.shape[axis] for axis in perm[1:]))
    built = build(walk, nodes, source, layout)
    if built is None:
        return
    added, constants, new = built
    inner = tuple(n.name for n in divergence.nodes if name in walk.target.read(n))
    kinds = [n.op_type for n in computing_nodes(nodes)]
    lacked_by_all = _is_read_only_by(walk, match.name, nodes) and name not in walk.target.outputs
    reading = tuple(n.name for n in walk.target.readers[name]) if lacked_by_all else inner
    edit = Rewire(f"{' and '.join(kinds)} put before {inner[0]}", name, new, reading, added, constants)
    evidence = {"operator": kinds[-1], "difference": "missing nodes", "missing": kinds}
    # Where all that reads the tensor lacks these nodes, the tensor itself is what should be another.
    repairs = Divergence(name, source, layout, (), tuple(nodes), divergence.difference) if lacked_by_all else None
    names = {node.name for node in nodes}
    left = replace(divergence, origins=tuple(n for n in divergence.origins if n.name not in names))
    yield Proposal("CG", inner[0], nodes[-1].name, (edit,), evidence, repairs=repairs, leaves=left)


def _is_read_only_by(walk: Walk, name: str, nodes: Sequence[onnx.NodeProto]) -> bool:
    """Do only these nodes read that tensor of the Source?"""
    names = {node.name for node in nodes}
    return all(node.name in names for node in walk.source.readers.get(name, ()))


def readers(walk: Walk, tensor: str) -> tuple[str, ...] | None:
    """Name the nodes that read a tensor of the Target; None for an output, which is read from outside too."""
    if tensor in walk.target.outputs:
        return None
    return tuple(node.name for node in walk.target.readers.get(tensor, ()))
