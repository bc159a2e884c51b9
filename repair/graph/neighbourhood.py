"""The nodes around a node of an ONNX graph, so that a person sees where in the network a fault lies. Worker side."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import onnx

from .. import rewrites
from .neighbour import Neighbour

STEPS = 2  # nodes away from the fault, before it and after it
MAX_BESIDE = 3  # nodes that are as far away: a branch has several


def neighbourhoods(path: str, nodes: Collection[str]) -> dict[str, list[Neighbour]]:
    """Return the neighbours of each of these nodes, from the one farthest before it to the one farthest after it.

    Nodes that the graph does not have are left out, and so are constants.
    """
    graph = rewrites.named(onnx.load(path, load_external_data=False)).graph
    index = {node.name: position for position, node in enumerate(graph.node)}
    makers = {name: node for node in graph.node if node.op_type != "Constant" for name in node.output}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    before = {node.name: [makers[name] for name in node.input if name in makers] for node in graph.node}
    after = {node.name: [reader for name in node.output for reader in readers.get(name, ())] for node in graph.node}
    around: dict[str, list[Neighbour]] = {}
    for name in nodes:
        if name in index:
            reached = [*_reached(name, before, -1), *_reached(name, after, 1)]
            beside = [Neighbour(at, node.name, node.op_type, index[node.name]) for at, node in reached]
            around[name] = sorted(beside, key=lambda each: (each.position, each.index))
    return around


def _reached(
    name: str, edges: Mapping[str, Sequence[onnx.NodeProto]], direction: int
) -> Iterator[tuple[int, onnx.NodeProto]]:
    """Yield the nodes that are up to ``STEPS`` edges away, each once and with its distance; it is negative before."""
    seen, frontier = {name}, [name]
    for distance in range(1, STEPS + 1):
        nodes: dict[str, onnx.NodeProto] = {}
        for at in frontier:
            nodes |= {node.name: node for node in edges.get(at, ()) if node.name not in seen}
        seen |= set(nodes)
        frontier = list(nodes)
        for node in list(nodes.values())[:MAX_BESIDE]:
            yield direction * distance, node


def nodes_named_after(path: str, nodes: Collection[str]) -> dict[str, list[str]]:
    """Return the nodes of a rewritten graph that stand in the place of each of these: itself, or ``its_name/...``.

    Rewrites name what they add after the node that they replace (see ``repair/rewrites/site.py``).
    """
    present = [node.name for node in rewrites.named(onnx.load(path, load_external_data=False)).graph.node]
    return {name: [other for other in present if other == name or other.startswith(f"{name}/")] for name in nodes}
