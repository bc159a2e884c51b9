"""One comparison split in shards: each compares every Nth batch of inputs, and their counts are added up.

All shards read the same inputs, leave out the same copies and split them by the same seed, so calibration and held-out
set are those of one machine. The rules that outputs are held to come from the first inputs, which every shard runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..checking.evaluation_set import EvaluationSet
from ..checking.source_outputs import batches
from ..checking.target_outputs import target_outputs
from ..checking.verdict import Judgement, judge
from ..comparison.compare import compare
from ..comparison.comparison import Comparison, all_rows_differ
from ..errors import BadInput, WorkerFailed
from ..formats import ModelFile
from ..live.preparation import Preparation
from ..models import loader
from ..models.input_mapping import InputMapping
from ..models.loaded_model import LoadedModel, shorten
from ..options import Observer, Options, Silent
from ..records import Verdict
from ..runs import argument_checks
from ..runs.check import CheckRun
from ..runs.outcome import RunOutcome, mismatched
from ..runs.result import Result
from ..workers.pool import WorkerPool
from .backends import Backend


@dataclass(frozen=True)
class ShardFigures:
    """What one shard compared. ``digests`` are the SHA-256 of the Source and the Target that it loaded."""

    digests: tuple[str, str]
    batches: tuple[BatchFigures, ...] = ()


@dataclass(frozen=True)
class BatchFigures:
    """One batch of one set (0: calibration, 1: held-out), by its place in the set.

    ``plain`` is judged without the Source's own noise, ``with_noise`` with it; None where noise never counts.
    """

    set_number: int
    place: int
    plain: Comparison
    with_noise: Comparison | None


def check_in_shards(
    source: Path,
    target: Path,
    shards: int,
    backend: Backend,
    *,
    output: Path | None = None,
    observer: Observer | None = None,
    **keywords: Any,
) -> Result:
    """Do what :func:`safeconvert.check` does, with the inputs compared in ``shards`` tasks of a backend.

    The counts are exactly those of one machine. Raises :class:`BadInput` where an input or option cannot be used.
    """
    if shards < 1:
        raise BadInput(f"--shards {shards} is below 1.")
    with WorkerPool() as workers:
        prepared = Preparation(workers, (source, target), keywords)
        argument_checks.check_check(prepared.files, prepared.options, output)
        run = ShardedCheck(workers, prepared.files[0], prepared.options, observer or Silent())
        run.shards, run.backend = shards, backend
        return run.run(prepared.files[1], output)


class ShardedCheck(CheckRun):
    """The run that gathers the shards' figures and judges them."""

    shards: int
    backend: Backend

    def _compare(self, evaluation_set: EvaluationSet, target: LoadedModel, report: Path | None) -> Result:
        self.models.append(target)
        with self.clock("load"):
            loader.load(target)
        deployed = evaluation_set.as_deployed()
        mapping = self.map_inputs(target)
        if not isinstance(mapping, tuple):
            return self.finish(RunOutcome(mismatched(deployed, mapping), deployed, target), report=report)
        with self.clock("check"):
            shards = self._shards(target)
            reason = incomplete(shards, (evaluation_set.source.digest, target.digest), evaluation_set.rows)
            if reason is not None:
                judgement = Judgement(Verdict.UNDECIDED, (reason,))
            else:
                judgement = judge(deployed, target, mapping, _total(shards, evaluation_set))
        return self.finish(RunOutcome(judgement, deployed, target), report=report)

    def _shards(self, target: LoadedModel) -> list[ShardFigures]:
        self.observer.say(f"comparing in {self.shards} shards")
        tasks = [(self.source.file, target.file, self.options, number, self.shards) for number in range(self.shards)]
        return self.backend.run(compare_shard, tasks)


def _total(shards: Sequence[ShardFigures], evaluation_set: EvaluationSet) -> tuple[Comparison, Comparison]:
    compared, uses_noise = added([figures for shard in shards for figures in shard.batches])
    if uses_noise:
        evaluation_set.behaviour.measure_noise()
    return compared


