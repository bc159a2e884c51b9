"""CG, computation graph: a node less, some nodes more, or the first of several nodes replaced by the Source's.

Each of these says what it leaves of the parting that it was proposed for: the rest may be another fault. Child side.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import onnx

from ...runtimes.tensor_layout import TensorLayout
from ..alignment.walk import Divergence, Walk
from ..graph.edits import Rewire
from ..graph.runner import core
from .computation_graph import build, in_place, readers
from .hyperparameters import temperature
from .proposal import Proposal

ORDERS = 2  # of axes, in which an inner tensor of a parting may lie
PASSED = 6  # nodes tried to be passed by in one parting


Rebuilt = tuple[Divergence, Divergence, Proposal]
"""The parting that a proposal mends, what it leaves of the one looked at, and the proposal."""


def pass_by(walk: Walk, parting: Divergence) -> Iterator[Rebuilt]:
    """The Target without one of its nodes: what reads it reads the node's first input."""
    for node in core(parting.nodes)[:PASSED]:
        if len(parting.nodes) < 2 or not node.input or node.input[0] in walk.target.constants:
            continue
        edit = Rewire(f"{node.op_type} passed by", node.output[0], node.input[0], readers(walk, node.output[0]))
        evidence = {"operator": node.op_type, "difference": "a node too many"}
        left = replace(parting, nodes=tuple(one for one in parting.nodes if one is not node))
        yield parting, left, Proposal("LH" if temperature(walk, node) else "CG", node.name, "", (edit,), evidence)


def put_before(walk: Walk, parting: Divergence) -> Iterator[Rebuilt]:
    """The Source's nodes that the Target lacks, put before the first node of the parting."""
    made = {name for node in parting.nodes for name in node.output}
    outside = [n for node in parting.nodes for n in walk.target.dynamic(node) if n not in made and n in walk.aligned]
    known = walk.taken()
    for origin in core(parting.origins)[:-1]:
        tensor = origin.output[0]
        if tensor not in walk.contents.tensors or tensor in known:
            continue
        content = walk.contents.tensors[tensor]
        nodes = walk.source.between(tensor, known)
        for name in dict.fromkeys(outside):
            match = walk.aligned[name][0]
            if content.ndim != len(match.arrangement.perm):
                continue
            perm = match.arrangement.perm
            arrangement = TensorLayout(perm, tuple(content.shape[axis] for axis in perm[1:]))
            built = build(walk, nodes, tensor, arrangement)
            if built is None:
                continue
            added, constants, new = built
            inner = tuple(n.name for n in parting.nodes if name in walk.target.read(n))
            kinds = [n.op_type for n in core(nodes)]
            whole = _only_through(walk, match.name, nodes) and name not in walk.target.outputs
            reading = tuple(n.name for n in walk.target.readers[name]) if whole else inner
            edit = Rewire(f"{' and '.join(kinds)} put before {inner[0]}", name, new, reading, added, constants)
            evidence = {"operator": kinds[-1], "difference": "missing nodes", "missing": kinds}
            proposal = Proposal("CG", inner[0], origin.name, (edit,), evidence)
            # Where all that reads the tensor lacks these nodes, the tensor itself is what ought to be another.
            meant = Divergence(name, tensor, arrangement, (), tuple(nodes), parting.apart) if whole else parting
            put = {node.name for node in nodes}
            yield meant, replace(parting, origins=tuple(n for n in parting.origins if n.name not in put)), proposal


def _only_through(walk: Walk, name: str, nodes: Sequence[onnx.NodeProto]) -> bool:
    """In the Source, is the tensor read by these nodes alone?"""
    chosen = {node.name for node in nodes}
    return all(node.name in chosen for node in walk.source.readers.get(name, ()))


def one_by_one(walk: Walk, parting: Divergence) -> Iterator[Rebuilt]:
    """The first nodes of a parting replaced by the Source's first ones, where others follow on both sides."""
    for node in core(parting.nodes)[:-1]:
        for origin in core(parting.origins)[:-1]:
            tensor, source = node.output[0], origin.output[0]
            value, content = walk.values.get(tensor), walk.contents.tensors.get(source)
            if value is None or content is None or value.size != content.size or value.ndim != content.ndim:
                continue
            for way in walk.candidate_layouts(tensor, source, node)[:ORDERS]:
                meant = walk.parting(tensor, source, way)
                done = {n.name for n in (*meant.nodes, *meant.origins)}
                sides = (parting.nodes, parting.origins)
                ours, theirs = (tuple(n for n in side if n.name not in done) for side in sides)
                left = replace(parting, nodes=ours, origins=theirs)
                yield from ((meant, left, proposal) for proposal in in_place(walk, meant))
