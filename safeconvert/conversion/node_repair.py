"""Repair a hop that differs: feed its converter the nodes that it gets wrong in an equivalent form.

A form is accepted only where the hop then agrees with the Source, and every node that turns out not to need it keeps
its own form.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from ..converters.hop import Hop
from ..errors import WorkerFailed
from .findings import HopFinding, NodeDifference, decides
from .hop_runner import HopRunner
from .stage import ConvertedModel, Rewritten


@dataclass(frozen=True)
class RewrittenHop:
    """What a converter was fed, with these nodes rewritten, and what it made of it."""

    nodes: tuple[NodeDifference, ...]
    rewritten: Rewritten
    model: ConvertedModel


class NodeRepair:
    """Repairs hops whose converter reads ONNX. ``attempt`` runs the hop on a file and compares it with the Source."""

    def __init__(
        self,
        hop_runner: HopRunner,
        attempt: Callable[[ConvertedModel, Hop, Rewritten, str, bool], ConvertedModel | None],
        agrees: Callable[[ConvertedModel], bool],
    ) -> None:
        self.hop_runner, self._attempt, self._agrees = hop_runner, attempt, agrees
        self.model_runs = 0

    def repair(self, finding: HopFinding, *, last: bool) -> HopFinding:
        """Return the finding with ``after``, where a form of the nodes at fault makes the hop agree with the Source."""
        self.model_runs = finding.model_runs
        for form in finding.hop.forms if finding.faults else ():
            if not self.hop_runner.repair_time.allows():
                return self.with_fault_types(replace(finding, model_runs=self.model_runs))
            attempt = self._rewrite(finding, form, finding.faults, last=last)
            if attempt is not None and self._agrees(attempt.model):
                return self._minimal(finding, form, attempt, last=last)
        return self.with_fault_types(replace(finding, is_exhausted=True, model_runs=self.model_runs))

    def with_fault_types(self, finding: HopFinding) -> HopFinding:
        """Return the finding with the changes that would be made: they give the type of a fault that stays."""
        changes: list[Mapping[str, str]] = []
        for form in finding.hop.forms:
            known = {change["node"] for change in changes if decides(change)}
            left = [difference.node for difference in finding.faults if difference.node not in known]
            if not left or not self.hop_runner.repair_time.left:
                break
            with contextlib.suppress(WorkerFailed):
                rewritten = self.hop_runner.rewritten(finding.fed, form, finding.hop, left)
                changes += rewritten.changes if rewritten is not None else ()
        return replace(finding, changes=tuple(changes))

    def _rewrite(
        self, finding: HopFinding, form: str, nodes: Sequence[NodeDifference], *, last: bool
    ) -> RewrittenHop | None:
        """Feed the converter this form of these nodes; None where nothing changes or the converter fails."""
        try:
            rewritten = self.hop_runner.rewritten(finding.fed, form, finding.hop, [node.node for node in nodes])
        except WorkerFailed:
            return None
        if rewritten is None:
            return None
        self.model_runs += 1
        model = self._attempt(finding.fed, finding.hop, rewritten, form, last)
        return None if model is None else RewrittenHop(tuple(nodes), rewritten, model)

    def _minimal(self, finding: HopFinding, form: str, repaired: RewrittenHop, *, last: bool) -> HopFinding:
        """Return the finding repaired, without the nodes that agree in their own form, weakest suspicion first."""
        without: dict[str, ConvertedModel] = {}  # by node: the hop with only this one of the nodes unrepaired
        for node in reversed(finding.faults):
            fewer = [other for other in repaired.nodes if other is not node]
            if not fewer or not self.hop_runner.repair_time.allows():
                break
            attempt = self._rewrite(finding, form, fewer, last=last)
            if attempt is not None and self._agrees(attempt.model):
                repaired = attempt
            elif attempt is not None and attempt.model.mapping:
                without[node.node] = attempt.model
        return replace(
            finding,
            after=repaired.model,
            form=form,
            faults=repaired.nodes,
            changes=repaired.rewritten.changes,
            repaired_file=repaired.rewritten.path,
            alone=without if len(repaired.nodes) > 1 else {},
            model_runs=self.model_runs,
        )
