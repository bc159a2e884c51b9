"""Walk the routes: run a hop, look at once whether it told the truth, and take the next way where it did not.

Each hop's result is compared with the Source on a few inputs before the next hop is run. A hop that
crashes, hangs or differs is followed by another converter, then by the same converter fed an equivalent
form of its ONNX file, then by another chain of formats. Everything tried is recorded.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from safeconvert.children import Workshop
from safeconvert.compare import Comparison, Tolerance, compare, impossible
from safeconvert.errors import CallRaised, ChildFailed
from safeconvert.feeding import TO_NCHW, TO_NHWC, Feed, Mismatch, feed, layout_of, match_outputs, plan_feed
from safeconvert.model import Attempt, Hop, Recognised
from safeconvert.routes import hops_between, missing, version
from safeconvert.sides import Side, shorten

Array = np.ndarray[Any, Any]
SUFFIX = {"torch": ".pt2", "keras": ".keras", "tf": "", "tflite": ".tflite", "onnx": ".onnx"}
FLAVOUR = {"torch": "pt2", "keras": "keras", "tf": "savedmodel", "tflite": "tflite", "onnx": "onnx"}
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


@dataclass(frozen=True)
class Settings:
    """What the person asked of the conversion; see the options of the same names."""

    tolerance: Tolerance
    timeout: float
    input_layout: str
    quantize: str
    opset: int | None
    signature: str | None


@dataclass(frozen=True)
class Sample:
    """The few inputs every hop is checked on, with the Source's outputs for them."""

    arrays: Mapping[str, Array]
    outputs: Sequence[Array]

    @property
    def count(self) -> int:
        return len(next(iter(self.arrays.values())))


@dataclass(frozen=True)
class Stage:
    """A model on the way: the Source itself, what a hop wrote, or the Target (the last one)."""

    side: Side
    feeds: tuple[Feed, ...]
    attempts: tuple[int, ...] = ()
    comparison: Comparison | None = None

    @property
    def format(self) -> str:
        return self.side.format


def _how_far(strayed: tuple[Stage, tuple[str, ...]]) -> tuple[int, int, float]:
    """Order of the stages that differ: nearest to the Target format first, then by how much they differ."""
    stage, rest = strayed
    assert stage.comparison is not None
    largest = stage.comparison.max_abs
    return len(rest), stage.comparison.labels_differ, np.inf if largest is None else largest


