"""Findings about hops that differ, and what the report says of them: faults, refusals, the ranking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..checking.tvm_check import RuntimeComparison
from ..checking.verdict import Judgement
from ..converters.hop import Hop
from ..records import Diagnosis, LayerError, Localisation, Refusal, Verdict
from ..repair.graph.neighbour import Neighbour
from .stage import ConvertedModel

Array = np.ndarray[Any, Any]
MAX_LAYERS_SHOWN = 400  # of the errors along the network
MAX_RANKED = 20  # entries of the ranking that the report shows
PREPARATIONS = ("constant-rank", "explicit-attributes")  # rewrites that other rewrites of the same node build on


@dataclass(frozen=True)
class NodeDifference:
    """The difference of one node that was replayed: ``score`` is in units of the tolerance, above 1 a fault.

    ``max_abs`` is the largest absolute difference, None where there is no number. ``failed`` holds the converter's
    message where it does not convert the node alone. ``index`` is the node's position in the graph. ``attached`` are
    nodes before it, of integers and booleans, that were converted and run with it.
    """

    node: str
    operator: str
    score: float
    max_abs: float | None
    source_shape: tuple[int, ...]
    target_shape: tuple[int, ...] | None
    failed: str = ""
    index: int = 0
    attached: tuple[str, ...] = ()

    def evidence(self) -> dict[str, Any]:
        return {
            "operator": self.operator,
            "local_max_abs": self.max_abs,
            "local_difference_in_tolerances": self.score if np.isfinite(self.score) else None,
            "source_shape": list(self.source_shape),
            "target_shape": None if self.target_shape is None else list(self.target_shape),
            "converter_says": self.failed,
        }


@dataclass(frozen=True)
class Replayed:
    """A hop whose nodes were converted alone.

    ``fed`` is the ONNX model that the converter read, ``rows`` are inputs that show what it does, ``shapes`` those of
    the graph's tensors for one input.
    """

    hop: Hop
    fed: ConvertedModel
    rows: tuple[dict[str, Array], ...]
    shapes: Mapping[str, list[int]]


@dataclass(frozen=True)
class Crash(Replayed):
    """A converter that crashed on a graph: ``nodes`` are those that it fails to convert alone too.

    ``attempt`` is its number in the report's ``route``.
    """

    attempt: int
    nodes: tuple[NodeDifference, ...]


@dataclass(frozen=True)
class HopFinding(Replayed):
    """A hop that differs: the nodes at fault, and the hop repaired, if it could be.

    ``before`` is what the converter gave for the graph as it is, ``after`` what it gives for an
    equivalent ``form`` (None: unrepaired). ``faults`` are the nodes that had to change; of an unrepaired hop, those
    whose own output differs. ``changes`` is what was rewritten; of an unrepaired hop, what would have been.
    ``alone``: of several faults, what the hop gives where this one is left as it is and the others are repaired.
    ``is_whole_form``: only a form of the whole graph helped. ``is_exhausted``: every form of the nodes was tried.
    ``engine`` computed the activations that the nodes were replayed on; where that was not onnxruntime alone,
    ``comparison`` is of the two, and ``refused`` are nodes that differ only as the two do.
    ``neighbours``: the nodes around each one at fault, by its name. ``repaired_file`` is the ONNX file with the
    repaired nodes, and ``scores_after`` their differences in it, by the name of the node that they stand for.
    """

    before: ConvertedModel
    ranking: tuple[NodeDifference, ...]
    faults: tuple[NodeDifference, ...]
    model_runs: int
    after: ConvertedModel | None = None
    form: str = ""
    changes: tuple[Mapping[str, str], ...] = ()
    alone: Mapping[str, ConvertedModel] = field(default_factory=dict)
    is_whole_form: bool = False
    is_exhausted: bool = False
    engine: str = "onnxruntime"
    comparison: RuntimeComparison | None = None
    refused: tuple[Refusal, ...] = ()
    neighbours: Mapping[str, Sequence[Neighbour]] = field(default_factory=dict)
    repaired_file: Path | None = None
    scores_after: Mapping[str, float] = field(default_factory=dict)

    def by_whole_form(self, form: str, after: ConvertedModel) -> HopFinding:
        """Return the finding of a hop that only a form of the whole graph repaired."""
        return replace(self, form=form, after=after, is_whole_form=True)

    def graph_around(self, local: NodeDifference) -> list[dict[str, Any]]:
        """Return the neighbours of a node as the report has them: Source beside Target, in the network's order."""
        return [
            {
                "position": near.position,
                "source": f"{near.operator} {near.node}",
                "target": self.hop.layer_name(near.node, near.index),
            }
            for near in self.neighbours.get(local.node, ())
        ]

    def changed(self, node: str) -> list[Mapping[str, str]]:
        """Return what was rewritten at this node."""
        return [c for c in self.changes if c["node"] == node] or [c for c in self.changes if not c["node"]]

    def target_node(self, local: NodeDifference) -> str:
        """Return the unrepaired Target's name of the layer made from the node."""
        return self.hop.layer_name(local.node, local.index)

    def type_of(self, local: NodeDifference) -> str:
        """Return the fault type of what was rewritten; where nothing can be, of what was seen."""
        changes = self.changed(local.node)
        if changes:
            return min(changes, key=_precedence)["fault_type"]
        if local.target_shape not in (None, local.source_shape):
            return "TSS"
        return "CG" if local.failed else "LH"

    def repair_of(self, local: NodeDifference) -> str:
        """Say how the node was repaired, or why it was not."""
        rewrites = ", ".join(dict.fromkeys(change["rewrite"] for change in self.changed(local.node)))
        if self.after is None:
            if self.is_exhausted:
                return f"none: no other form of it helped {self.hop.converter}"
            return "none: not tried to the end"
        if self.is_whole_form:
            return f"{self.hop.converter} was fed the whole graph in its {self.form} form"
        return f"{self.hop.converter} was fed this {local.operator} in another form: {rewrites}"


