"""Pass the Target through the inputs, compare it with the Source, and reach a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..comparison.compare import Comparison, compare, impossible
from ..errors import WorkerFailed
from ..inputs.base import Inputs
from ..models.input_mapping import Feed, feed, match_outputs
from ..models.loaded import LoadedModel, shorten
from ..options import Observer, Options
from ..records import Verdict
from .evaluation_set import SAMPLE, EvaluationSet
from .second_runtime import WORDS, elsewhere, unasked


@dataclass(frozen=True)
class Judgement:
    """A verdict, why it is not ``verified``, and the comparisons over calibration and held-out set (None: not made).

    ``before`` are those of the unrepaired model, where something was repaired. ``elsewhere`` is the Target in the
    second runtime, where that is what differs and what was compared.
    """

    verdict: Verdict
    reasons: tuple[str, ...] = ()
    compared: tuple[Comparison, Comparison] | None = None
    before: tuple[Comparison, Comparison] | None = None
    elsewhere: LoadedModel | None = None


def judge(
    material: EvaluationSet, target: LoadedModel, feeds: Sequence[Feed], options: Options, observer: Observer
) -> Judgement:
    """Compare over both sets; each in batches, so that memory does not grow with the number of inputs."""
    calibration, heldout = material.rows
    if not calibration:
        return Judgement(Verdict.UNDECIDED, ("no input could be read, so nothing was compared",))
    material.ahead()
    try:
        deployed = material.deployed()
        compared = (
            over(material, target, feeds, calibration, deployed, options, observer, "checking"),
            over(material, target, feeds, heldout, deployed, options, observer, "confirming"),
        )
    except WorkerFailed as error:
        return Judgement(Verdict.UNDECIDED, (f"the Source does not run on these inputs: {shorten(str(error))}",))
    judged = {"calibration": compared[0]} | ({"held-out": compared[1]} if heldout else {})
    quantized = material.source.signature.quantized or target.signature.quantized
    reasons = tuple(
        f"{name}: {reason}"
        for name, one in judged.items()
        for reason in one.differences(max_discrepancy=options.max_discrepancy, values=not quantized)
    )
    if not all(one.decidable for one in judged.values()):
        return Judgement(
            Verdict.UNDECIDED,
            ("the Source gives NaN or infinity on some inputs, which cannot be compared", *reasons),
            compared,
        )
    if reasons and deployed is not None:
        reasons = (*reasons, "the Target's images were prepared by --target-preprocess, another way than the Source's")
    if reasons and target.runtime is not None:
        reasons = (WORDS, *reasons)
    if not reasons and (other := elsewhere(material.source, target)) is not None:
        if why := unasked(other):
            return Judgement(Verdict.UNDECIDED, (why,), compared)
        few = over(material, other, feeds, calibration[:SAMPLE], deployed, options, observer, "running it elsewhere")
        if not few.agrees(values=not quantized):
            found = judge(material, other, feeds, options, observer)
            if found.verdict is Verdict.DIVERGED:
                return replace(found, elsewhere=other)
    return Judgement(Verdict.DIVERGED if reasons else Verdict.VERIFIED, reasons, compared)


def judge_repaired(
    judgement: Judgement,
    material: EvaluationSet,
    before: LoadedModel,
    feeds: Sequence[Feed],
    options: Options,
    observer: Observer,
) -> Judgement:
    """The judgement of a Target that was repaired on the way: what it was before is measured as well."""
    if judgement.compared is None:
        return judgement
    deployed = material.deployed()
    calibration, heldout = (
        over(material, before, feeds, rows, deployed, options, observer, "comparing with the unrepaired model")
        for rows in material.rows
    )
    verdict = Verdict.REPAIRED if judgement.verdict is Verdict.VERIFIED else judgement.verdict
    return replace(judgement, verdict=verdict, before=(calibration, heldout))


def over(
    material: EvaluationSet,
    target: LoadedModel,
    feeds: Sequence[Feed],
    rows: Sequence[int],
    deployed: Inputs | None,
    options: Options,
    observer: Observer,
    what: str,
) -> Comparison:
    """Source against Target over these rows. Raises :class:`WorkerFailed` only where the Source is what fails."""
    total, done = Comparison(), 0
    names = material.source.output_names
    for batch, arrays, expected in material.reference.each(rows):
        given = arrays if deployed is None else deployed.read(batch)
        try:
            outputs = match_outputs(names, target.output_names, target.run(feed(feeds, given)))
        except WorkerFailed as error:
            total += impossible(len(batch), f"the Target does not run: {shorten(str(error))}")
        else:
            total += compare(batch, expected, outputs, names, options.tolerance, options.comparing)
        done += len(batch)
        observer.progress(what, done, len(rows))
    return total


def better(one: Comparison, other: Comparison) -> bool:
    """Does the first differ less: in how many labels, then in problems, then in values?"""
    return badness(one) < badness(other)


def badness(one: Comparison) -> tuple[float, int, int, float]:
    """The smaller, the better: labels that differ, problems, values that are not finite, the largest difference."""
    count = max(one.count, 1)
    largest = one.max_abs
    return one.labels_differ / count, len(one.problems), one.target_not_finite, np.inf if largest is None else largest