def turns(layout: str, source: Side, shapes: Mapping[str, Sequence[int | None]]) -> dict[str, tuple[int, ...]]:
    """The permutations that bring the Source's image inputs into the layout asked for, by input name."""
    if layout == "keep":
        return {}
    return {
        name: TO_NHWC if layout == "nhwc" else TO_NCHW
        for name, shape in shapes.items()
        if len(shape) == 4 and layout_of(shape, source.format) != layout
    }


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
        self.workshop, self.source, self.shapes, self.settings = workshop, source, shapes, settings
        self._sample, self._calibration = sample, calibration
        self._before, self._after, self._say = before, after, say
        self.attempts: list[Attempt] = []
        self._done: dict[tuple[object, ...], Stage | None] = {}
        self._used_once: set[int] = set()
        self._strayed: list[tuple[Stage, tuple[str, ...]]] = []
        self._turns = turns(settings.input_layout, source, shapes)

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
                    continue
                if (found := self._extend(reached, rest[1:])) is not None:
                    return found
                break  # the hop is right as it is: other forms of what it is fed would give the same
        return None

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
            # A few inputs cannot judge rounding to integers: the check over all inputs does.
            return not stage.comparison.problems and not stage.comparison.target_not_finite
        return stage.comparison.agrees()

    def _take(self, stage: Stage, hop: Hop, form: str, *, last: bool) -> Stage | None:
        """Run one hop once; a second request for the same gives the same answer again."""
        key = (stage.attempts, hop.label, hop.name, form, last)
        if key not in self._done:
            self._done[key] = self._attempt(stage, hop, form, last=last)
        return self._done[key]

    def _attempt(self, stage: Stage, hop: Hop, form: str, *, last: bool) -> Stage | None:
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
            origin = stage.side.path
            if form and stage.format == "onnx":
                origin = self._rewritten(stage, form, hop)
                if origin == stage.side.path:
                    return None  # nothing to rewrite: it would be the same file again
            if self._turning(stage) and hop.source == "onnx":
                origin = self._turned(origin, stage)
            written = self._run(hop, stage, origin, form, last=last)
            if self._turning(stage) and hop.target == "onnx":
                written = self._turned(written, stage)
        except ChildFailed as error:
            record(error.status, str(error))
            return None
        finally:
            self._after(hop)
        side = self._side(hop, written, last=last)
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

    def _run(self, hop: Hop, stage: Stage, origin: Path, form: str, *, last: bool) -> Path:
        written = self.workshop.scratch("model" + SUFFIX[hop.target])
        self._before(hop)
        if hop.framework == self.source.framework:
            child = self.source.start()
            if hop.module == "tensorflow_tflite" and child.process.pid in self._used_once:
                # A second from_keras_model in one process fails: 'NoneType' object is not callable.
                self.workshop.restart(self.source.child_name)
            child = self.source.child()
        elif hop.environment is not None:
            from safeconvert.environments import interpreter

            child = self.workshop.child(f"convert-{hop.framework}", hop.framework, interpreter(hop.environment) or "")
        else:
            name = f"convert-{hop.framework}"
            child = self.workshop.child(name, hop.framework)
            if hop.module == "tensorflow_tflite" and child.process.pid in self._used_once:
                self.workshop.restart(name)
                child = self.workshop.child(name, hop.framework)
        if hop.module == "tensorflow_tflite":
            self._used_once.add(child.process.pid)
        child.call(
            f"converters.{hop.module}",
            hop.function,
            timeout=self.settings.timeout,
            path=str(origin.absolute()),
            target=str(written),
            **({"form": form} if form and stage.format != "onnx" else {}),
            **self._arguments(hop, stage, last=last),
        )
        if not written.exists():
            raise CallRaised("FileNotFoundError", "the converter ended without writing a file", "")
        return written

    def _rewritten(self, stage: Stage, form: str, hop: Hop) -> Path:
        """The ONNX file of this stage in an equivalent form; the file itself where the form changes nothing."""
        target = self.workshop.scratch("model.onnx")
        changed = self.workshop.child("light", "light").call(
            "repair.forms",
            "write",
            timeout=self.settings.timeout,
            path=stage.side.location,
            target=str(target),
            form=form,
            opset=13 if hop.target == "keras" else 17,
        )
        return target if changed else stage.side.path

    def _side(self, hop: Hop, written: Path, *, last: bool) -> Side:
        recognised = Recognised(written, hop.target, FLAVOUR[hop.target])
        if last:
            name = "target"  # a fresh process: the Target must run where its converter never was
            child = self.workshop.child(name, Side(self.workshop, name, recognised).framework)
            if child.framework != Side(self.workshop, name, recognised).framework:
                self.workshop.restart(name)
        elif hop.target in ("onnx", "tflite"):
            name = "light"
        elif hop.framework == self.source.framework:
            name = self.source.child_name
        else:
            name = f"convert-{hop.framework}"
        return Side(self.workshop, name, recognised)

    def _checked(self, side: Side, origin: Stage, attempt: int) -> Stage:
        """Load what the hop wrote and compare it with the Source on the sample."""
        sample = self._sample()
        side.child()
        feeds = plan_feed(self.source.signature, self.shapes, side.signature, self._turns)
        attempts = (*origin.attempts, attempt)
        if isinstance(feeds, Mismatch):
            return Stage(side, (), attempts, impossible(sample.count, feeds.reason))
        given = match_outputs(self.source.output_names, side.output_names, side.run(feed(feeds, sample.arrays)))
        names = self.source.output_names
        comparison = compare(range(sample.count), sample.outputs, given, names, self.settings.tolerance)
        return Stage(side, feeds, attempts, comparison)

    def _arguments(self, hop: Hop, stage: Stage, *, last: bool) -> dict[str, Any]:
        """The keyword arguments of the hop's function."""
        arguments: dict[str, Any] = dict(hop.options)
        settings = self.settings
        if hop.target == "onnx" and settings.opset is not None:
            arguments["opset"] = settings.opset
        if hop.source == "tf":
            arguments["signature"] = settings.signature if stage.side is self.source else None
        if hop.target == "tflite" and hop.environment is None and last:
            arguments["quantize"] = settings.quantize
            if settings.quantize == "int8":
                arguments["calibration"] = dict(self._calibration(self._fed(stage)))
        shapes = self._shapes(stage)
        if hop.source == "torch" or hop.target == "torch":
            arguments["shapes"] = shapes
        if hop.environment == "onnx2tf":
            arguments["inputs"] = [name for name, shape in shapes.items() if len(shape) >= 3]
        if self._turning(stage) and "onnx" not in (hop.source, hop.target):
            axes = next(iter(self._turns.values()))
            arguments["turn"] = {"names": self._turned_names(stage), "axes": [axes.index(i) for i in range(4)]}
        return arguments

    def _turning(self, stage: Stage) -> bool:
        """Does the hop from this stage give the inputs their other layout? The first hop of a route does."""
        return bool(self._turns) and not stage.attempts

    def _turned_names(self, stage: Stage) -> list[str]:
        return [one.target.name for one in stage.feeds if one.source in self._turns]

    def _turned(self, path: Path, stage: Stage) -> Path:
        """The ONNX file with the inputs in the layout asked for."""
        target = self.workshop.scratch("model.onnx")
        axes = next(iter(self._turns.values()))
        names = self._turned_names(stage)
        light = self.workshop.child("light", "light")
        if stage.format != "onnx":
            # The exporter may have named the inputs its own way: they are taken by position.
            written = light.call("native.light_models", "load", path=str(path.absolute()), flavour="onnx")
            found = [described["name"] for described in written["inputs"]]
            names = [new for new, one in zip(found, stage.feeds, strict=False) if one.source in self._turns]
        light.call(
            "converters.layout",
            "turn_onnx",
            path=str(path.absolute()),
            target=str(target),
            names=names,
            axes=[axes.index(i) for i in range(4)],
        )
        return target

    def _fed(self, stage: Stage) -> tuple[Feed, ...]:
        """How calibration inputs reach a converter that works on this stage's model."""
        if not self._turning(stage):
            return stage.feeds
        return tuple(replace(one, axes=self._turns.get(one.source)) for one in stage.feeds)

    def _shapes(self, stage: Stage) -> dict[str, list[int | None]]:
        """The shapes of the stage's inputs in this run, by its own names; a free batch stays None."""
        found: dict[str, list[int | None]] = {}
        for one in self._fed(stage) if stage.format == "onnx" else stage.feeds:
            shape = list(self.shapes[one.source])
            if one.axes is not None:
                shape = [shape[axis] for axis in one.axes]
            if one.target.shape:
                shape[0] = one.target.shape[0]
            found[one.target.name] = shape
        return found
