"""Walk the routes: run a hop, look at once whether it told the truth, and take the next way where it did not.

Each hop's result is compared with the Source on a few inputs before the next hop is run. A hop that
crashes, hangs or differs is followed by another converter, then by the same converter fed an equivalent
form of its ONNX file, then by another chain of formats. Everything tried is recorded.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..checking.evaluation_set import Sample
from ..comparison.acceptance import discrepancy_key
from ..converters.hop import Hop
from ..models.input_mapping import InputMapping, Mismatch, apply_mapping, map_inputs, single_input
from ..models.loaded import LoadedModel
from ..workers.pool import WorkerPool
from .attempts import AttemptRunner
from .findings import HopFinding
from .hop_runner import HopRunner
from .node_repair import NodeRepair
from .routes import hops_between
from .stage import ConversionOptions, ConvertedModel

SHOWN = 4  # inputs that show a fault, at most


def _how_far(diverged: tuple[ConvertedModel, tuple[str, ...]]) -> tuple[int, tuple[float, int, int, float]]:
    """The order of the stages that differ: nearest to the Target format first, then by how much they differ."""
    stage, rest = diverged
    assert stage.comparison is not None
    return len(rest), discrepancy_key(stage.comparison)


class Router:
    """Finds a Target. ``attempts`` is the report's ``route``: everything that was tried, in order."""

    def __init__(
        self,
        workers: WorkerPool,
        source: LoadedModel,
        shapes: Mapping[str, Sequence[int | None]],
        sample: Callable[[], Sample],
        calibration: Callable[[Sequence[InputMapping]], Mapping[str, str]],
        settings: ConversionOptions,
        *,
        before: Callable[[Hop], None],
        after: Callable[[Hop], None],
        say: Callable[[str], None],
    ) -> None:
        self.source, self.shapes, self.settings = source, shapes, settings
        self.hop_runner = HopRunner(workers, source, shapes, calibration, settings, before)
        self.attempt_runner = AttemptRunner(self.hop_runner, source, shapes, sample, after=after, say=say)
        self.attempts = self.attempt_runner.attempts
        self._sample, self._say = sample, say
        self._strayed: list[tuple[ConvertedModel, tuple[str, ...]]] = []
        self.node_repair = NodeRepair(self.hop_runner, self.attempt_runner.rewritten, self.attempt_runner.agrees)
        self._findings: dict[tuple[int, ...], HopFinding] = {}

    def find(self, routes: Sequence[tuple[str, ...]]) -> ConvertedModel | None:
        """A Target that agrees with the Source on the sample; else the first that at least runs; else None."""
        mapping = map_inputs(self.source.signature, self.shapes, self.source.signature)
        assert not isinstance(mapping, Mismatch)
        start = ConvertedModel(self.source, mapping)
        for route in routes:
            if not self._possible(route):
                continue
            if (found := self._extend(start, route[1:])) is not None:
                return self._mark(found)
        for stage, rest in sorted(self._strayed, key=_how_far):
            if (found := self._finish(stage, rest)) is not None:
                return self._mark(found)
        return None

    def _possible(self, route: tuple[str, ...]) -> bool:
        """Can every step of the route be taken here? No hop is run for a later step that nothing can do."""
        steps = list(itertools.pairwise(route))
        for index, (a, b) in enumerate(steps):
            last = index == len(steps) - 1
            hops = hops_between(a, b, last=last)
            lacking = {
                hop.name: (hop, reason) for hop in hops if (reason := self.attempt_runner.lacking(hop, last=last))
            }
            if len(lacking) == len(hops):
                for hop, reason in lacking.values():
                    self.attempt_runner.refuse(hop, reason)
                return False
        return True

    def _mark(self, target: ConvertedModel) -> ConvertedModel:
        for index in target.attempts:
            self.attempts[index] = replace(self.attempts[index], used=True)
        return target

    def _extend(self, stage: ConvertedModel, rest: tuple[str, ...]) -> ConvertedModel | None:
        if not rest:
            return stage
        for hop in hops_between(stage.format.name, rest[0], last=len(rest) == 1):
            diverged: ConvertedModel | None = None
            for form in self._forms(hop):
                reached = self.attempt_runner.take(stage, hop, form, last=len(rest) == 1)
                if reached is None or reached.comparison is None:
                    continue
                if not self.attempt_runner.agrees(reached):
                    self._strayed.append((reached, rest[1:]))
                    diverged = diverged or reached
                    mended = None if form else self._mend(stage, hop, reached, last=len(rest) == 1)
                    if mended is None:
                        continue
                    reached = mended
                elif form and diverged is not None and (finding := self._findings.get(diverged.attempts)):
                    self._findings[diverged.attempts] = finding.by_whole_form(form, reached)
                if (found := self._extend(reached, rest[1:])) is not None:
                    return found
                break  # the hop is right as it is: other forms of what it is fed would give the same
        return None

    def _mend(self, stage: ConvertedModel, hop: Hop, diverged: ConvertedModel, *, last: bool) -> ConvertedModel | None:
        """The hop repaired where single nodes of the ONNX graph it was fed are at fault."""
        if not stage.format.is_view or not diverged.mapping or self.hop_runner.has_permuted_inputs(stage):
            return None
        if diverged.attempts not in self._findings:
            with self.hop_runner.repair_time.running():
                self._say(f"{hop.label} differs: looking for the nodes at fault")
                assert diverged.comparison is not None
                rows = self.rows(stage, diverged.comparison.differing)
                finding = self.node_repair.locate(stage, hop, diverged, rows)
                if finding is not None and self.settings.repair:
                    finding = self.node_repair.mend(finding, last=last)
                elif finding is not None:
                    finding = self.node_repair.classified(finding)
            if finding is None:
                return None
            self._findings[diverged.attempts] = finding
        return self._findings[diverged.attempts].after

    def rows(self, stage: ConvertedModel, chosen: Sequence[int]) -> list[dict[str, np.ndarray[Any, Any]]]:
        """A few of the chosen inputs of the sample, each alone, as the ONNX graph takes them."""
        fixed = next((spec.shape[0] for spec in stage.side.signature.inputs if spec.shape), None) or 1
        arrays = apply_mapping(stage.mapping, self._sample().arrays)
        return [single_input(stage.side.signature.inputs, arrays, row, fixed) for row in list(chosen[:SHOWN]) or [0]]

    def findings(self, target: ConvertedModel) -> list[HopFinding]:
        """What was found out about the hops on the Target's own route; ``after`` is None where it does not use it."""
        found = []
        for finding in self._findings.values():
            if finding.after is not None and self._on_way(target, finding.after.attempts):
                found.append(finding)
            elif self._on_way(target, finding.before.attempts):
                found.append(replace(finding, after=None, alone={}))
        return found

    def _on_way(self, target: ConvertedModel, attempts: tuple[int, ...]) -> bool:
        """Do these attempts lead to the Target, or did it come the same way but for the form that the last was fed?"""
        same = target.attempts[: len(attempts)]
        if same == attempts or len(same) < len(attempts) or same[:-1] != attempts[:-1]:
            return same == attempts
        one, other = self.attempts[same[-1]], self.attempts[attempts[-1]]
        return (one.hop, one.converter) == (other.hop, other.converter)

    def strayed_at_source(self, target: ConvertedModel) -> ConvertedModel | None:
        """What the first converter that differed made of a torch, Keras or TensorFlow Source, fed as it is.

        None where the Target itself came that way, or where the Source is an ONNX file, whose hops are mended.
        """
        for stage, _ in self._strayed:
            one = self.attempts[stage.attempts[0]]
            if len(stage.attempts) == 1 and not one.form and not self.source.format.is_view:
                return None if target.attempts[:1] == stage.attempts else stage
        return None

    @property
    def left_undone(self) -> tuple[str, ...]:
        """Why repair was not tried to its end, in words."""
        if not self.settings.repair:
            return ("repair was turned off (--no-repair)",)
        return (self.hop_runner.repair_time.cut,) if self.hop_runner.repair_time.cut else ()

    def _finish(self, stage: ConvertedModel, rest: tuple[str, ...]) -> ConvertedModel | None:
        """Go on from a stage that differs, so that there is a Target to look at."""
        if not rest:
            return stage
        for hop in hops_between(stage.format.name, rest[0], last=len(rest) == 1):
            for form in self._forms(hop):
                reached = self.attempt_runner.take(stage, hop, form, last=len(rest) == 1)
                if reached is not None and (found := self._finish(reached, rest[1:])) is not None:
                    return found
        return None

    def _forms(self, hop: Hop) -> Iterator[str]:
        """Yield the forms of its model to feed the hop, in order; "" is the model as it is."""
        yield ""
        if self.settings.repair:
            for form in hop.forms:
                if not self.hop_runner.repair_time.allows():
                    return
                yield form