def _precedence(change: Mapping[str, str]) -> int:
    """Sort the rewrites of a node: those that only prepare it for others tell least of what was wrong with it."""
    return 1 + PREPARATIONS.index(change["rewrite"]) if change["rewrite"] in PREPARATIONS else 0


def decides(change: Mapping[str, str]) -> bool:
    """Does the rewrite give the fault its type? One that only writes defaults explicitly does not."""
    return change["rewrite"] != "explicit-attributes"


def diagnose(
    findings: Sequence[HopFinding],
    judgement: Judgement,
    alone: Mapping[tuple[str, str], float | None],
) -> list[Diagnosis]:
    """Return an entry for each node at fault; none for unrepaired ones where the check found no difference.

    ``alone``: by hop and node, the discrepancy with this one of several faults unrepaired. Where there is none, the
    fault's percentage before is the one before all repairs.
    """
    verified = judgement.verdict in (Verdict.VERIFIED, Verdict.REPAIRED)
    some_left = any(finding.after is None for finding in findings)
    percent = None if judgement.compared is None else judgement.compared[0].percent
    joint = percent if judgement.before is None else judgement.before[0].percent
    entries = []
    for finding in findings:
        if verified and finding.after is None:
            continue
        # Not repaired: a hop that agrees as far as its sample shows, and a Target that differs all the same.
        is_changed = finding.after is not None
        for local in finding.faults:
            entries.append(
                Diagnosis(
                    type=finding.type_of(local),
                    hop=finding.hop.label,
                    source_node=local.node,
                    target_node=finding.target_node(local),
                    evidence={**local.evidence(), "neighbours": finding.graph_around(local)},
                    repair=finding.repair_of(local),
                    percent_before=alone.get((finding.hop.label, local.node), joint) if is_changed else percent,
                    is_repaired=is_changed and (verified or some_left),
                )
            )
    return entries


def refusals(findings: Sequence[HopFinding], judgement: Judgement) -> list[Refusal]:
    """Return nodes that differ and are no faults.

    Those are nodes that differ as two runtimes do; and, in a Target that agrees on all inputs of the check, nodes that
    differ on a probe and were left.
    """
    refused = [refusal for finding in findings for refusal in finding.refused]
    if judgement.verdict not in (Verdict.VERIFIED, Verdict.REPAIRED):
        return refused
    reason = "its own output differs, on synthetic probes at least; the Target's does not on any input of the check"
    return refused + [
        Refusal(finding.type_of(local), finding.target_node(local), reason)
        for finding in findings
        if finding.after is None
        for local in finding.faults
    ]


def localisation(findings: Sequence[HopFinding]) -> Localisation | None:
    """Return how the faults were found; a score is the local difference in units of the tolerance.

    The engine is onnxruntime where another gave the activations of some hops only.
    """
    if not findings:
        return None
    ranking = tuple(
        (local.node, finding.target_node(local), local.score)
        for finding in findings
        for local in finding.ranking[:MAX_RANKED]
    )
    engines = {finding.engine for finding in findings}
    engine = engines.pop() if len(engines) == 1 else "onnxruntime"
    model_runs = sum(finding.model_runs for finding in findings)
    return Localisation("replay", engine, model_runs, ranking, _layers(findings))


def _layers(findings: Sequence[HopFinding]) -> tuple[LayerError, ...]:
    """Return the error of each node along the graph of the last hop that differs; the first ``MAX_LAYERS_SHOWN``."""
    finding = findings[-1]
    nodes = sorted(finding.ranking, key=lambda node: node.index)[:MAX_LAYERS_SHOWN]
    after = finding.scores_after
    return tuple(
        LayerError(node.node, node.operator, node.score, after.get(node.node, node.score) if after else None)
        for node in nodes
    )
