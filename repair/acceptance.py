"""The one gate of repair: strategies propose changed Targets; it alone compares and accepts them.

It alone turns the verdict ``verified`` into ``repaired``. Its rules are in ``comparison/acceptance.py``, each a
function of two comparisons.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..checking.evaluation_set import EvaluationSet
from ..checking.verdict import Judgement, compare_rows
from ..comparison.acceptance import discrepancy_key, is_closer, refusal
from ..comparison.comparison import Comparison, all_rows_differ
from ..conversion.stage import ConvertedModel
from ..errors import WorkerFailed
from ..formats import TFLITE
from ..models.input_mapping import InputMapping, Mismatch, map_inputs
from ..models.loaded_model import LoadedModel, shorten
from ..records import Verdict

MAX_ROWS_COMPARED = 64  # calibration inputs on which a changed Target is compared
MAX_FAULTS_MEASURED_ALONE = 12  # faults of which each is left out once; more are accepted or refused together


@dataclass(frozen=True)
class Candidate:
    """A changed Target that a strategy proposes.

    ``faults`` are the indices of the faults that the change repairs. ``words`` say what was changed. ``preference``
    orders candidates before their discrepancy does; the smaller is preferred.
    """

    model: LoadedModel
    faults: tuple[int, ...] = ()
    words: str = ""
    preference: int = 0


@dataclass(frozen=True)
class Decision:
    """What the gate says of a candidate.

    ``stage`` is the changed Target with the mapping of its inputs, None where it cannot run on the Source's inputs.
    ``refusal`` says why it is refused, and is empty where it is accepted: it is closer to the Source than the Target
    was, and breaks nothing. ``agrees``: no more inputs differ than ``--max-discrepancy`` allows. ``labels_agree``: the
    same by labels alone. ``is_equal``: no input differs.
    """

    candidate: Candidate
    stage: ConvertedModel | None
    comparison: Comparison
    refusal: str
    agrees: bool = False
    labels_agree: bool = False
    is_equal: bool = False

    @property
    def is_accepted(self) -> bool:
        return not self.refusal

    @property
    def order(self) -> tuple[int, tuple[float, int, int, float]]:
        """A key that is smaller for the better of two candidates."""
        return self.candidate.preference, discrepancy_key(self.comparison)


@dataclass(frozen=True)
class NeededRepairs:
    """The accepted candidate with the fewest repairs.

    ``percents`` has the discrepancy in percent with one fault left as it is, for each fault measured alone.
    """

    decision: Decision
    percents: Mapping[int, float | None] = field(default_factory=dict)


class Gate:
    """Compares candidates with the Source over calibration inputs, and accepts or refuses them."""

    def __init__(
        self,
        evaluation_set: EvaluationSet,
        shapes: Mapping[str, Sequence[int | None]],
        target: ConvertedModel | None,
        before: Comparison,
        *,
        is_unquantized: bool,
        max_rows: int = MAX_ROWS_COMPARED,
    ) -> None:
        """``before`` compares the unchanged ``target`` over all calibration inputs; None: it does not take them.

        ``shapes`` are those of the Source's inputs. ``is_unquantized``: neither Source nor Target is quantised, so that
        values decide as well as labels.
        """
        self.evaluation_set, self.shapes, self.is_unquantized = evaluation_set, shapes, is_unquantized
        self.rows = choose_rows(evaluation_set.rows[0], before.differing, max_rows)
        self._target, self._before = target, before

    @property
    def before(self) -> Comparison:
        """How the unchanged Target compares with the Source over the gate's inputs."""
        if self._before.count != len(self.rows):
            if self._target is None:
                self._before = all_rows_differ(len(self.rows), *self._before.problems[:1])
            else:
                self._before = self._compare(self._target.model, self._target.mapping)
        return self._before

    def consider(self, candidate: Candidate) -> Decision:
        """Compare a candidate with the Source, and accept it where every rule does."""
        mapping = self._mapping(candidate.model)
        if isinstance(mapping, Mismatch):
            return Decision(candidate, None, all_rows_differ(len(self.rows), mapping.reason), mapping.reason)
        comparison = self._compare(candidate.model, mapping)
        allowed, values = self.evaluation_set.options.allowed_discrepancy, self._values_decide(candidate.model)
        return Decision(
            candidate,
            ConvertedModel(candidate.model, mapping),
            comparison,
            refusal(self.before, comparison),
            agrees=comparison.agrees(max_discrepancy=allowed, values=values),
            labels_agree=comparison.agrees(max_discrepancy=allowed, values=False),
            is_equal=comparison.agrees(values=values),
        )

    def closest(self, candidates: Iterable[Candidate]) -> Decision | None:
        """Return the first accepted candidate that equals the Source, else the best accepted; None where none is."""
        best: Decision | None = None
        for candidate in candidates:
            decision = self.consider(candidate)
            if not decision.is_accepted:
                continue
            if decision.is_equal:
                return decision
            if best is None or decision.order < best.order:
                best = decision
        return best

    def fewest_repairs(
        self, faults: Sequence[int], propose: Callable[[Sequence[int]], Candidate], may_go_on: Callable[[], bool]
    ) -> NeededRepairs | Decision:
        """Return the accepted candidate with the fewest of the ``faults`` repaired, or why all of them are refused.

        ``propose`` returns the candidate with the faults repaired that it is called with. A repair is left out where
        the Target then equals the Source, or is no farther from it. ``may_go_on`` says whether time is left.
        """
        decision = self.consider(propose(faults))
        if not decision.is_accepted:
            return decision
        percents: dict[int, float | None] = {}
        needed = list(faults)
        for index in reversed(faults) if 1 < len(faults) <= MAX_FAULTS_MEASURED_ALONE else ():
            fewer = [other for other in needed if other != index]
            if not fewer or not may_go_on():
                break
            without = self.consider(propose(fewer))
            if without.is_accepted and (without.is_equal or not is_closer(decision.comparison, without.comparison)):
                needed, decision = fewer, without
            else:
                percents[index] = without.comparison.percent
        return NeededRepairs(decision, percents)

    def _values_decide(self, model: LoadedModel) -> bool:
        """Values decide for models without quantisation; also where the change took the Target's away (TFLite)."""
        if model.format == TFLITE:
            return not (self.evaluation_set.source.signature.quantized or model.signature.quantized)
        return self.is_unquantized

    def _mapping(self, model: LoadedModel) -> tuple[InputMapping, ...] | Mismatch:
        try:
            model.worker()
        except WorkerFailed as error:
            return Mismatch(shorten(str(error)))
        return map_inputs(self.evaluation_set.source.signature, self.shapes, model.signature)

    def _compare(self, model: LoadedModel, mapping: Sequence[InputMapping]) -> Comparison:
        return compare_rows(self.evaluation_set, model, mapping, self.rows, "comparing a repair")


