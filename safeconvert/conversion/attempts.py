"""Run one hop, and look at once whether what it wrote tells the truth. Everything tried is recorded."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..checking.evaluation_set import Sample
from ..checking.second_runtime import WORDS, in_second_runtime, unavailable_reason
from ..checking.source_behaviour import measured_noise
from ..checking.target_outputs import target_outputs
from ..comparison.acceptance import agrees_on_sample
from ..comparison.compare import all_rows_differ, compare
from ..comparison.output_rules import OutputRule, rules_from_arrays
from ..converters.hop import Hop
from ..errors import CallRaised, Unchanged, WorkerFailed
from ..models.input_mapping import Mismatch, map_inputs
from ..models.loaded import LoadedModel, shorten
from ..records import Attempt
from .hop_runner import HopRunner
from .routes import missing, version
from .stage import ConvertedModel, Rewritten

NOISE_SEED = 0  # of the nudges by which the Source's noise is measured on the sample


class AttemptRunner:
    """Runs hops and compares each result with the Source on a few inputs. ``attempts`` is the report's ``route``."""

    def __init__(
        self,
        hop_runner: HopRunner,
        source: LoadedModel,
        shapes: Mapping[str, Sequence[int | None]],
        sample: Callable[[], Sample],
        *,
        after: Callable[[Hop], None],
        say: Callable[[str], None],
    ) -> None:
        self.hop_runner, self.source, self.shapes, self.settings = hop_runner, source, shapes, hop_runner.settings
        self._sample, self._after, self._say = sample, after, say
        self.attempts: list[Attempt] = []
        self.crashed: dict[int, tuple[ConvertedModel, Hop]] = {}  # attempts at an ONNX file as it is that crashed
        self.changes: dict[int, tuple[Mapping[str, str], ...]] = {}  # what was rewritten before an attempt
        self._sample_rules: tuple[OutputRule, ...] = ()
        self._done: dict[tuple[object, ...], ConvertedModel | None] = {}

    def lacking(self, hop: Hop, *, last: bool) -> str | None:
        """Return why this hop cannot be taken here, or None. ``last``: it would write the Target."""
        if last and hop.float32_only and self.settings.quantize != "none":
            return "is used for float32 only"
        return missing(hop)

    def refuse(self, hop: Hop, reason: str) -> None:
        if not any(a.converter == hop.converter and a.status == "refused" for a in self.attempts):
            self.attempts.append(Attempt(hop.label, hop.converter, version(hop), "refused", 0.0, reason))

    def agrees(self, stage: ConvertedModel) -> bool:
        assert stage.comparison is not None
        is_unquantized = not (self.source.signature.quantized or stage.side.signature.quantized)
        return agrees_on_sample(stage.comparison, is_unquantized=is_unquantized)

    def take(self, stage: ConvertedModel, hop: Hop, form: str, *, last: bool) -> ConvertedModel | None:
        """Run one hop once; a second request for the same gives the same answer again."""
        key = (stage.attempts, hop.label, hop.name, form, last)
        if key not in self._done:
            with self.hop_runner.repair_time.running() if form else contextlib.nullcontext():
                self._done[key] = self._attempt(stage, hop, form, last=last)
        return self._done[key]

    def _attempt(
        self, stage: ConvertedModel, hop: Hop, form: str, *, last: bool, origin: Path | None = None
    ) -> ConvertedModel | None:
        """Run the hop and compare what it wrote with the Source; ``origin`` is the form, if made already."""
        begun = time.monotonic()

        def record(status: str, message: str = "") -> None:
            seconds = time.monotonic() - begun
            self.attempts.append(
                Attempt(hop.label, hop.converter, version(hop), status, seconds, shorten(message, 400), form)
            )

        if lacking := self.lacking(hop, last=last):
            self.refuse(hop, lacking)
            return None
        what = f"{hop.label} with {hop.converter}" + (f", fed its {form} form" if form else "")
        self._say(what)
        otherwise, number = "", len(self.attempts)
        try:
            if origin is None:
                origin = stage.side.path
            if origin == stage.side.path and form and not hop.makes_forms:
                rewritten = self.hop_runner.rewritten(stage, form, hop)
                if rewritten is None:
                    return None  # nothing to rewrite: it would be the same file again
                origin, otherwise = rewritten.path, f"after these rewrites: {rewritten.words}"
                self.changes[number] = rewritten.changes
            written = self.hop_runner.run(hop, stage, origin, form, last=last)
        except Unchanged:
            return None  # as above
        except WorkerFailed as error:
            over = form and error.status == "timeout" and not self.hop_runner.repair_time.left
            record(error.status, "stopped: --repair-time is over" if over else str(error))
            if error.status == "crashed" and stage.format.is_view and not form:
                self.crashed[number] = stage, hop
            return None
        finally:
            self._after(hop)
        side = self.hop_runner.side(hop, written, last=last)
        try:
            reached = self._checked(side, stage, number, last=last)
        except CallRaised as error:
            record("crashed", f"the file that it wrote does not run: {error}")
            return None
        except WorkerFailed as error:
            record(error.status, f"the file that it wrote does not run: {error}")
            return None
        assert reached.comparison is not None
        is_quantized = self.source.signature.quantized or reached.side.signature.quantized
        differences = () if self.agrees(reached) else reached.comparison.differences(values=not is_quantized)
        record("diverged" if differences else "ok", "; ".join(differences or filter(None, [otherwise])))
        return reached

    def rewritten(
        self, stage: ConvertedModel, hop: Hop, rewritten: Rewritten, form: str, last: bool
    ) -> ConvertedModel | None:
        return self._attempt(stage, hop, form, last=last, origin=rewritten.path)

    def _checked(self, side: LoadedModel, origin: ConvertedModel, attempt: int, *, last: bool) -> ConvertedModel:
        """Load what the hop wrote and compare it with the Source on the sample."""
        sample = self._sample()
        side.worker()
        mapping = map_inputs(self.source.signature, self.shapes, side.signature, self.hop_runner.input_permutations)
        attempts = (*origin.attempts, attempt)
        if isinstance(mapping, Mismatch):
            return ConvertedModel(side, (), attempts, all_rows_differ(sample.count, mapping.reason))
        reached = self._compared(ConvertedModel(side, mapping, attempts), sample)
        other = in_second_runtime(self.source, side) if last and self.agrees(reached) else None
        if other is None or unavailable_reason(other):
            return reached  # the check of all inputs says so, where it could not be asked
        try:
            again = self._compared(ConvertedModel(other, mapping, attempts), sample)
        except WorkerFailed as error:
            again = ConvertedModel(other, mapping, attempts, all_rows_differ(sample.count, shorten(str(error))))
        assert again.comparison is not None
        if self.agrees(again):
            return reached
        return replace(again, comparison=replace(again.comparison, problems=(WORDS, *again.comparison.problems)))

    def _compared(self, stage: ConvertedModel, sample: Sample) -> ConvertedModel:
        names = self.source.output_names
        given = target_outputs(self.source, stage.side, stage.mapping, sample.arrays, sample.outputs)
        rows, by = range(sample.count), self.settings.comparator
        comparison = compare(rows, sample.outputs, given, names, self._rules(sample, has_noise=False), by)
        if comparison.values_differ and not self.agrees(replace(stage, comparison=comparison)):
            with contextlib.suppress(WorkerFailed):
                comparison = compare(rows, sample.outputs, given, names, self._rules(sample, has_noise=True), by)
        return replace(stage, comparison=comparison)

    def _rules(self, sample: Sample, *, has_noise: bool) -> tuple[OutputRule, ...]:
        """Return what each output is held to on the sample; the Source's noise is measured when it is first needed.

        Raises :class:`WorkerFailed` where the Source fails.
        """
        channels_last = self.source.format.default_layout == "nhwc"
        if not self._sample_rules:
            names, tolerance = self.source.output_names, self.settings.tolerance
            self._sample_rules = rules_from_arrays(names, sample.outputs, tolerance, channels_last=channels_last)
        if has_noise and any(rule.noise is None for rule in self._sample_rules):
            noise = measured_noise(self.source, sample.arrays, sample.outputs, self._sample_rules, NOISE_SEED)
            rules = zip(self._sample_rules, noise, strict=True)
            self._sample_rules = tuple(rule.with_noise(moves) for rule, moves in rules)
        return self._sample_rules
