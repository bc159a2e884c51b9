"""Walk the Target node by node on the Source's own activations, and find where the two diverge.

Wherever a tensor of the Target holds what some tensor of the Source holds, it is *aligned* with it, and what reads it
gets the Source's values: differences do not add up, and a node behind a faulty one is not blamed for it. Where the
Target computes something in other steps than the Source, the tensors in between are aligned with nothing, and the next
aligned one shows that all is well. A fault is where no aligned tensor follows: there the walk proposes which tensor
of the Target should hold which of the Source, gives it these values, and believes it if what follows then
agrees again. Worker side.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx

from ...runtimes.tensor_layout import TensorLayout
from ..graph.runner import LAYOUT, GraphRunner
from .matching import Contents, Match

Array = np.ndarray[Any, Any]
DEPTH = 8  # computing nodes that a fault may span on either side
MAX_NODES_AHEAD = 10  # run behind a proposed tensor to see whether the two agree again
MAX_NODES_FOLLOWED = 12  # of the Source, among whose tensors agreement is looked for


@dataclass(frozen=True)
class Divergence:
    """Where the Target leaves the Source: ``target`` should hold what the Source's tensor ``source`` holds.

    ``arrangement`` is the layout in which it should hold it. ``nodes`` compute ``target`` from aligned tensors;
    ``origins`` compute ``source`` in the Source from the same contents. ``difference`` is the local difference (see
    ``matching``), ``value`` what the Target's nodes compute instead (None: they do not run). ``seen_at`` is the node at
    which the walk stopped, ``target`` lying before, at or behind it. ``is_confirmed``: what follows ``target`` is known
    to agree with the Source once it holds that.
    """

    target: str
    source: str
    arrangement: TensorLayout
    nodes: tuple[onnx.NodeProto, ...]
    origins: tuple[onnx.NodeProto, ...]
    difference: float
    value: Array | None = field(repr=False, default=None)
    seen_at: onnx.NodeProto | None = field(repr=False, default=None)
    is_confirmed: bool = False


class Walk:
    """The walk of one Target along one Source, on the same inputs (batch first, same number of rows)."""

    def __init__(
        self,
        target: GraphRunner,
        source: GraphRunner,
        contents: Contents,
        target_inputs: Mapping[str, Array],
        order: Sequence[str],
    ) -> None:
        """``order`` are the Source's outputs in the Target's order."""
        self.target, self.source, self.contents = target, source, contents
        self.order = list(order)
        self.values: dict[str, Array] = dict(target_inputs)
        self.aligned: dict[str, list[Match]] = {}
        self.failed: dict[str, str] = {}
        self.runs = 0  # nodes run
        for name, array in target_inputs.items():
            if matches := contents.find(array):
                self.align(name, matches)
        self.proceed(target.nodes)

    # -- running

    def align(self, tensor: str, matches: list[Match]) -> None:
        """Take the tensor as what the first of these matches is, and give it the Source's values."""
        self.aligned[tensor] = matches
        best = matches[0]
        value = best.arrangement.of(self.contents.tensors[best.name])
        have = self.values.get(tensor)
        self.values[tensor] = value if have is None else value.astype(have.dtype)

    def step(self, node: onnx.NodeProto, values: Mapping[str, Array]) -> dict[str, Array]:
        """Run the node, and return its outputs by name; nothing where it cannot be run on these values."""
        if any(name not in values and name not in self.target.constants for name in self.target.read(node)):
            return {}
        self.runs += 1
        try:
            results = self.target.run(node, values)
        except Exception as error:  # noqa: BLE001 - whatever the runtime raises means that the node does not run
            self.failed[node.name] = str(error).strip().splitlines()[-1][:300]
            return {}
        outputs = zip([name for name in node.output if name], results, strict=True)
        return {name: value for name, value in outputs if isinstance(value, np.ndarray)}

    def proceed(self, nodes: Sequence[onnx.NodeProto]) -> None:
        """Run these nodes, in order, and align what they give."""
        for node in nodes:
            for name in node.output:
                self.values.pop(name, None)
                self.aligned.pop(name, None)
            for name, value in self.step(node, self.values).items():
                self.values[name] = value
                if matches := self.contents.find(value):
                    self.align(name, matches)

    def again(self, changed: Sequence[str]) -> None:
        """Run again what depends on these tensors, as far as it is not aligned."""
        dirty = set(changed)
        for node in self.target.nodes:
            if dirty.isdisjoint(self.target.read(node)) or all(o in self.aligned for o in node.output if o):
                continue
            before = {name: self.values.get(name) for name in node.output if name}
            self.proceed([node])
            dirty.update(name for name, value in before.items() if value is None or value is not self.values.get(name))

    # -- where it stands

    def unresolved(self) -> set[str]:
        """Find the tensors that hold nothing of the Source and lead to nothing that does."""
        unresolved: set[str] = set()
        for node in reversed(self.target.nodes):
            for name in node.output:
                if not name or name in self.aligned:
                    continue
                readers = self.target.readers.get(name, ())
                leads = [out for reader in readers for out in reader.output if out]
                if name in self.target.outputs or any(out in unresolved for out in leads):
                    unresolved.add(name)
        return unresolved

    def frontier(self) -> list[onnx.NodeProto]:
        """Find the nodes at which the two diverge: all that they read is right, and what they give is not."""
        unresolved = self.unresolved()
        return [
            node
            for node in self.target.nodes
            if not unresolved.isdisjoint(node.output) and unresolved.isdisjoint(self.target.read(node))
        ]

    def complete(self) -> bool:
        """Is each output of the Source somewhere in the Target, as the Source lays it out?"""
        plain = {m.name for matches in self.aligned.values() for m in matches if m.arrangement.plain}
        return plain.issuperset(self.order)

    def aligned_sources(self) -> set[str]:
        """Name the Source's tensors that something of the Target is aligned with."""
        return {match.name for matches in self.aligned.values() for match in matches}

    def bases(self, nodes: Sequence[onnx.NodeProto]) -> set[str]:
        """Name the Source's tensors whose contents these nodes read from outside."""
        computed = {name for node in nodes for name in node.output}
        pending = [name for node in nodes for name in self.target.dynamic(node) if name not in computed]
        bases: set[str] = set()
        while pending:  # what a tensor that is not aligned was computed from counts too
            name = pending.pop()
            if name in self.aligned:
                bases.update(match.name for match in self.aligned[name])
            elif (maker := self.target.maker.get(name)) is not None:
                pending += self.target.dynamic(maker)
        return bases

    # -- what agrees with a proposal

    def continues(self, tensor: str, value: Array, source: str) -> bool:
        """With this value in the tensor, which so far is right nowhere, does what follows agree with the Source?"""
        if tensor in self.target.outputs and not self.target.readers.get(tensor):
            return source == self.order[self.target.outputs.index(tensor)]
        return self.continues_from(tensor, value, source)

    def continues_with(self, tensor: str, match: Match) -> bool:
        """Does what follows agree if the tensor holds that tensor of the Source in that layout?"""
        content = match.arrangement.of(self.contents.tensors[match.name])
        have = self.values.get(tensor)
        return self.continues_from(tensor, content if have is None else content.astype(have.dtype), match.name)

    @contextmanager
    def supposing(self, tensor: str, match: Match) -> Iterator[None]:
        """Take the tensor as aligned with that of the Source for a while, and run nothing behind it again."""
        values, aligned = dict(self.values), dict(self.aligned)  # in their order, which later repairs go by
        self.align(tensor, [match])
        try:
            yield
        finally:
            self.values, self.aligned = values, aligned

    @contextmanager
    def forgetting(self, tensor: str) -> Iterator[None]:
        """Take the tensor as aligned with nothing for a while."""
        aligned = dict(self.aligned)
        del self.aligned[tensor]
        try:
            yield
        finally:
            self.aligned = aligned

    def continues_from(self, tensor: str, value: Array, source: str) -> bool:
        """With this value in the tensor, does what follows give what the Source computes from ``source``?

        A node with weights, or one that joins two tensors, has to: an activation of the same content proves nothing.
        Only where no such node follows are the others believed.
        """
        ahead = set(self.source.following([source], MAX_NODES_FOLLOWED)) - self.aligned_sources() - {source}
        values = {**self.values, tensor: value}
        fresh, steps = {tensor}, 0
        agreed = tested = False
        for node in self.target.nodes:
            if steps >= MAX_NODES_AHEAD:
                break
            reads = self.target.read(node)
            if fresh.isdisjoint(reads):
                continue
            is_telling = self._is_telling(node)
            results = self.step(node, values)
            # Sizes computed on the way count nothing: some exporters compute many.
            steps += node.op_type not in LAYOUT and any(result.dtype.kind == "f" for result in results.values())
            for name, result in results.items():
                is_new = node.op_type not in LAYOUT and name not in self.aligned
                if is_new and any(match.name in ahead for match in self.contents.find(result)):
                    if is_telling:
                        return True
                    agreed = True
                values[name] = result
                fresh.add(name)
            tested |= is_telling
        return agreed and not tested

    def _is_telling(self, node: onnx.NodeProto) -> bool:
        """Does the node's output say more than its one input does?"""
        constants = [self.target.constants[name] for name in node.input if name in self.target.constants]
        is_weighted = any(array.dtype.kind == "f" and array.size > 1 for array in constants)
        return node.op_type not in LAYOUT and (is_weighted or len(self.target.dynamic(node)) > 1)

    def wanted(self, divergence: Divergence) -> Array:
        """What the divergence's tensor should hold, in its layout and in the dtype that it has in the Target."""
        content = divergence.arrangement.of(self.contents.tensors[divergence.source])
        return content if divergence.value is None else content.astype(divergence.value.dtype, copy=False)

    def diverging(self, tensor: str, source: str, arrangement: TensorLayout) -> Divergence:
        """The divergence at that pair of tensors, with the nodes on both sides that lead from agreement to it."""
        nodes = self.target.between(tensor, self.aligned)
        origins = self.source.between(source, self._known(nodes))
        value = self.values.get(tensor)
        content = arrangement.of(self.contents.tensors[source])
        difference = float("inf") if value is None else self.contents.difference(content, value)
        return Divergence(tensor, source, arrangement, tuple(nodes), tuple(origins), difference, value)

    def _known(self, nodes: Sequence[onnx.NodeProto]) -> set[str]:
        return self.aligned_sources() | self.bases(nodes)

    def patch(self, divergence: Divergence, *, afresh: bool = False) -> None:
        """Give the tensor what it should hold, and go on from there.

        Where it held something of the Source in another order, so may all behind it: ``afresh`` runs that again too.
        """
        tensor = divergence.target
        if afresh and tensor in self.aligned:
            for name in self.target.following([tensor], len(self.target.nodes)):
                self.values.pop(name, None)
                self.aligned.pop(name, None)
        self.values.pop(tensor, None)
        self.align(tensor, [Match(divergence.source, divergence.arrangement, divergence.difference)])
        self.again([tensor])