def choose_rows(rows: Sequence[int], differing: Sequence[int], count: int) -> tuple[int, ...]:
    """Choose ``count`` of the inputs, in their order: up to half of them such as differ, so that a repair shows."""
    if len(rows) <= count:
        return tuple(rows)
    chosen = [row for row in differing if row in set(rows)][: count // 2]
    others = [row for row in rows if row not in set(chosen)]
    rows_chosen = {*chosen, *others[: count - len(chosen)]}
    return tuple(row for row in rows if row in rows_chosen)


def repaired(judgement: Judgement, before: tuple[Comparison, Comparison]) -> Judgement:
    """Return the judgement of a changed Target: ``verified`` becomes ``repaired``, here and nowhere else.

    ``before`` are the comparisons of the unchanged Target over the calibration and the held-out set.
    """
    verdict = Verdict.REPAIRED if judgement.verdict is Verdict.VERIFIED else judgement.verdict
    return replace(judgement, verdict=verdict, before=before)


def repaired_on_the_way(
    judgement: Judgement, evaluation_set: EvaluationSet, unrepaired: LoadedModel, mapping: Sequence[InputMapping]
) -> Judgement:
    """Return the judgement of a Target that was repaired while it was converted; measures the unrepaired model too."""
    if judgement.compared is None:
        return judgement
    calibration, heldout = (
        compare_rows(evaluation_set, unrepaired, mapping, rows, "comparing with the unrepaired model")
        for rows in evaluation_set.rows
    )
    return repaired(judgement, (calibration, heldout))
