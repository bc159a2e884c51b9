"""Pass the Target through the inputs, compare it with the Source, and reach a verdict."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ..comparison.compare import compare
from ..comparison.comparison import Comparison, all_rows_differ
from ..comparison.output_rules import OutputRule
from ..errors import WorkerFailed
from ..models.input_mapping import InputMapping
from ..models.loaded_model import LoadedModel, shorten
from ..records import Verdict
from .evaluation_set import SAMPLE, EvaluationSet
from .further_check import CheckResult
from .further_checks import FURTHER_CHECKS
from .second_runtime import WORDS, in_second_runtime, unavailable_reason
from .target_outputs import target_outputs


@dataclass(frozen=True)
class Judgement:
    """A verdict, why it is not ``verified``, and the comparisons over calibration and held-out set (None: not made).

    ``before`` are those of the unrepaired model, where something was repaired. ``in_second_runtime`` is the Target in
    the second runtime, where that is what differs and what was compared. ``rules`` say what each output was held to,
    ``checks`` what was checked beside the inputs.
    """

    verdict: Verdict
    reasons: tuple[str, ...] = ()
    compared: tuple[Comparison, Comparison] | None = None
    before: tuple[Comparison, Comparison] | None = None
    in_second_runtime: LoadedModel | None = None
    rules: tuple[OutputRule, ...] = ()
    checks: tuple[CheckResult, ...] = ()


def judge(
    evaluation_set: EvaluationSet,
    target: LoadedModel,
    mapping: Sequence[InputMapping],
    compared: tuple[Comparison, Comparison] | None = None,
) -> Judgement:
    """Compare over both sets, each in batches, so that memory does not grow with the number of inputs; then check on.

    ``compared`` are the comparisons of both sets where they were made already.

    The order: a Source that contradicts itself is told before any Target is blamed; a difference that was seen makes
    the verdict ``diverged``; without one, what was not tested makes it ``undecided``.
    """
    calibration, heldout = evaluation_set.rows
    if not calibration:
        return Judgement(Verdict.UNDECIDED, ("no input could be read, so nothing was compared",))
    if compared is None:
        evaluation_set.ahead()
    behaviour = evaluation_set.behaviour
    try:
        if (contradiction := behaviour.contradiction) is not None:
            return Judgement(Verdict.UNDECIDED, (contradiction,), rules=behaviour.rules)
        compared = compared or (
            compare_rows(evaluation_set, target, mapping, calibration, "checking"),
            compare_rows(evaluation_set, target, mapping, heldout, "confirming"),
        )
        judgement = _on_inputs(evaluation_set, target, compared)
        if judgement.verdict is Verdict.VERIFIED:
            judgement = _in_second_runtime(judgement, evaluation_set, target, mapping)
        if judgement.verdict is Verdict.VERIFIED:
            judgement = _checked_further(judgement, evaluation_set, target, mapping)
    except WorkerFailed as error:
        return Judgement(Verdict.UNDECIDED, (f"the Source does not run on these inputs: {shorten(str(error))}",))
    if judgement.verdict is Verdict.VERIFIED and (nothing := behaviour.nothing_tested()):
        judgement = replace(judgement, verdict=Verdict.UNDECIDED, reasons=nothing)
    return judgement


def _on_inputs(
    evaluation_set: EvaluationSet, target: LoadedModel, compared: tuple[Comparison, Comparison]
) -> Judgement:
    """The judgement by what was seen on the inputs alone."""
    options, behaviour = evaluation_set.options, evaluation_set.behaviour
    judged = {"calibration": compared[0]} | ({"held-out": compared[1]} if compared[1].count else {})
    reasons = tuple(
        f"{name}: {reason}"
        for name, comparison in judged.items()
        for reason in comparison.differences(max_discrepancy=options.allowed_discrepancy)
    )
    judgement = Judgement(Verdict.VERIFIED, (), compared, rules=behaviour.rules_for(target))
    if not all(comparison.decidable for comparison in judged.values()):
        undecidable = "the Source gives NaN or infinity on some inputs, which cannot be compared"
        if not all(comparison.outputs for comparison in judged.values()):
            undecidable = "the Source has no outputs, so nothing was compared"
        return replace(judgement, verdict=Verdict.UNDECIDED, reasons=(undecidable, *reasons))
    if not reasons:
        return judgement
    if ill := _only_ill_conditioned(evaluation_set, judged.values()):
        return replace(judgement, verdict=Verdict.UNDECIDED, reasons=(*ill, *reasons))
    if evaluation_set.target_inputs is not None:
        reasons = (*reasons, "the Target's images were prepared by --target-preprocess, another way than the Source's")
    if target.other_runtime is not None:
        reasons = (WORDS, *reasons)
    return replace(judgement, verdict=Verdict.DIVERGED, reasons=reasons)


def _only_ill_conditioned(evaluation_set: EvaluationSet, judged: Iterable[Comparison]) -> tuple[str, ...]:
    """Sentences about ill-conditioned outputs of the Source, where no other output differs."""
    ill = evaluation_set.behaviour.ill_outputs()
    for comparison in judged:
        differing = {output.name for output in comparison.outputs if output.values_differ}
        if comparison.problems or comparison.target_not_finite or not differing <= ill:
            return ()
    return evaluation_set.behaviour.ill_conditioned()


def _in_second_runtime(
    judgement: Judgement, evaluation_set: EvaluationSet, target: LoadedModel, mapping: Sequence[InputMapping]
) -> Judgement:
    """The judgement of a Target that agreed, with its second runtime asked too, where it has one."""
    other = in_second_runtime(evaluation_set.source, target)
    if other is None:
        return judgement
    if why := unavailable_reason(other):
        return replace(judgement, verdict=Verdict.UNDECIDED, reasons=(why,))
    rows = evaluation_set.rows[0][:SAMPLE]
    few = compare_rows(evaluation_set, other, mapping, rows, "running it elsewhere")
    if not few.agrees():
        second_judgement = judge(evaluation_set, other, mapping)
        if second_judgement.verdict is Verdict.DIVERGED:
            return replace(second_judgement, in_second_runtime=other)
    return judgement


def _checked_further(
    judgement: Judgement, evaluation_set: EvaluationSet, target: LoadedModel, mapping: Sequence[InputMapping]
) -> Judgement:
    """The judgement of a Target that agreed on the inputs, with the further checks made, up to one that differs."""
    checks: list[CheckResult] = []
    for check in FURTHER_CHECKS:
        evaluation_set.observer.say("checking further")
        checks.append(check(evaluation_set, target, mapping))
        if checks[-1].outcome == "differs":
            break
    judgement = replace(judgement, checks=tuple(checks))
    for outcome, verdict in (("differs", Verdict.DIVERGED), ("undecided", Verdict.UNDECIDED)):
        if reasons := tuple(check.reason for check in checks if check.outcome == outcome):
            return replace(judgement, verdict=verdict, reasons=reasons)
    return judgement


def compare_rows(
    evaluation_set: EvaluationSet,
    target: LoadedModel,
    mapping: Sequence[InputMapping],
    rows: Sequence[int],
    step: str,
) -> Comparison:
    """Compare Source and Target over these rows of the evaluation set; ``step`` names the step for the observer.

    Raises :class:`WorkerFailed` only where the Source is what fails.
    """
    options, deployed = evaluation_set.options, evaluation_set.target_inputs
    total, done = Comparison(), 0
    names = evaluation_set.source.output_names
    rules: tuple[OutputRule, ...] = ()
    for batch, arrays, expected in evaluation_set.source_outputs.each(rows):
        target_arrays = arrays if deployed is None else deployed.read(batch)
        try:
            outputs = target_outputs(evaluation_set.source, target, mapping, target_arrays, expected)
        except WorkerFailed as error:
            total += all_rows_differ(len(batch), f"the Target does not run: {shorten(str(error))}")
        else:
            rules = rules or evaluation_set.behaviour.rules_for(target)
            part = compare(batch, expected, outputs, names, rules, options.comparing)
            if part.values_differ and not evaluation_set.behaviour.has_noise and not all(r.is_quantized for r in rules):
                evaluation_set.behaviour.measure_noise()
                rules = evaluation_set.behaviour.rules_for(target)
                part = compare(batch, expected, outputs, names, rules, options.comparing)
            total += part
        done += len(batch)
        evaluation_set.observer.progress(step, done, len(rows))
    return total
