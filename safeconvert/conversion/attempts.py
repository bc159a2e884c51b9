"""Run one hop, and compare what it wrote with the Source at once. Everything tried is recorded."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from ..checking.evaluation_set import Sample
from ..checking.second_runtime import WORDS, in_second_runtime, unavailable_reason
from ..checking.source_behaviour import measured_noise
from ..checking.target_outputs import target_outputs
from ..comparison.acceptance import agrees_on_sample
from ..comparison.compare import compare
from ..comparison.comparison import all_rows_differ
from ..comparison.output_rules import OutputRule, rules_from_arrays
from ..converters.hop import Hop
from ..errors import BadInput, Unchanged, WorkerFailed
from ..models.input_mapping import Mismatch, map_inputs
from ..models.loaded_model import LoadedModel, shorten
from ..records import Attempt
from ..workers.environments import Recipe, install
from .hop_runner import HopRunner
from .routes import missing, version
from .stage import ConvertedModel, Rewritten

NOISE_SEED = 0  # of the nudges by which the Source's noise is measured on the sample
MAX_MESSAGE = 400  # characters of a converter's message that the report keeps


class AttemptRunner:
    """Runs hops and compares each result with the Source on a few inputs. ``attempts`` is the report's ``route``.

    ``crashed`` has, by attempt, hops that crashed on an ONNX file in its own form; ``changes`` what was rewritten
    before an attempt at a form of a whole file.
    """

    def __init__(
        self,
        hop_runner: HopRunner,
        sample: Callable[[], Sample],
        *,
        after: Callable[[Hop], None],
        say: Callable[[str], None],
    ) -> None:
        self.hop_runner, self.source, self.settings = hop_runner, hop_runner.source, hop_runner.settings
        self._sample, self._after, self._say = sample, after, say
        self.attempts: list[Attempt] = []
        self.crashed: dict[int, tuple[ConvertedModel, Hop]] = {}
        self.changes: dict[int, tuple[Mapping[str, str], ...]] = {}
        self._sample_rules: tuple[OutputRule, ...] = ()
        self._installations: dict[str, str] = {}  # by environment, why it could not be installed
        self._done: dict[tuple[object, ...], ConvertedModel | None] = {}

    def lacking(self, hop: Hop, *, last: bool) -> str | None:
        """Return why this hop cannot be taken here, or None. ``last``: it would write the Target."""
        if last and hop.float32_only and self.settings.quantize != "none":
            return "is used for float32 only"
        reason = missing(hop)
        if reason is None or hop.environment is None or not self.settings.auto_env:
            return reason
        return self._installed(hop.environment) or missing(hop)

    def _installed(self, recipe: Recipe) -> str:
        """Install the converter's environment, once; return why that failed, or ""."""
        if recipe.name not in self._installations:
            self._say(f"installing {recipe.name} in an environment of its own (--auto-env)")
            try:
                install(recipe)
                self._installations[recipe.name] = ""
            except BadInput as error:
                self._installations[recipe.name] = str(error)
        return self._installations[recipe.name]

    def refuse(self, hop: Hop, reason: str) -> None:
        """Record, once for each converter, that a hop cannot be taken here."""
        if not any(a.converter == hop.converter and a.status == "refused" for a in self.attempts):
            self.attempts.append(Attempt(hop.label, hop.converter, version(hop), "refused", 0.0, reason))

    def agrees(self, model: ConvertedModel) -> bool:
        """Does the model agree with the Source on the sample?"""
        assert model.comparison is not None
        is_unquantized = not (self.source.signature.quantized or model.model.signature.quantized)
        return agrees_on_sample(model.comparison, is_unquantized=is_unquantized)

    def take(self, stage: ConvertedModel, hop: Hop, form: str, *, last: bool) -> ConvertedModel | None:
        """Run one hop once; a second request for the same gives the same answer again.

        None where it cannot be taken, fails, or the form would be the model as it is.
        """
        key = (stage.attempts, hop.label, hop.name, form, last)
        if key not in self._done:
            with self.hop_runner.repair_time.running() if form else contextlib.nullcontext():
                self._done[key] = self._attempt(stage, hop, form, None, last=last)
        return self._done[key]

    def rewritten(
        self, stage: ConvertedModel, hop: Hop, rewritten: Rewritten, form: str, last: bool
    ) -> ConvertedModel | None:
        """Run one hop on the stage's model with some of its nodes rewritten."""
        return self._attempt(stage, hop, form, rewritten.path, last=last)

    def _attempt(
        self, stage: ConvertedModel, hop: Hop, form: str, path: Path | None, *, last: bool
    ) -> ConvertedModel | None:
        """Run the hop, record it, and compare what it wrote with the Source; ``path`` is the form, if made already."""
        if lacking := self.lacking(hop, last=last):
            self.refuse(hop, lacking)
            return None
        self._say(f"{hop.label} with {hop.converter}" + (f", fed its {form} form" if form else ""))
        record, number = self._recorder(hop, form), len(self.attempts)
        try:
            written, words = self._run(stage, hop, form, path, number, last=last)
        except Unchanged:
            return None
        except WorkerFailed as error:
            is_over = form and error.status == "timeout" and not self.hop_runner.repair_time.left
            record(error.status, "stopped: --repair-time is over" if is_over else str(error))
            if error.status == "crashed" and hop.script is not None and not form:
                self.crashed[number] = stage, hop
            return None
        finally:
            self._after(hop)
        try:
            model = self._checked(self.hop_runner.load(hop, written, last=last), stage, number, last=last)
        except WorkerFailed as error:
            record(error.status, f"the file that it wrote does not run: {error}")
            return None
        assert model.comparison is not None
        is_quantized = self.source.signature.quantized or model.model.signature.quantized
        differences = () if self.agrees(model) else model.comparison.differences(values=not is_quantized)
        record("diverged" if differences else "ok", "; ".join(differences) or words)
        return model

    def _recorder(self, hop: Hop, form: str) -> Callable[[str, str], None]:
        """Return a function that records how the attempt that begins now has ended: its status and a message."""
        begun = time.monotonic()

        def record(status: str, message: str) -> None:
            seconds = time.monotonic() - begun
            message = shorten(message, MAX_MESSAGE)
            self.attempts.append(Attempt(hop.label, hop.converter, version(hop), status, seconds, message, form))

        return record

    def _run(
        self, stage: ConvertedModel, hop: Hop, form: str, path: Path | None, number: int, *, last: bool
    ) -> tuple[Path, str]:
        """Run the hop on a form of the stage's model; return what it wrote and, in words, what was rewritten for it.

        Raises :class:`Unchanged` where the form would be the model as it is, and :class:`WorkerFailed`.
        """
        words = ""
        if path is None and form and not hop.makes_forms:
            rewritten = self.hop_runner.rewritten(stage, form, hop)
            if rewritten is None:
                raise Unchanged(f"the {form} form would be the model as it is")
            path, words = rewritten.path, f"after these rewrites: {rewritten.words}"
            self.changes[number] = rewritten.changes
        return self.hop_runner.run(hop, stage, stage.model.path if path is None else path, form, last=last), words

    def _checked(self, loaded: LoadedModel, stage: ConvertedModel, number: int, *, last: bool) -> ConvertedModel:
        """Load what the hop wrote and compare it with the Source on the sample; a Target in its second runtime too."""
        sample = self._sample()
        loaded.worker()
        shapes, permutations = self.hop_runner.shapes, self.hop_runner.input_permutations
        mapping = map_inputs(self.source.signature, shapes, loaded.signature, permutations)
        attempts = (*stage.attempts, number)
        if isinstance(mapping, Mismatch):
            return ConvertedModel(loaded, (), attempts, all_rows_differ(sample.count, mapping.reason))
        model = self._compared(ConvertedModel(loaded, mapping, attempts), sample)
        second = in_second_runtime(self.source, loaded) if last and self.agrees(model) else None
        if second is None or unavailable_reason(second):
            return model  # the check of all inputs says so, where it could not be asked
        try:
            in_second = self._compared(ConvertedModel(second, mapping, attempts), sample)
        except WorkerFailed as error:
            in_second = ConvertedModel(second, mapping, attempts, all_rows_differ(sample.count, shorten(str(error))))
        if self.agrees(in_second):
            return model
        assert in_second.comparison is not None
        problems = (WORDS, *in_second.comparison.problems)
        return replace(in_second, comparison=replace(in_second.comparison, problems=problems))

    def _compared(self, model: ConvertedModel, sample: Sample) -> ConvertedModel:
        """Return the model with its comparison to the Source on the sample."""
        names = self.source.output_names
        outputs = target_outputs(self.source, model.model, model.mapping, sample.arrays, sample.outputs)
        rows, by = range(sample.count), self.settings.comparator
        comparison = compare(rows, sample.outputs, outputs, names, self._rules(sample, has_noise=False), by)
        if comparison.values_differ and not self.agrees(replace(model, comparison=comparison)):
            with contextlib.suppress(WorkerFailed):
                comparison = compare(rows, sample.outputs, outputs, names, self._rules(sample, has_noise=True), by)
        return replace(model, comparison=comparison)

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
