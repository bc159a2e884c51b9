"""TSS, tensor shape and structure: the right values in the wrong order, as after a Transpose too many or another one.

A tensor may hold all that it should in the wrong order, and where axes are of equal size only what is computed from it
tells. So the other orders are tried on the node at which the walk stopped. Worker side.
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
from .codes import FaultCode
from .fault_type import FaultType
from .proposal import Array, Proposal, outcome, same
from .source_nodes import add_layout_nodes

MAX_NODES_UPSTREAM = 6  # between the node that goes wrong and the one that reordered the content

IsBelieved = Callable[[str, Match], bool]


def localise(walk: Walk, node: onnx.NodeProto) -> Iterator[Divergence]:
    """Find tensors at the node that hold the right values in an order from which the walk does not go on."""
    return other_orders(walk, node, walk.continues_with)


def propose(walk: Walk, divergence: Divergence) -> Iterator[Proposal]:
    """Set the Transpose before the tensor to another order, or lay the tensor out in the Source's order."""
    if divergence.origins:  # the Source computes something here: more than the order differs
        return
    chain = list(divergence.nodes)
    for transpose in (node for node in chain if node.op_type == "Transpose"):
        yield from _other_perms(walk, divergence, transpose)
    yield from _in_source_order(walk, divergence, chain)


def other_orders(walk: Walk, node: onnx.NodeProto, is_believed: IsBelieved) -> Iterator[Divergence]:
    """Find tensors at the node that hold the right values in the wrong order.

    ``is_believed(tensor, match)`` says whether what follows the tensor agrees if it holds that tensor of the Source in
    that layout.
    """
    if node.op_type in LAYOUT:
        for name in node.output:
            holders = [n for n in walk.target.dynamic(node) if n in walk.aligned]
            yield from _other_orders(walk, name, holders, node, is_believed)
        return
    for name in dict.fromkeys(walk.target.dynamic(node)):
        if name in walk.aligned:
            yield from _other_orders(walk, name, [name], node, is_believed)


def _other_orders(
    walk: Walk, name: str, holders: Sequence[str], node: onnx.NodeProto, is_believed: IsBelieved
) -> Iterator[Divergence]:
    """``holders`` are the aligned tensors that hold the values which ``name`` may hold in the wrong order."""
    value = walk.values.get(name)
    if value is None or value.ndim < 2:
        return
    if name not in walk.target.inputs and not upstream(walk, name) and not _is_reordered_in_source(walk, holders):
        return  # nothing reordered it, and nothing should have
    tried: list[Array] = [value]
    for holder in holders:
        match = walk.aligned[holder][0]
        content = walk.contents.tensors[match.name]
        for layout in (*arrangements(content.shape, value.shape), *_all_orders(content.shape)):
            wanted = layout.of(content).astype(value.dtype)
            if wanted.ndim != value.ndim or any(np.array_equal(wanted, other) for other in tried):
                continue
            tried.append(wanted)
            if is_believed(name, Match(match.name, layout, 0.0)):
                difference, chain = walk.contents.difference(wanted, value), tuple(upstream(walk, name))
                yield Divergence(name, match.name, layout, chain, (), difference, value, node, is_confirmed=True)


def at_output(walk: Walk, tensor: str, source: str) -> Iterator[tuple[Divergence, Proposal]]:
    """Repair the Target's output ``tensor`` where it holds all of the Source's output ``source`` in another order.

    Nothing follows an output that could tell, so the repaired output itself has to equal the Source's.
    """
    is_moved = any(_is_moved_only(walk, match.name, source) for match in walk.aligned.get(tensor, ()))
    if not is_moved or source not in walk.contents.tensors:
        return
    content, value, node = walk.contents.tensors[source], walk.values[tensor], walk.target.maker.get(tensor)
    layout = TensorLayout(tuple(range(content.ndim)), tuple(content.shape[1:]))
    if node is None or walk.contents.fits(Match(source, layout, 0.0), value):
        return
    chain, difference = tuple(upstream(walk, tensor)), walk.contents.difference(content, value)
    divergence = Divergence(tensor, source, layout, chain, (), difference, value, node, is_confirmed=True)
    for proposal in propose(walk, divergence):
        result = outcome(walk, chain, tensor, proposal.edits)
        if result is not None and same(walk.wanted(divergence), result):
            yield divergence, proposal


def _is_moved_only(walk: Walk, first: str, second: str) -> bool:
    """Does the Source only move values about from the first tensor to the second?"""
    return first == second or second in walk.source.following([first], 0)


def _other_perms(walk: Walk, divergence: Divergence, transpose: onnx.NodeProto) -> Iterator[Proposal]:
    """Give the Transpose every other order of axes, none first."""
    perm = next((list(a.ints) for a in transpose.attribute if a.name == "perm"), None)
    rank = len(perm) if perm is not None else 0
    plain, wanted = tuple(range(rank)), Match(divergence.source, divergence.arrangement, 0.0)
    is_carried = _has_permuted_axes_only(walk, wanted) and _is_carried(walk, transpose, divergence.nodes)
    for order in sorted(itertools.permutations(range(rank)), key=lambda order: order != plain):
        if list(order) == perm or order[:1] != (0,):
            continue
        words = "Transpose taken out" if order == plain else f"perm of Transpose set from {perm} to {list(order)}"
        edit = SetAttributes(words, transpose.name, {"perm": list(order)})
        evidence = {"operator": "Transpose", "perm": perm, "repaired_perm": list(order)}
        repairs = _at_transpose(walk, divergence, transpose, order)
        if repairs is not None and is_carried and repairs.arrangement.perm == divergence.arrangement.perm:
            # All behind the Transpose has its order of axes, so that right axes there are right axes here.
            tested_at = replace(repairs, nodes=(transpose,))
            yield Proposal("TSS", transpose.name, "", (edit,), evidence, tested_at=tested_at, repairs=repairs)
        else:  # values that merely come close prove nothing; those before the Transpose are the Source's own
            behind = divergence.nodes[_place(divergence.nodes, transpose) :]
            tested_at = replace(divergence, nodes=behind)
            yield Proposal(
                "TSS", transpose.name, "", (edit,), evidence, is_exact=True, tested_at=tested_at, repairs=repairs
            )


