"""Explain a divergence by the smallest change: which faults make the Target's nodes compute what the Source's do not.

The fault types are asked in the order of their list, mildest first (``faults/fault_types``). They only propose; here
alone a proposal is tried and taken. Worker side.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import onnx

from ..alignment.matching import Match
from ..alignment.tensor_pairs import candidate_layouts, paired_tensors
from ..alignment.walk import Divergence, Walk
from ..faults import tensor_structure, weights
from ..faults.computation_graph import first_replacements
from ..faults.fault_types import FAULT_TYPES
from ..faults.operators import effective_operators, has_same_effect
from ..faults.preprocessing import is_before_layers
from ..faults.proposal import Proposal, holds
from ..graph.runner import computing_nodes
from .session import LocatedFault

MAX_PASSES = 12  # of the Target, in nodes run, that the search for one fault may take
MIN_NODES_RUN = 900  # that it may take in any Target: a small one has as many pairs of tensors to try
MAX_LAYOUTS = 3  # of one pair of tensors, in which other arrays and settings are tried
UNRELATED = 0.5  # correlation with the Source's weights below which weights have nothing to do with them

Explanation = tuple[Divergence, tuple[Proposal, ...]]
"""What the Target should hold, and the repairs that together make it hold that: a fault each."""


def explain(walk: Walk, node: onnx.NodeProto, deadline: float) -> Explanation | None:
    """Find the smallest change that explains what goes wrong at this node, and that stands the test.

    First each fault type is asked for places at the node that only it explains. Then all types are asked at pairs of
    tensors, likeliest first. Returns None where nothing was found before ``deadline`` (``time.monotonic()``).
    """
    search = _Search(walk, node, deadline, walk.runs + max(MIN_NODES_RUN, MAX_PASSES * len(walk.target.nodes)))
    return search.at_own_places() or search.at_pairs()


@dataclass
class _Search:
    """The search for the explanation at one node. ``most_runs`` is the count of nodes run at which it ends."""

    walk: Walk
    node: onnx.NodeProto
    deadline: float
    most_runs: int
    fallbacks: dict[str, Explanation] = field(default_factory=dict)
    """What makes the nodes agree though nothing behind confirms it: ``likely``, and ``unlikely`` (of another size)."""

    def at_own_places(self) -> Explanation | None:
        """Ask each fault type for the divergences that only it explains."""
        for fault_type in FAULT_TYPES:
            for divergence in fault_type.localise(self.walk, self.node):
                for proposal in fault_type.propose(self.walk, divergence):
                    explanation = self.accept(divergence, proposal)
                    if explanation and (proves_itself(proposal) or self.is_confirmed(divergence)):
                        return explanation
        return None

    def at_pairs(self) -> Explanation | None:
        """Ask all fault types at each pair of tensors that may be one: first those that keep the operators."""
        for tensor, source in paired_tensors(self.walk, self.node):
            if time.monotonic() > self.deadline or self.is_spent():
                break
            layouts = candidate_layouts(self.walk, tensor, source, self.node)
            divergences = [self.walk.diverging(tensor, source, layout) for layout in layouts]
            explanation = self.adjusted(divergences[:MAX_LAYOUTS]) or self.rebuilt(divergences)
            if explanation is not None:
                return explanation
        return self.fallbacks.get("likely") or self.fallbacks.get("unlikely")

    def accept(self, divergence: Divergence, proposal: Proposal) -> Explanation | None:
        """Take the proposal if the nodes, so changed, compute what the Source computes: the one place that decides."""
        if not holds(self.walk, divergence, proposal):
            return None
        return proposal.repairs or divergence, proposal.all

    def adjusted(self, divergences: Sequence[Divergence]) -> Explanation | None:
        """Explain one of the divergences by other arrays or settings of the same operators.

        One array or setting proves itself: with the Source's own, the node gives what the Source gives. More of them do
        not, nor do unrelated weights, since these explain anything: what follows has to agree too.
        """
        for divergence in divergences:
            for proposal in adjustments(self.walk, divergence):
                if self.is_spent():
                    break
                explanation = self.accept(divergence, proposal)
                if explanation is None:
                    continue
                if proves_itself(proposal):
                    return explanation
                if self.is_confirmed(divergence):
                    milder = self.reordered(divergence) if is_made_up(proposal) else iter(())
                    return next(milder, explanation)
                self.fallbacks.setdefault("likely", explanation)
                break  # what comes after this one changes as much or more
        return None

    def rebuilt(self, divergences: Sequence[Divergence]) -> Explanation | None:
        """Explain one of the divergences by other operators: believed only where what follows then agrees."""
        for divergence in divergences:
            if not self.is_confirmed(divergence):
                self.keep_replacement(divergence)
                continue
            proposals = list(rebuildings(self.walk, divergence))
            candidates = (self.accept(divergence, proposal) for proposal in proposals if proposal.leaves is not None)
            explanation = next((candidate for candidate in candidates if candidate), None) or self.combined(divergence)
            if explanation is not None:
                return explanation
            for proposal in proposals:
                if proposal.leaves is None and (explanation := self.accept(divergence, proposal)) is not None:
                    return self.as_small_fallback(divergence) or explanation
        return None

    def combined(self, divergence: Divergence) -> Explanation | None:
        """Explain the divergence by two faults, one of which keeps the operators."""
        likely = self.fallbacks.get("likely")
        if likely is not None and self.is_right_but_one(likely[0], divergence):
            return likely
        for proposal in combinations(self.walk, divergence):
            if self.is_spent():
                break
            if (explanation := self.accept(divergence, proposal)) is not None:
                # What several nodes lack is put before them first; what else is wrong with each is found behind it.
                return explanation if proposal.repairs is None else (explanation[0], explanation[1][:1])
        return next(self.reordered(divergence), None)

    def keep_replacement(self, divergence: Divergence) -> None:
        """Keep other operators of the same effect, for the case that nothing better is found."""
        wanted = self.walk.contents.tensors[divergence.source]
        is_same_size = divergence.value is not None and divergence.value.size == wanted.size
        kind = "likely" if is_same_size else "unlikely"
        if kind in self.fallbacks or not has_same_effect(self.walk, divergence):
            return
        for proposal in rebuildings(self.walk, divergence):
            if proposal.leaves is None and (explanation := self.accept(divergence, proposal)) is not None:
                self.fallbacks[kind] = explanation
                return

    def as_small_fallback(self, divergence: Divergence) -> Explanation | None:
        """Return the likely fallback, if it changes no more operators than lie in the divergence."""
        likely = self.fallbacks.get("likely")
        if likely is None:
            return None
        counts = [len(effective_operators(self.walk.target, candidate.nodes)) for candidate in (likely[0], divergence)]
        return likely if counts[0] <= counts[1] else None

    def reordered(self, divergence: Divergence) -> Iterator[Explanation]:
        """Explain by values in the wrong order before a node that has one wrong array or setting besides."""

        def is_believed(tensor: str, match: Match) -> bool:
            return self.is_right_by_one(tensor, match, divergence)

        for before in tensor_structure.other_orders(self.walk, self.node, is_believed):
            for proposal in tensor_structure.propose(self.walk, before):
                if (explanation := self.accept(before, proposal)) is not None:
                    yield explanation

    def is_right_but_one(self, first: Divergence, divergence: Divergence) -> bool:
        """Is the divergence explained by that of its first nodes, and one other array or setting behind them?"""
        inner, outer = ({node.name for node in candidate.nodes} for candidate in (first, divergence))
        match = Match(first.source, first.arrangement, first.difference)
        return inner < outer and self.is_right_by_one(first.target, match, divergence)

    def is_right_by_one(self, tensor: str, match: Match, divergence: Divergence) -> bool:
        """If the tensor held that of the Source, would one array or setting repair the divergence?"""
        walk, target, source = self.walk, divergence.target, divergence.source
        with walk.supposing(tensor, match):
            for layout in candidate_layouts(walk, target, source, self.node)[:MAX_LAYOUTS]:
                left = walk.diverging(target, source, layout)
                for proposal in adjustments(walk, left):
                    if self.is_spent():
                        return False
                    if proves_itself(proposal) and self.accept(left, proposal) is not None:
                        return True
        return False

    def is_confirmed(self, divergence: Divergence) -> bool:
        """Does what follows agree with the Source once the tensor holds what it should?"""
        wanted = divergence.arrangement.of(self.walk.contents.tensors[divergence.source])
        return divergence.is_confirmed or self.walk.continues(divergence.target, wanted, divergence.source)

    def is_spent(self) -> bool:
        return self.walk.runs > self.most_runs


def adjustments(walk: Walk, divergence: Divergence) -> Iterator[Proposal]:
    """Yield the proposals that keep the operators: single changes, then several arrays, then arrays and settings."""
    proposals: list[Proposal] = []
    last: dict[str, Proposal] = {}
    for fault_type in FAULT_TYPES:
        for proposal in fault_type.propose(walk, divergence) if fault_type.keeps_operators else ():
            last[proposal.type] = proposal
            if proposal.takes_several:
                proposals.append(proposal)
            else:
                yield proposal
    yield from proposals
    kinds = [[node.op_type for node in computing_nodes(chain)] for chain in (divergence.nodes, divergence.origins)]
    is_one_node = kinds[0] == kinds[1] and len(kinds[0]) == 1
    if is_one_node and "LH" in last and (arrays := weights.all_at_once(walk, divergence)) is not None:
        yield replace(arrays, also=(*arrays.also, last["LH"]))


def rebuildings(walk: Walk, divergence: Divergence) -> Iterator[Proposal]:
    """Yield the proposals that exchange operators."""
    for fault_type in FAULT_TYPES:
        if not fault_type.keeps_operators:
            yield from fault_type.propose(walk, divergence)


def combinations(walk: Walk, divergence: Divergence) -> Iterator[Proposal]:
    """Yield changes of operators, each with another array or setting in what they leave of the divergence."""
    partial = (proposal for proposal in rebuildings(walk, divergence) if proposal.leaves is not None)
    for proposal in (*partial, *first_replacements(walk, divergence)):
        if proposal.leaves is None or proposal.evidence["operator"] == "Pad":
            continue  # a Pad is a window's own setting, in another node
        for adjustment in adjustments(walk, proposal.leaves):
            yield replace(proposal, also=adjustment.all)


def proves_itself(proposal: Proposal) -> bool:
    """Is it one change, to an array or setting of the Source, that agreement at the node alone confirms?"""
    return len(proposal.all_edits) == 1 and not is_made_up(proposal)


def is_made_up(proposal: Proposal) -> bool:
    """Does it give a node weights that have nothing to do with its own, or that were computed to fit?"""
    tensors = [tensor for each in proposal.all for tensor in each.evidence.get("tensors", ())]
    is_unrelated = any(t["role"] == "weights" and t["correlation"] < UNRELATED for t in tensors)
    return is_unrelated or any(each.is_fitted for each in proposal.all)


def located_fault(walk: Walk, divergence: Divergence, proposal: Proposal) -> LocatedFault:
    """Describe the fault that a proposal repairs, with what was seen of it."""
    node = next((n for n in walk.target.nodes if n.name == proposal.target_node), None)
    is_preprocessing = proposal.type in ("CG", "WB", "LH") and is_before_layers(walk, proposal)
    evidence = {
        **proposal.evidence,
        "local_difference": divergence.difference if np.isfinite(divergence.difference) else None,
        "target_tensor": divergence.target,
        "source_tensor": divergence.source,
        "target_nodes": [n.name for n in divergence.nodes],
        "source_nodes": [n.name for n in divergence.origins],
    }
    source_tensors = (n.output[0] for n in walk.source.nodes if n.name == proposal.source_node)
    return LocatedFault(
        "PP" if is_preprocessing else proposal.type,
        proposal.target_node,
        divergence.target if node is None else node.output[0],
        proposal.source_node,
        evidence,
        proposal.edits,
        proposal.words,
        {} if node is None else {entry.key: entry.value for entry in node.metadata_props},
        next(source_tensors, divergence.source),
        "" if node is None else node.op_type,
    )
