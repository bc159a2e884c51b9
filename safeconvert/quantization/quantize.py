"""Quantise a verified float Target, and say whether the result may be shipped."""

from __future__ import annotations

import math
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ..checking.evaluation_set import EvaluationSet
from ..checking.verdict import Judgement, judge
from ..comparison.comparison import Comparison
from ..conversion.routes import package_version
from ..conversion.stage import ConvertedModel
from ..conversion.time_budget import RepairTime
from ..errors import WorkerFailed
from ..models.loaded_model import shorten
from ..options import Options
from ..records import QUANTIZATIONS, Attempt, Verdict
from ..repair.acceptance import repaired
from ..runtimes.litert.quantization_plan import STATIC_KINDS, QuantizationPlan
from ..workers.pool import WorkerPool
from .bench import QuantizationBench
from .budget import Budget
from .engine import DISTRIBUTION, INTEGER_TENSORS, OPERATOR_USES
from .search import QuantizationSearch
from .step import Quantization, Step

NO_BUDGET = (
    "no budget was set, so nothing was shipped: the table shows what each kind of quantisation costs and the command "
    "that ships it"
)
PERCENT_STEP = 0.01  # to which the discrepancy in a command is rounded up


@dataclass(frozen=True)
class QuantizedTarget:
    """The quantised Target and its verdict; ``stage`` is None where nothing is to be kept."""

    stage: ConvertedModel | None
    judgement: Judgement
    quantization: Quantization


def quantize(
    workers: WorkerPool,
    evaluation_set: EvaluationSet,
    stage: ConvertedModel,
    float_judgement: Judgement,
    command: Callable[[Options], Sequence[str]],
) -> QuantizedTarget:
    """Quantise the float Target ``stage`` as the options say, mend it within the budget, and judge the result.

    ``command`` returns the command line with other options. Without a budget a file that differs is not kept: the
    report then has a table of all kinds. Raises :class:`WorkerFailed` where litert-quantizer fails.
    """
    options, begun = evaluation_set.options, time.monotonic()
    budget, repair_time = Budget.of(options), RepairTime(options.repair_time)
    bench = QuantizationBench(workers, evaluation_set, stage, options.timeout)
    search = QuantizationSearch(bench, budget, repair_time)
    first = QuantizationPlan(options.quantize, io_type=options.io_type)
    chosen = search.run(first, has_mending=budget.is_set and not options.no_repair)
    target = bench.final(chosen)
    judgement = _within(judge(evaluation_set, target.model, target.mapping), chosen, budget)
    if judgement.compared is not None:
        confirmed = replace(chosen, heldout=judgement.compared[1])
        search.steps = [confirmed if step is chosen else step for step in search.steps]
        chosen = confirmed
    is_good = judgement.verdict is Verdict.VERIFIED
    table: tuple[tuple[Step, str | None], ...] = ()
    if not is_good and not budget.is_set and judgement.verdict is Verdict.DIVERGED:
        table = _table(bench, chosen, options, command)
        judgement = replace(judgement, verdict=Verdict.UNDECIDED, reasons=(NO_BUDGET, *judgement.reasons))
    if float_judgement.before is not None:
        judgement = repaired(judgement, float_judgement.before)
    if repair_time.cut and not is_good:
        judgement = replace(judgement, reasons=(*judgement.reasons, repair_time.cut))
    seconds = time.monotonic() - begun
    quantization = _described(bench, search, chosen, judgement, float_judgement, table, seconds)
    return QuantizedTarget(None if table else target, judgement, quantization)


def _within(judgement: Judgement, step: Step, budget: Budget) -> Judgement:
    """The judgement, which a file beyond the budget for size or latency does not pass."""
    excess = step.excess(budget)
    if not excess:
        return judgement
    return replace(judgement, verdict=Verdict.DIVERGED, reasons=(*excess, *judgement.reasons))


def _table(
    bench: QuantizationBench, chosen: Step, options: Options, command: Callable[[Options], Sequence[str]]
) -> tuple[tuple[Step, str | None], ...]:
    """What each kind costs, with the command that ships it."""
    has_inputs = bench.evaluation_set.inputs.kind != "probes"
    rows = []
    for kind in QUANTIZATIONS:
        io_type = options.io_type if kind == "int8" else "float32"
        if kind in STATIC_KINDS and not has_inputs:
            continue
        try:
            plan = QuantizationPlan(kind, io_type=io_type)
            step = chosen if plan == chosen.plan else bench.with_heldout(bench.step(plan))
        except WorkerFailed:
            continue
        rows.append((step, _shipping(step, replace(options, quantize=kind, io_type=io_type), command)))
    return tuple(rows)


def _shipping(step: Step, options: Options, command: Callable[[Options], Sequence[str]]) -> str | None:
    """The command whose --max-discrepancy lets this file pass; None where no share of labels would."""
    parts = [part for part in (step.calibration, step.heldout) if part is not None and part.count]
    percent = max(_predictions_percent(part) for part in parts)
    allowed = min(100.0, math.ceil(percent / PERCENT_STEP - 1e-9) * PERCENT_STEP)
    for share in (round(allowed, 2), round(max(allowed, PERCENT_STEP), 2)):  # any share lets rounded values differ too
        if not any(part.differences(max_discrepancy=share) for part in parts):
            return shlex.join(command(replace(options, max_discrepancy=share)))
    return None


def _predictions_percent(comparison: Comparison) -> float:
    differing = max(comparison.labels_differ - comparison.ties_agree, comparison.predictions_differ)
    return 100.0 * differing / comparison.count


def _described(
    bench: QuantizationBench,
    search: QuantizationSearch,
    chosen: Step,
    judgement: Judgement,
    float_judgement: Judgement,
    table: tuple[tuple[Step, str | None], ...],
    seconds: float,
) -> Quantization:
    worker, timeout, version = bench.worker, bench.timeout, package_version(DISTRIBUTION)
    inputs, outputs = INTEGER_TENSORS(worker, timeout, path=str(chosen.path))
    attempt = Attempt("tflite->tflite", DISTRIBUTION, version, "ok", seconds, chosen.plan.words, used=True)
    return Quantization(
        version=version,
        float_size=bench.float_size,
        float_verdict=float_judgement.verdict.value,
        steps=tuple(search.steps),
        chosen=chosen,
        is_shipped=judgement.verdict in (Verdict.VERIFIED, Verdict.REPAIRED),
        operators=tuple(OPERATOR_USES(worker, timeout, path=str(chosen.path))),
        layers=search.layers(chosen),
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        attempts=(attempt,),
        table=table,
        notes=tuple(shorten(f"quantisation step failed: {failure}") for failure in search.failures),
    )