def incomplete(shards: Sequence[ShardFigures], digests: tuple[str, str], sets: Sequence[Sequence[int]]) -> str | None:
    """Say why the shards' figures do not stand for both whole sets of rows, compared on these models; None: they do.

    ``digests`` are the SHA-256 of the Source and the Target in this process.
    """
    for shard in shards:
        for model, here, there in zip(("Source", "Target"), digests, shard.digests, strict=True):
            if here != there:
                return f"a shard loaded another {model} than this process: the file there has SHA-256 {there[:12]}"
    expected = {
        (set_number, place): len(batch)
        for set_number, rows in enumerate(sets)
        for place, batch in enumerate(batches(rows))
    }
    counts: Counter[tuple[int, int]] = Counter()
    for figures in (figures for shard in shards for figures in shard.batches):
        counts[figures.set_number, figures.place] += figures.plain.count
    if counts == expected:
        return None
    compared = sum(counts.values())
    return f"the shards compared {compared} inputs, but {sum(expected.values())} were to be compared, each once"


def added(figures: Sequence[BatchFigures]) -> tuple[tuple[Comparison, Comparison], bool]:
    """Return the comparisons of both sets, and whether the Source's noise counts in them.

    As on one machine, the noise counts from the first batch on in which values differ without it.
    """
    totals, uses_noise = [Comparison(), Comparison()], False
    for entry in sorted(figures, key=lambda entry: (entry.set_number, entry.place)):
        uses_noise = uses_noise or (entry.with_noise is not None and entry.plain.values_differ > 0)
        part = entry.with_noise if uses_noise and entry.with_noise is not None else entry.plain
        totals[entry.set_number] += part
    return (totals[0], totals[1]), uses_noise


def compare_shard(source: ModelFile, target: ModelFile, options: Options, number: int, count: int) -> ShardFigures:
    """Compare every ``count``-th batch of both sets, from batch ``number`` on."""
    with WorkerPool() as workers:
        run = CheckRun(workers, source, options, Silent())
        loaded = run.start_target("target", target)
        with run.evaluation_set() as evaluation_set:
            loader.load(loaded)
            mapping = run.map_inputs(loaded)
            figures: list[BatchFigures] = []
            if isinstance(mapping, tuple) and evaluation_set.rows[0]:
                figures = _figures(evaluation_set.as_deployed(), loaded, mapping, number, count)
            return ShardFigures((evaluation_set.source.digest, loaded.digest), tuple(figures))


def _figures(
    evaluation_set: EvaluationSet, target: LoadedModel, mapping: Sequence[InputMapping], number: int, count: int
) -> list[BatchFigures]:
    behaviour = evaluation_set.behaviour
    plain_rules = behaviour.rules_for(target)
    noise_rules = None
    if not all(rule.is_quantized for rule in plain_rules):
        behaviour.measure_noise()
        noise_rules = behaviour.rules_for(target)
    figures = []
    for set_number, rows in enumerate(evaluation_set.rows):
        for place, batch in list(enumerate(batches(rows)))[number::count]:
            arrays, expected = evaluation_set.source_outputs.outputs(batch)
            outputs = _outputs(evaluation_set, target, mapping, batch, (arrays, expected))
            parts = []
            for rules in (plain_rules, noise_rules):
                if isinstance(outputs, Comparison):
                    parts.append(None if rules is noise_rules else outputs)
                elif rules is not None:
                    names = evaluation_set.source.output_names
                    parts.append(compare(batch, expected, outputs, names, rules, evaluation_set.options.comparing))
                else:
                    parts.append(None)
            assert parts[0] is not None
            figures.append(BatchFigures(set_number, place, parts[0], parts[1]))
    return figures


def _outputs(
    evaluation_set: EvaluationSet,
    target: LoadedModel,
    mapping: Sequence[InputMapping],
    batch: Sequence[int],
    reference: tuple[Mapping[str, Any], Sequence[Any]],
) -> list[Any] | Comparison:
    """Return the Target's outputs, or the comparison of a batch that it cannot answer."""
    arrays, expected = reference
    deployed = evaluation_set.target_inputs
    target_arrays = arrays if deployed is None else deployed.read(batch)
    try:
        return target_outputs(evaluation_set.source, target, mapping, target_arrays, expected)
    except WorkerFailed as error:
        return all_rows_differ(len(batch), f"the Target does not run: {shorten(str(error))}")