def _place(chain: Sequence[onnx.NodeProto], node: onnx.NodeProto) -> int:
    return next(place for place, other in enumerate(chain) if other.name == node.name)


def _at_transpose(
    walk: Walk, divergence: Divergence, transpose: onnx.NodeProto, order: Sequence[int]
) -> Divergence | None:
    """Move the divergence to the output of the repaired Transpose, if that is a known permutation of a Source tensor.

    Then every reader of it is repaired, not only the node where the fault was seen.
    """
    match = walk.aligned.get(transpose.input[0], [None])[0]
    if match is None or not _has_permuted_axes_only(walk, match) or len(order) != len(match.arrangement.perm):
        return None
    sizes, tensor = walk.contents.tensors[match.name].shape, transpose.output[0]
    perm = tuple(match.arrangement.perm[axis] for axis in order)
    layout = TensorLayout(perm, tuple(sizes[axis] for axis in perm[1:]))
    return replace(
        divergence,
        target=tensor,
        source=match.name,
        arrangement=layout,
        value=walk.values.get(tensor),
        is_confirmed=True,
    )


def _in_source_order(walk: Walk, divergence: Divergence, chain: Sequence[onnx.NodeProto]) -> Iterator[Proposal]:
    """Lay out what the first reordering node reads, or the tensor itself, in the order that the Source has."""
    name, wanted = divergence.target, walk.wanted(divergence)
    begins = [n for n in walk.target.dynamic(chain[0]) if n in walk.values][:1] if chain else []
    for start in dict.fromkeys((*begins, name, *_before_last_moves(walk, chain))):
        value = walk.values[start]
        layouts = arrangements(value.shape, wanted.shape)
        layout = next((layout for layout in layouts if np.array_equal(layout.of(value), wanted)), None)
        if layout is None:
            continue
        added: list[onnx.NodeProto] = []
        constants: dict[str, Array] = {}
        new = add_layout_nodes(start, value.shape, layout, f"repair/{walk.runs}/{name}", added, constants)
        readers = None if name in walk.target.outputs else tuple(n.name for n in walk.target.readers.get(name, ()))
        words = f"{name} laid out in the Source's order (axes {list(layout.perm)} of {start})"
        node = chain[-1] if chain and start != name else divergence.seen_at
        assert node is not None
        evidence = {"operator": node.op_type, "axes": list(layout.perm)}
        edit = Rewire(words, name, new, readers, added, constants)
        yield Proposal("TSS", node.name, "", (edit,), evidence)
        return


def _before_last_moves(walk: Walk, chain: Sequence[onnx.NodeProto]) -> list[str]:
    """What the last computing node of the chain gives, if only nodes that move values follow it."""
    computing = [node.output[0] for node in chain[:-1] if node.op_type not in LAYOUT]
    return [name for name in computing[-1:] if name in walk.values and chain[-1].op_type in LAYOUT]


def _has_permuted_axes_only(walk: Walk, match: Match) -> bool:
    """Are the axes those of the Source's tensor in another order, none of them joined or split?"""
    sizes = walk.contents.tensors[match.name].shape
    return tuple(sizes[axis] for axis in match.arrangement.perm[1:]) == match.arrangement.shape


def _is_carried(walk: Walk, transpose: onnx.NodeProto, chain: Sequence[onnx.NodeProto]) -> bool:
    """Do all tensors from the Transpose to the end of the chain have the order of axes that it gives them?"""
    matches = [walk.aligned.get(node.output[0], [None])[0] for node in chain[_place(chain, transpose) :]]
    perms = {match.arrangement.perm if match and _has_permuted_axes_only(walk, match) else None for match in matches}
    return len(perms) == 1 and None not in perms


def _is_reordered_in_source(walk: Walk, holders: Sequence[str]) -> bool:
    """Does the Source transpose or reshape this content, before or behind the tensors that hold it?"""
    for match in (match for holder in holders for match in walk.aligned[holder]):
        maker = walk.source.maker.get(match.name)
        near = [*walk.source.readers.get(match.name, ()), *([] if maker is None else [maker])]
        if any(node.op_type in LAYOUT for node in near):
            return True
    return False


def _all_orders(shape: Sequence[int]) -> Iterator[TensorLayout]:
    """Yield every order of the axes but the batch: reordered content may have another shape than it should have."""
    if len(shape) <= MOST_AXES + 1:
        for order in itertools.permutations(range(1, len(shape))):
            yield TensorLayout((0, *order), tuple(shape[axis] for axis in order))


def upstream(walk: Walk, name: str) -> list[onnx.NodeProto]:
    """List the nodes, in order, from the last one that transposed or reshaped the content to the tensor."""
    chain: list[onnx.NodeProto] = []
    while (maker := walk.target.maker.get(name)) is not None and len(chain) < MAX_NODES_UPSTREAM:
        dynamic = walk.target.dynamic(maker)
        if len(dynamic) != 1 and maker.op_type not in ("Reshape",):
            break
        chain.insert(0, maker)
        name = dynamic[0]
    while chain and chain[0].op_type not in LAYOUT:
        chain.pop(0)
    return chain


TENSOR_STRUCTURE = FaultType(FaultCode.TSS, localise, propose)
