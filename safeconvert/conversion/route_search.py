"""Search the routes for a Target: run a hop, compare what it wrote with the Source, and go another way if it differs.

Each hop's result is compared with the Source on a few inputs before the next hop is run. A hop that crashes, hangs or
differs is repaired at single nodes of the ONNX graph it was fed; else its converter is fed equivalent forms of its
model; then another converter is taken, then another chain of formats. Everything tried is recorded.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..checking.evaluation_set import Sample
from ..comparison.acceptance import discrepancy_key
from ..converters.hop import Hop
from ..models.input_mapping import Mismatch, apply_mapping, map_inputs, single_input
from .attempts import AttemptRunner
from .findings import HopFinding
from .hop_runner import HopRunner
from .node_localization import NodeLocalization
from .node_repair import NodeRepair
from .routes import hops_between
from .stage import ConvertedModel

MAX_INPUTS_SHOWN = 4  # inputs that show a fault


@dataclass(frozen=True)
class Diverged:
    """A model that differs from the Source; ``rest`` are the formats still to come on its route."""

    model: ConvertedModel
    rest: tuple[str, ...]

    @property
    def distance(self) -> tuple[int, tuple[float, int, int, float]]:
        """How far it is from a right Target: by formats to come first, then by how much it differs."""
        assert self.model.comparison is not None
        return len(self.rest), discrepancy_key(self.model.comparison)


class RouteSearch:
    """Finds a Target. ``attempts`` is the report's ``route``: everything that was tried, in order."""

    def __init__(
        self,
        hop_runner: HopRunner,
        sample: Callable[[], Sample],
        *,
        after: Callable[[Hop], None],
        say: Callable[[str], None],
    ) -> None:
        self.hop_runner, self.source, self.settings = hop_runner, hop_runner.source, hop_runner.settings
        self.attempt_runner = AttemptRunner(hop_runner, sample, after=after, say=say)
        self.attempts = self.attempt_runner.attempts
        self.node_localization = NodeLocalization(hop_runner)
        self.node_repair = NodeRepair(hop_runner, self.attempt_runner.rewritten, self.attempt_runner.agrees)
        self._sample, self._say = sample, say
        self._diverged: list[Diverged] = []
        self._findings: dict[tuple[int, ...], HopFinding] = {}

    def find(self, routes: Sequence[tuple[str, ...]]) -> ConvertedModel | None:
        """Return a Target that agrees with the Source on the sample; else the nearest that runs; else None."""
        mapping = map_inputs(self.source.signature, self.hop_runner.shapes, self.source.signature)
        assert not isinstance(mapping, Mismatch)
        source = ConvertedModel(self.source, mapping)
        for route in routes:
            if self._is_possible(route) and (target := self._extend(source, route[1:])) is not None:
                return self._mark_used(target)
        for diverged in sorted(self._diverged, key=lambda diverged: diverged.distance):
            if (target := self._finish(diverged.model, diverged.rest)) is not None:
                return self._mark_used(target)
        return None

    def _is_possible(self, route: tuple[str, ...]) -> bool:
        """Can every step of the route be taken here? No hop is run for a later step that nothing can do."""
        for index, (source, target) in enumerate(itertools.pairwise(route)):
            last = index == len(route) - 2
            hops = hops_between(source, target, last=last)
            reasons = [self.attempt_runner.lacking(hop, last=last) for hop in hops]
            if all(reasons):
                for hop, reason in zip(hops, reasons, strict=True):
                    self.attempt_runner.refuse(hop, reason or "")
                return False
        return True

    def _extend(self, stage: ConvertedModel, rest: tuple[str, ...]) -> ConvertedModel | None:
        """Go on from a model that agrees with the Source to the last of these formats; None where no hop does."""
        if not rest:
            return stage
        for hop in hops_between(stage.format.name, rest[0], last=len(rest) == 1):
            model = self._first_agreeing(stage, hop, rest[1:])
            if model is not None and (target := self._extend(model, rest[1:])) is not None:
                return target
        return None

    def _first_agreeing(self, stage: ConvertedModel, hop: Hop, rest: tuple[str, ...]) -> ConvertedModel | None:
        """Run the hop on the model as it is, then repaired at single nodes, then on its forms, until it is right."""
        diverged: ConvertedModel | None = None
        for form in self._forms(hop):
            model = self.attempt_runner.take(stage, hop, form, last=not rest)
            if model is None:
                continue
            if self.attempt_runner.agrees(model):
                if diverged is not None and (finding := self._findings.get(diverged.attempts)) is not None:
                    self._findings[diverged.attempts] = finding.by_whole_form(form, model)
                return model
            self._diverged.append(Diverged(model, rest))
            diverged = diverged or model
            if not form and (repaired := self._repaired(stage, hop, model, last=not rest)) is not None:
                return repaired
        return None

    def _forms(self, hop: Hop) -> Iterator[str]:
        """Yield the forms of its model to feed the hop, in order; "" is the model as it is."""
        yield ""
        for form in hop.forms if self.settings.repair else ():
            if not self.hop_runner.repair_time.allows():
                return
            yield form

    def _repaired(
        self, stage: ConvertedModel, hop: Hop, diverged: ConvertedModel, *, last: bool
    ) -> ConvertedModel | None:
        """Return the hop repaired at single nodes of the ONNX graph it was fed; None where that does not help."""
        if hop.makes_forms or not hop.forms or not diverged.mapping or self.hop_runner.has_permuted_inputs(stage):
            return None
        if diverged.attempts not in self._findings:
            with self.hop_runner.repair_time.running():
                finding = self._finding(stage, hop, diverged, last=last)
            if finding is None:
                return None
            self._findings[diverged.attempts] = finding
        return self._findings[diverged.attempts].after

    def _finding(self, stage: ConvertedModel, hop: Hop, diverged: ConvertedModel, *, last: bool) -> HopFinding | None:
        """Locate the nodes at fault and, where that was asked for, repair them."""
        self._say(f"{hop.label} differs: looking for the nodes at fault")
        assert diverged.comparison is not None
        rows = self.rows(stage, diverged.comparison.differing)
        finding = self.node_localization.locate(stage, hop, diverged, rows)
        if finding is None:
            return None
        if self.settings.repair:
            return self.node_localization.measure_repaired(self.node_repair.repair(finding, last=last))
        return self.node_repair.with_fault_types(finding)

    def _finish(self, stage: ConvertedModel, rest: tuple[str, ...]) -> ConvertedModel | None:
        """Go on from a model that differs, so that there is a Target to look at."""
        if not rest:
            return stage
        last = len(rest) == 1
        for hop in hops_between(stage.format.name, rest[0], last=last):
            for form in self._forms(hop):
                model = self.attempt_runner.take(stage, hop, form, last=last)
                if model is not None and (target := self._finish(model, rest[1:])) is not None:
                    return target
        return None

    def _mark_used(self, target: ConvertedModel) -> ConvertedModel:
        """Mark the attempts that led to the Target."""
        for index in target.attempts:
            self.attempts[index] = replace(self.attempts[index], used=True)
        return target

    # -- what the search tells about hops that differ

    def rows(self, stage: ConvertedModel, chosen: Sequence[int]) -> list[dict[str, np.ndarray[Any, Any]]]:
        """Return a few of the chosen inputs of the sample, each alone, as the ONNX graph takes them."""
        fixed = next((spec.shape[0] for spec in stage.model.signature.inputs if spec.shape), None) or 1
        arrays = apply_mapping(stage.mapping, self._sample().arrays)
        rows = list(chosen[:MAX_INPUTS_SHOWN]) or [0]
        return [single_input(stage.model.signature.inputs, arrays, row, fixed) for row in rows]

    def findings(self, target: ConvertedModel) -> list[HopFinding]:
        """Return the findings of hops on the Target's own route; ``after`` is None where it does not use the repair."""
        findings = []
        for finding in self._findings.values():
            if finding.after is not None and self._leads_to(finding.after.attempts, target):
                findings.append(finding)
            elif self._leads_to(finding.before.attempts, target):
                findings.append(replace(finding, after=None, alone={}))
        return findings

    def _leads_to(self, attempts: tuple[int, ...], target: ConvertedModel) -> bool:
        """Did the Target come by these attempts, or the same way but for the form that the last was fed?"""
        first_attempts = target.attempts[: len(attempts)]
        if first_attempts == attempts or len(first_attempts) < len(attempts) or first_attempts[:-1] != attempts[:-1]:
            return first_attempts == attempts
        last_own, last = self.attempts[first_attempts[-1]], self.attempts[attempts[-1]]
        return (last_own.hop, last_own.converter) == (last.hop, last.converter)

    def diverged_at_source(self, target: ConvertedModel) -> ConvertedModel | None:
        """Return what the first converter that differed made of a torch, Keras or TensorFlow Source as it is.

        None where the Target itself came that way, or where the Source is an ONNX file, whose hops are repaired.
        """
        for diverged in self._diverged:
            attempts = diverged.model.attempts
            if len(attempts) == 1 and not self.attempts[attempts[0]].form and not self.source.format.is_view:
                return None if target.attempts[:1] == attempts else diverged.model
        return None

    @property
    def reasons_repair_ended(self) -> tuple[str, ...]:
        """Why repair was not tried to its end, in words."""
        if not self.settings.repair:
            return ("repair was turned off (--no-repair)",)
        return (self.hop_runner.repair_time.cut,) if self.hop_runner.repair_time.cut else ()
