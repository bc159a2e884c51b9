"""TSS, tensor shape and structure: content that is right and lies wrong, as after a Transpose too many or another one.

A tensor may hold all that it should and in the wrong order: only what is computed from it tells, above all where axes
are of equal size. So the other orders are tried on the node at which the walk parts. Child side.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import onnx

from ...runtimes.tensor_layout import MOST_AXES, TensorLayout, arrangements
from ..alignment.matching import Match
from ..alignment.walk import Divergence, Walk
from ..graph.edits import Rewire, SetAttributes
from ..graph.runner import LAYOUT
from .computation_graph import laid
from .proposal import Array, Proposal, outcome, same

UPSTREAM = 6  # nodes between the one that goes wrong and the one that turned the content, at most


def propose(
    walk: Walk, node: onnx.NodeProto, believed: Callable[[str, Match], bool] | None = None
) -> Iterator[tuple[Divergence, Proposal]]:
    """Proposals at a node where the walk parts; the parting is that of the tensor that lies wrong.

    ``believed`` says whether what follows a tensor agrees if it holds that of the Source; by default the walk does.
    """
    if node.op_type in LAYOUT:
        for name in node.output:
            holders = [n for n in walk.target.dynamic(node) if n in walk.aligned]
            yield from _other_orders(walk, name, holders, node, believed or walk.continues_with)
        return
    for name in dict.fromkeys(walk.target.dynamic(node)):
        if name in walk.aligned:
            yield from _other_orders(walk, name, [name], node, believed or walk.continues_with)


def _other_orders(
    walk: Walk,
    name: str,
    holders: Sequence[str],
    node: onnx.NodeProto,
    believed: Callable[[str, Match], bool],
) -> Iterator[tuple[Divergence, Proposal]]:
    value = walk.values.get(name)
    if value is None or value.ndim < 2:
        return
    if name not in walk.target.inputs and not upstream(walk, name) and not _turned_in_source(walk, holders):
        return  # nothing turned it, and nothing ought to have
    seen: list[Array] = [value]
    for holder in holders:
        match = walk.aligned[holder][0]
        content = walk.contents.tensors[match.name]
        for way in (*arrangements(content.shape, value.shape), *_turned(content.shape)):
            laid_so = way.of(content).astype(value.dtype)
            if laid_so.ndim != value.ndim or any(np.array_equal(laid_so, one) for one in seen):
                continue
            seen.append(laid_so)
            if not believed(name, Match(match.name, way, 0.0)):
                continue
            apart, chain = walk.contents.apart(laid_so, value), tuple(upstream(walk, name))
            for repair in _repairs(walk, name, laid_so, Match(match.name, way, 0.0), node):
                yield Divergence(name, match.name, way, chain, (), apart, value), repair


def at_the_end(walk: Walk, own: str, name: str) -> Iterator[tuple[Divergence, Proposal]]:
    """Proposals where the Target's output ``own`` holds all of the Source's output ``name``, and not as the Source lays
    it out: nothing follows an output that could tell."""
    moved = any(_moved_alone(walk, match.name, name) for match in walk.aligned.get(own, ()))
    if not moved or name not in walk.contents.tensors:
        return
    content, value = walk.contents.tensors[name], walk.values[own]
    plain = Match(name, TensorLayout(tuple(range(content.ndim)), tuple(content.shape[1:])), 0.0)
    if walk.contents.fits(plain, value):
        return
    chain, apart = tuple(upstream(walk, own)), walk.contents.apart(content, value)
    node = walk.target.maker.get(own)
    for repair in () if node is None else _repairs(walk, own, content.astype(value.dtype), None, node):
        yield Divergence(own, name, plain.arrangement, chain, (), apart, value), repair


def _moved_alone(walk: Walk, held: str, name: str) -> bool:
    """Does the Source only move values about from the one tensor to the other?"""
    return held == name or name in walk.source.following([held], 0)


def at_the_turn(walk: Walk, parting: Divergence, repair: Proposal) -> Divergence:
    """The parting as that of what the repair's Transpose gives, where it sets one and the axes alone tell what that
    will hold: all that reads it is right then, and not the tensor alone at which the turn was seen."""
    order = repair.evidence.get("repaired_perm")
    turn = walk.target.nodes[walk.target.index[repair.node]]
    match = None if order is None else _set_to(walk, turn, order)
    if match is None:
        return parting
    tensor = turn.output[0]
    return replace(parting, target=tensor, source=match.name, arrangement=match.arrangement, value=walk.values[tensor])


def _set_to(walk: Walk, turn: onnx.NodeProto, order: Sequence[int]) -> Match | None:
    """What a Transpose gives with this perm, as a tensor of the Source with other axes."""
    match = walk.aligned.get(turn.input[0], [None])[0]
    if match is None or not _axes_alone(walk, match) or len(order) != len(match.arrangement.perm):
        return None
    sizes = walk.contents.tensors[match.name].shape
    perm = tuple(match.arrangement.perm[axis] for axis in order)
    return Match(match.name, TensorLayout(perm, tuple(sizes[axis] for axis in perm[1:])), 0.0)


def _axes_alone(walk: Walk, match: Match) -> bool:
    sizes = walk.contents.tensors[match.name].shape
    return tuple(sizes[axis] for axis in match.arrangement.perm[1:]) == match.arrangement.shape


def _carried(walk: Walk, turn: onnx.NodeProto, chain: Sequence[onnx.NodeProto]) -> bool:
    """Does all from the Transpose to the end of the chain lie as the Transpose gives it, and so as it will?"""
    place = next(i for i, node in enumerate(chain) if node.name == turn.name)
    matches = [walk.aligned.get(node.output[0], [None])[0] for node in chain[place:]]
    perms = {match.arrangement.perm if match and _axes_alone(walk, match) else None for match in matches}
    return len(perms) == 1 and None not in perms


def _turned_in_source(walk: Walk, holders: Sequence[str]) -> bool:
    """Does the Source turn or reshape this content, before or behind the tensors that hold it?"""
    for match in (match for holder in holders for match in walk.aligned[holder]):
        maker = walk.source.maker.get(match.name)
        near = [*walk.source.readers.get(match.name, ()), *([] if maker is None else [maker])]
        if any(node.op_type in LAYOUT for node in near):
            return True
    return False


def _turned(shape: Sequence[int]) -> Iterator[TensorLayout]:
    """Every order of the axes but the batch: turned content may have another shape than it ought to have."""
    if len(shape) <= MOST_AXES + 1:
        for order in itertools.permutations(range(1, len(shape))):
            yield TensorLayout((0, *order), tuple(shape[axis] for axis in order))


def upstream(walk: Walk, name: str) -> list[onnx.NodeProto]:
    """The nodes, in order, from the last one that turned or reshaped the content to the tensor."""
    chain: list[onnx.NodeProto] = []
    while (maker := walk.target.maker.get(name)) is not None and len(chain) < UPSTREAM:
        dynamic = walk.target.dynamic(maker)
        if len(dynamic) != 1 and maker.op_type not in ("Reshape",):
            break
        chain.insert(0, maker)
        name = dynamic[0]
    while chain and chain[0].op_type not in LAYOUT:
        chain.pop(0)
    return chain


def _repairs(walk: Walk, name: str, wanted: Array, held: Match | None, node: onnx.NodeProto) -> Iterator[Proposal]:
    """What makes the tensor hold ``wanted``; where that is ``held``, axes that lie as they ought to prove it too."""
    chain = upstream(walk, name)
    # At an output nothing but rounding is in doubt; elsewhere values that merely come close prove nothing.
    agree: Callable[[Array, Array], bool] = same if held is None else np.array_equal
    for turn in (one for one in chain if one.op_type == "Transpose"):
        perm = next((list(a.ints) for a in turn.attribute if a.name == "perm"), None)
        rank = len(perm) if perm is not None else 0
        carried = held is not None and _axes_alone(walk, held) and _carried(walk, turn, chain)
        for other in sorted(itertools.permutations(range(rank)), key=lambda p: p != tuple(range(rank))):
            if list(other) == perm or other[:1] != (0,):
                continue
            plain = other == tuple(range(rank))
            words = "Transpose taken out" if plain else f"perm of Transpose set from {perm} to {list(other)}"
            edit = SetAttributes(words, turn.name, {"perm": list(other)})
            result = outcome(walk, chain, name, [edit])
            right = result is not None and agree(wanted, result)
            meant = _set_to(walk, turn, other) if carried else None
            if right or (meant is not None and held is not None and meant.arrangement.perm == held.arrangement.perm):
                evidence = {"operator": "Transpose", "perm": perm, "repaired_perm": list(other)}
                yield Proposal("TSS", turn.name, "", (edit,), evidence)
    begins = [n for n in walk.target.dynamic(chain[0]) if n in walk.values][:1] if chain else []
    for start in (*begins, name):
        have = walk.values[start]
        ways = arrangements(have.shape, wanted.shape)
        direct = next((way for way in ways if np.array_equal(way.of(have), wanted)), None)
        if direct is None:
            continue
        added: list[onnx.NodeProto] = []
        constants: dict[str, Array] = {}
        new = laid(start, have.shape, direct, f"repair/{walk.runs}/{name}", added, constants)
        readers = None if name in walk.target.outputs else tuple(n.name for n in walk.target.readers.get(name, ()))
        words = f"{name} laid out in the Source's order (axes {list(direct.perm)} of {start})"
        direct_edit = Rewire(words, name, new, readers, added, constants)
        named = chain[-1] if chain and start != name else node
        yield Proposal("TSS", named.name, "", (direct_edit,), {"operator": named.op_type, "axes": list(direct.perm)})
        return
