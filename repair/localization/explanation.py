"""The explanation of a parting that takes least: which faults make the Target's nodes give what the Source's do not.

From the mildest change to the largest: how content lies, what an input is prepared by, weights and settings of the
same nodes, a node less or some more, both together, and last all nodes of the Target in place by those of the Source.
Child side.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import onnx

from ..alignment.matching import Match
from ..alignment.walk import DEPTH, Divergence, Walk
from ..faults import computation_graph, hyperparameters, preprocessing, tensor_structure, weights
from ..faults.computation_graph import telling
from ..faults.missing_nodes import Rebuilt, one_by_one, pass_by, put_before
from ..faults.preprocessing import prepares
from ..faults.proposal import Proposal, holds
from ..graph.edits import Edit
from ..graph.runner import LAYOUT, core
from .session import LocatedFault

PASSES = 12  # of the Target, in nodes run, that the search for one fault may take
LEAST = 900  # nodes run that it may take in any Target: a small one has as many pairs of tensors to try
WAYS = 3  # layouts in which a local repair is tried
ALIEN = 0.5  # weights whose correlation with the Source's is below this are not theirs
Proposals = tuple[Proposal, ...]
Explanation = tuple[Divergence, Proposals]


def explain(walk: Walk, node: onnx.NodeProto, deadline: float) -> Explanation | None:
    """The explanation of what goes wrong at this node that takes least, and stands the test.

    One other array or setting in a node of the same kind proves itself: with the Source's own, the node gives what the
    Source gives. More of them do not, nor weights that are quite others, nor other nodes, since these explain anything:
    the walk must come back behind them.
    """
    for parting, proposal in tensor_structure.propose(walk, node):
        return tensor_structure.at_the_turn(walk, parting, proposal), (proposal,)
    for parting, proposal in preprocessing.propose(walk, node):
        return parting, (proposal,)
    for parting, proposal in weights.needless(walk, node) if not hyperparameters.temperature(walk, node) else ():
        return parting, (proposal,)
    for name in walk.target.dynamic(node):
        if (found := repair_noop_node(walk, name)) is not None:
            return found
    # The same nodes in effect, with no word from what follows: those that give as much as the Source, and others.
    second: Explanation | None = None
    third: Explanation | None = None
    enough = walk.runs + max(LEAST, PASSES * len(walk.target.nodes))
    for tensor, source in walk.pairs(node):
        if time.monotonic() > deadline or walk.runs > enough:
            break
        ways = walk.candidate_layouts(tensor, source, node)
        for way in ways[:WAYS]:
            parting = walk.parting(tensor, source, way)
            for some in tuned(walk, parting):
                if walk.runs > enough:
                    break
                if not holds(walk, parting, edits(some)):
                    continue
                if len(edits(some)) == 1 and not strange(some):
                    return parting, some
                if walk.continues(tensor, way.of(walk.contents.tensors[source]), source):
                    milder = turned(walk, parting, node, enough) if strange(some) else iter(())
                    return next(milder, (parting, some))
                second = second or (parting, some)
                break  # what comes after this one changes as much or more
        for way in ways:
            parting = walk.parting(tensor, source, way)
            if not walk.continues(tensor, way.of(walk.contents.tensors[source]), source):
                as_much = parting.value is not None and parting.value.size == walk.contents.tensors[source].size
                if (second if as_much else third) is None and like(walk, parting):
                    found = next(((parting, (one,)) for one in _replacing(walk, parting)), None)
                    second, third = (found, third) if as_much else (second, found)
                continue
            for meant, _, proposal in rebuilt(walk, parting):
                if holds(walk, parting, proposal.edits):
                    return meant, (proposal,)
            if second is not None and _right_but_one(walk, second[0], parting, node, enough):
                return second
            for explanation in composed(walk, parting, enough):
                return explanation
            for explanation in turned(walk, parting, node, enough):
                return explanation
            for proposal in _replacing(walk, parting):
                if second is not None and _effects(walk, second[0]) <= _effects(walk, parting):
                    return second
                return parting, (proposal,)
    return second or third


def repair_noop_node(walk: Walk, tensor: str) -> Explanation | None:
    """What makes the node that gives this tensor do something, where it, or its bias, does nothing."""
    maker = walk.target.maker.get(tensor)
    if (
        maker is None
        or tensor not in walk.aligned
        or not (_gives_what_it_reads(walk, maker) or weights.without_bias(walk, maker))
    ):
        return None
    # What it ought to hold is what the Source goes on to compute from what it holds.
    ahead = walk.source.following([match.name for match in walk.aligned[tensor]], DEPTH)
    with walk.forgetting(tensor):
        for own, source in walk.pairs(maker):
            for way in walk.candidate_layouts(own, source, maker)[:WAYS] if own == tensor and source in ahead else ():
                parting = walk.parting(tensor, source, way)
                for some in tuned(walk, parting):
                    proven = len(edits(some)) == 1 and not strange(some)
                    if holds(walk, parting, edits(some)) and (
                        proven or walk.continues(tensor, way.of(walk.contents.tensors[source]), source)
                    ):
                        return parting, some
    return None


def _gives_what_it_reads(walk: Walk, node: onnx.NodeProto) -> bool:
    """Does the node compute, and give what it is given? A bias of zero and a slope of 1 do that.

    Of a quantised model nobody can tell: much that little is added to is as good as the same.
    """
    if node.op_type in LAYOUT or len(node.output) != 1 or not walk.contents.is_unquantized:
        return False
    given = {match.name for name in walk.target.dynamic(node) for match in walk.aligned.get(name, ())}
    return any(match.name in given for match in walk.aligned.get(node.output[0], ()))


def edits(some: Proposals) -> list[Edit]:
    return [edit for one in some for edit in one.edits]


def strange(some: Proposals) -> bool:
    """Do the proposals give a node weights that have nothing to do with its own, or that are made up for it?"""
    tensors = [tensor for one in some for tensor in one.evidence.get("tensors", ())]
    made_up = not all(one.proven for one in some)
    return made_up or any(t["role"] == "weights" and t["correlation"] < ALIEN for t in tensors)


def like(walk: Walk, parting: Divergence) -> bool:
    """Do both sides do the same in effect, operators that only pad, scale and shift aside?"""
    ours = telling(walk.target, parting.nodes)
    return bool(ours) and ours == telling(walk.source, parting.origins)


def _effects(walk: Walk, parting: Divergence) -> int:
    return len(telling(walk.target, parting.nodes))


def _replacing(walk: Walk, parting: Divergence) -> Iterator[Proposal]:
    return (one for one in computation_graph.in_place(walk, parting) if holds(walk, parting, one.edits))


def tuned(walk: Walk, parting: Divergence) -> Iterator[Proposals]:
    """Repairs that leave the nodes what they are: weights, settings, both."""
    if like(walk, parting) or [n.op_type for n in core(parting.nodes)] == [n.op_type for n in core(parting.origins)]:
        arrays, settings = list(weights.candidates(walk, parting)), list(hyperparameters.propose(walk, parting))
        yield from weights.single(arrays)
        yield from ((one,) for one in settings)
        yield from weights.several(walk, parting, arrays)
        ours, theirs = core(parting.nodes), core(parting.origins)
        if arrays and settings and len(ours) == len(theirs) == 1 and ours[0].op_type == theirs[0].op_type:
            yield (*weights.together(arrays), settings[-1])


def rebuilt(walk: Walk, parting: Divergence) -> Iterator[Rebuilt]:
    """Repairs by a node less or some more, mildest first: the parting that it mends, what is left of this one, and the
    proposal."""
    yield from pass_by(walk, parting)
    yield from put_before(walk, parting)


def composed(walk: Walk, parting: Divergence, enough: int) -> Iterator[Explanation]:
    """A node too many, or some too few, and beside it a node of the same kind with other weights or settings."""
    steps = (*rebuilt(walk, parting), *one_by_one(walk, parting))
    for meant, left, proposal in steps:
        if proposal.evidence["operator"] == "Pad":
            continue  # a window's own setting, in another node
        for some in tuned(walk, left):
            if walk.runs > enough:
                return
            if holds(walk, parting, [*proposal.edits, *edits(some)]):
                # What several nodes lack is put before them first; what else is wrong with each is found behind it.
                yield (parting, (proposal, *some)) if meant is parting else (meant, (proposal,))


def turned(walk: Walk, parting: Divergence, node: onnx.NodeProto, enough: int) -> Iterator[Explanation]:
    """Content that lies wrong, before a node that would be wrong all the same, by one array or setting."""

    def mended(tensor: str, match: Match) -> bool:
        return _by_one(walk, tensor, match, parting, node, enough)

    for meant, proposal in tensor_structure.propose(walk, node, mended):
        yield tensor_structure.at_the_turn(walk, meant, proposal), (proposal,)


def _right_but_one(walk: Walk, first: Divergence, parting: Divergence, node: onnx.NodeProto, enough: int) -> bool:
    """Is the parting explained by that of its first nodes, and one other array or setting behind them?"""
    inner, outer = ({one.name for one in some.nodes} for some in (first, parting))
    match = Match(first.source, first.arrangement, first.apart)
    return inner < outer and _by_one(walk, first.target, match, parting, node, enough)


def _by_one(walk: Walk, tensor: str, match: Match, parting: Divergence, node: onnx.NodeProto, enough: int) -> bool:
    """If the tensor held that of the Source, would one array or setting mend the parting?"""
    with walk.supposing(tensor, match):
        for way in walk.candidate_layouts(parting.target, parting.source, node)[:WAYS]:
            left = walk.parting(parting.target, parting.source, way)
            for some in tuned(walk, left):
                if walk.runs > enough:
                    return False
                if len(edits(some)) == 1 and not strange(some) and holds(walk, left, edits(some)):
                    return True
    return False


def told(walk: Walk, parting: Divergence, proposal: Proposal) -> LocatedFault:
    """The fault that a proposal is for, with what was seen of it."""
    node = next((n for n in walk.target.nodes if n.name == proposal.node), None)
    kind = "PP" if proposal.type in ("CG", "WB", "LH") and prepares(walk, parting, proposal) else proposal.type
    evidence = {
        **proposal.evidence,
        "local_difference": parting.apart if np.isfinite(parting.apart) else None,
        "target_tensor": parting.target,
        "source_tensor": parting.source,
        "target_nodes": [n.name for n in parting.nodes],
        "source_nodes": [n.name for n in parting.origins],
    }
    tensor = node.output[0] if node is not None else parting.target
    metadata = {} if node is None else {entry.key: entry.value for entry in node.metadata_props}
    origin = next((n.output[0] for n in walk.source.nodes if n.name == proposal.origin), parting.source)
    op_type = "" if node is None else node.op_type
    return LocatedFault(
        kind,
        proposal.node,
        tensor,
        proposal.origin,
        evidence,
        proposal.edits,
        proposal.words,
        metadata,
        origin,
        op_type,
    )
