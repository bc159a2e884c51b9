"""Walk the routes: run a hop, look at once whether it told the truth, and take the next way where it did not.

Each hop's result is compared with the Source on a few inputs before the next hop is run. A hop that
crashes, hangs or differs is followed by another converter, then by the same converter fed an equivalent
form of its ONNX file, then by another chain of formats. Everything tried is recorded.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from safeconvert.children import Workshop
from safeconvert.compare import compare, impossible
from safeconvert.errors import CallRaised, ChildFailed
from safeconvert.feeding import Feed, Mismatch, feed, match_outputs, plan_feed
from safeconvert.hopping import Hopper, Rewritten, Sample, Settings, Stage
from safeconvert.mending import Mended, Mender
from safeconvert.model import Attempt, Hop
from safeconvert.routes import hops_between, missing, version
from safeconvert.sides import Side, shorten

# What a converter is fed when the model as it is goes wrong, mildest first: equivalents made of fewer and fewer
# kinds of operators. ONNX files are rewritten beforehand (repair/equivalents); of a torch, Keras or TensorFlow model
# the hop itself makes the form (converters/torch_forms, converters/tensorflow_forms).
FORMS = {
    "onnx": ("canonical", "missing", "plain", "other"),
    "torch": ("decomposed",),
    "keras": ("plain",),
    "tf": ("plain",),
    "tflite": (),
}


def _how_far(strayed: tuple[Stage, tuple[str, ...]]) -> tuple[int, int, float]:
    """Order of the stages that differ: nearest to the Target format first, then by how much they differ."""
    stage, rest = strayed
    assert stage.comparison is not None
    largest = stage.comparison.max_abs
    return len(rest), stage.comparison.labels_differ, np.inf if largest is None else largest


class Router:
    """Finds a Target. ``attempts`` is the report's ``route``: everything that was tried, in order."""

    def __init__(
        self,
        workshop: Workshop,
        source: Side,
        shapes: Mapping[str, Sequence[int | None]],
        sample: Callable[[], Sample],
        calibration: Callable[[Sequence[Feed]], Mapping[str, str]],
        settings: Settings,
        *,
        before: Callable[[Hop], None],
        after: Callable[[Hop], None],
        say: Callable[[str], None],
    ) -> None:
        self.source, self.shapes, self.settings = source, shapes, settings
        self.hopper = Hopper(workshop, source, shapes, calibration, settings, before)
        self._sample, self._after, self._say = sample, after, say
        self.attempts: list[Attempt] = []
        self._done: dict[tuple[object, ...], Stage | None] = {}
        self._strayed: list[tuple[Stage, tuple[str, ...]]] = []
        self._mender = Mender(self.hopper, self._attempt_rewritten, self._agrees)
        self.mended: dict[tuple[int, ...], Mended] = {}

    def find(self, routes: Sequence[tuple[str, ...]]) -> Stage | None:
        """A Target that agrees with the Source on the sample; else the first that at least runs; else None."""
        feeds = plan_feed(self.source.signature, self.shapes, self.source.signature)
        assert not isinstance(feeds, Mismatch)
        start = Stage(self.source, feeds)
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
            lacking = {hop.name: (hop, reason) for hop in hops if (reason := self._lacking(hop, last=last))}
            if len(lacking) == len(hops):
                for hop, reason in lacking.values():
                    self._refuse(hop, reason)
                return False
        return True

    def _lacking(self, hop: Hop, *, last: bool) -> str | None:
        """Why this hop cannot be taken here, or None."""
        if hop.environment == "onnx2tf" and self.settings.quantize != "none" and last:
            return "is used for float32 only"
        return missing(hop)

    def _refuse(self, hop: Hop, reason: str) -> None:
        if not any(a.converter == hop.converter and a.status == "refused" for a in self.attempts):
            self.attempts.append(Attempt(hop.label, hop.converter, version(hop), "refused", 0.0, reason))

    def _mark(self, target: Stage) -> Stage:
        for index in target.attempts:
            self.attempts[index] = replace(self.attempts[index], used=True)
        return target

    def _extend(self, stage: Stage, rest: tuple[str, ...]) -> Stage | None:
        if not rest:
            return stage
        for hop in hops_between(stage.format, rest[0], last=len(rest) == 1):
            for form in self._forms(stage, hop):
                reached = self._take(stage, hop, form, last=len(rest) == 1)
                if reached is None or reached.comparison is None:
                    continue
                if not self._agrees(reached):
                    self._strayed.append((reached, rest[1:]))
                    mended = None if form else self._mend(stage, hop, reached, last=len(rest) == 1)
                    if mended is None:
                        continue
                    reached = mended
                if (found := self._extend(reached, rest[1:])) is not None:
                    return found
                break  # the hop is right as it is: other forms of what it is fed would give the same
        return None

    def _mend(self, stage: Stage, hop: Hop, strayed: Stage, *, last: bool) -> Stage | None:
        """The hop repaired where single nodes of the ONNX graph it was fed are at fault."""
        if stage.format != "onnx" or not strayed.feeds or self.hopper.turning(stage):
            return None
        assert strayed.comparison is not None
        self._say(f"{hop.label} differs: looking for the nodes at fault")
        sample = self._sample()
        worst = strayed.comparison.differing[0] if strayed.comparison.differing else 0
        fixed = next((spec.shape[0] for spec in stage.side.signature.inputs if spec.shape), None) or 1
        arrays = {name: np.repeat(array[worst : worst + 1], fixed, axis=0) for name, array in sample.arrays.items()}
        row = feed(stage.feeds, arrays)
        mended = self._mender.mend(stage, hop, strayed, row, FORMS["onnx"], last=last)
        if mended is None:
            return None
        self.mended[mended.after.attempts] = mended
        return mended.after

    def _attempt_rewritten(self, stage: Stage, hop: Hop, rewritten: Rewritten, form: str, last: bool) -> Stage | None:
        return self._attempt(stage, hop, form, last=last, origin=rewritten.path)

    def repairs(self, target: Stage) -> list[Mended]:
        """The hops on the Target's own route that were repaired."""
        return [mended for attempts, mended in self.mended.items() if target.attempts[: len(attempts)] == attempts]

    def _finish(self, stage: Stage, rest: tuple[str, ...]) -> Stage | None:
        """Go on from a stage that differs, so that there is a Target to look at."""
        if not rest:
            return stage
        for hop in hops_between(stage.format, rest[0], last=len(rest) == 1):
            for form in self._forms(stage, hop):
                reached = self._take(stage, hop, form, last=len(rest) == 1)
                if reached is not None and (found := self._finish(reached, rest[1:])) is not None:
                    return found
        return None

    @staticmethod
    def _forms(stage: Stage, hop: Hop) -> tuple[str, ...]:
        """The forms of the stage's model to feed the hop, in order; "" is the model as it is."""
        return ("", *(FORMS[stage.format] if stage.format == "onnx" or hop.takes_forms else ()))

    def _agrees(self, stage: Stage) -> bool:
        assert stage.comparison is not None
        if self.source.signature.quantized or stage.side.signature.quantized:
            # A few inputs cannot judge rounding to integers, which the check over all inputs does; but a model of
            # which most labels differ is another one.
            found = stage.comparison
            mostly = not found.labelled or 2 * found.labels_differ <= found.count
            return mostly and not found.problems and not found.target_not_finite
        return stage.comparison.agrees()

    def _take(self, stage: Stage, hop: Hop, form: str, *, last: bool) -> Stage | None:
        """Run one hop once; a second request for the same gives the same answer again."""
        key = (stage.attempts, hop.label, hop.name, form, last)
        if key not in self._done:
            self._done[key] = self._attempt(stage, hop, form, last=last)
        return self._done[key]

    def _attempt(self, stage: Stage, hop: Hop, form: str, *, last: bool, origin: Path | None = None) -> Stage | None:
        """Run the hop and compare what it wrote with the Source; ``origin`` is the form, if made already."""
        begun = time.monotonic()

        def record(status: str, message: str = "") -> None:
            seconds = time.monotonic() - begun
            self.attempts.append(
                Attempt(hop.label, hop.converter, version(hop), status, seconds, shorten(message, 400), form)
            )

        if lacking := self._lacking(hop, last=last):
            self._refuse(hop, lacking)
            return None
        what = f"{hop.label} with {hop.converter}" + (f", fed its {form} form" if form else "")
        self._say(what)
        try:
            if origin is None:
                origin = stage.side.path
            if origin == stage.side.path and form and stage.format == "onnx":
                rewritten = self.hopper.rewritten(stage, form, hop)
                if rewritten is None:
                    return None  # nothing to rewrite: it would be the same file again
                origin = rewritten.path
            if self.hopper.turning(stage) and hop.source == "onnx":
                origin = self.hopper.turned(origin, stage)
            written = self.hopper.run(hop, stage, origin, form, last=last)
            if self.hopper.turning(stage) and hop.target == "onnx":
                written = self.hopper.turned(written, stage)
        except ChildFailed as error:
            record(error.status, str(error))
            return None
        finally:
            self._after(hop)
        side = self.hopper.side(hop, written, last=last)
        try:
            reached = self._checked(side, stage, len(self.attempts))
        except CallRaised as error:
            record("crashed", f"the file that it wrote does not run: {error}")
            return None
        except ChildFailed as error:
            record(error.status, f"the file that it wrote does not run: {error}")
            return None
        assert reached.comparison is not None
        differences = () if self._agrees(reached) else reached.comparison.differences()
        record("diverged" if differences else "ok", "; ".join(differences))
        return reached

    def _checked(self, side: Side, origin: Stage, attempt: int) -> Stage:
        """Load what the hop wrote and compare it with the Source on the sample."""
        sample = self._sample()
        side.child()
        feeds = plan_feed(self.source.signature, self.shapes, side.signature, self.hopper.turns)
        attempts = (*origin.attempts, attempt)
        if isinstance(feeds, Mismatch):
            return Stage(side, (), attempts, impossible(sample.count, feeds.reason))
        given = match_outputs(self.source.output_names, side.output_names, side.run(feed(feeds, sample.arrays)))
        names = self.source.output_names
        comparison = compare(range(sample.count), sample.outputs, given, names, self.settings.tolerance)
        return Stage(side, feeds, attempts, comparison)
