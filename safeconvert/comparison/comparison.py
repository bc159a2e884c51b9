"""What a comparison of Source and Target counted, output by output, and what of it makes the two differ.

Nothing here is true by default. A :class:`Comparison` of nothing has a count of zero and agrees with nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .comparators import TOP1, Comparator
from .figures import Figures
from .limits import beyond_limits
from .output_rules import OutputRule
from .predictions import Predictions

MAX_DIFFERING_LISTED = 100


@dataclass(frozen=True)
class OutputComparison:
    """One output over all inputs; shapes are without the batch. ``max_abs`` is None where nothing could be compared.

    ``values_differ``: inputs with a value outside the tolerance. ``figures`` are judged by ``rule`` where the output is
    quantised.
    """

    name: str
    source_shape: tuple[int, ...]
    target_shape: tuple[int, ...]
    max_abs: float | None = None
    max_of_tolerance: float = 0.0
    values_differ: int = 0
    is_quantized: bool = False
    rule: OutputRule | None = field(default=None, compare=False, repr=False)
    figures: Figures = field(default_factory=Figures, compare=False, repr=False)

    def joined(self, other: OutputComparison) -> OutputComparison:
        return replace(
            self,
            max_abs=_larger(self.max_abs, other.max_abs),
            max_of_tolerance=max(self.max_of_tolerance, other.max_of_tolerance),
            target_shape=self.target_shape if self.target_shape != self.source_shape else other.target_shape,
            values_differ=self.values_differ + other.values_differ,
            figures=self.figures + other.figures,
        )

    @property
    def kind(self) -> str:
        return "values" if self.rule is None else self.rule.kind.kind

    def to_json(self) -> dict[str, Any]:
        figures = {} if self.rule is None else self.figures.to_json(self.rule.ranges)
        return {
            "name": self.name,
            "source_shape": list(self.source_shape),
            "target_shape": list(self.target_shape),
            "max_abs": self.max_abs,
            "max_of_tolerance": self.max_of_tolerance if np.isfinite(self.max_of_tolerance) else None,
            "kind": self.kind,
            "is_quantized": self.is_quantized,
            "values_differ": self.values_differ,
            "figures": figures,
        }


@dataclass(frozen=True)
class Comparison:
    """Counts over the inputs compared. ``a + b`` joins two disjoint sets of inputs.

    ``labels_differ``: inputs that differ by the comparator ``by``, near-ties included: by default those with another
    label in any output, or another id; where no output has labels, those whose values differ. ``near_ties``: inputs
    whose Source margin (best minus second, for each of the best k) is below the tolerance; ``near_ties_differ`` are
    those of them that also differ. ``ties_agree``: inputs that have another label while all their values agree, which
    only a tie or near-tie can: they refuse nothing. ``order_differs``: inputs whose top classes come in another order.
    ``values_differ``: inputs with any value outside the tolerance. ``predictions_differ``: inputs that differ by the
    rule for quantised outputs. ``source_not_finite`` and ``target_not_finite``: inputs with a NaN or an infinity.
    ``labelled``: some output has labels. ``problems``: what makes the two differ as a whole. ``predictions``: what the
    two predict for each input, where they give one label an input.
    """

    count: int = 0
    labels_differ: int = 0
    near_ties: int = 0
    near_ties_differ: int = 0
    order_differs: int = 0
    values_differ: int = 0
    source_not_finite: int = 0
    target_not_finite: int = 0
    labelled: bool = False
    outputs: tuple[OutputComparison, ...] = ()
    problems: tuple[str, ...] = ()
    differing: tuple[int, ...] = ()
    by: Comparator = TOP1
    ties_agree: int = 0
    predictions_differ: int = 0
    predictions: Predictions = field(default_factory=Predictions, compare=False, repr=False)

    def __add__(self, other: Comparison) -> Comparison:
        if not self.count and not self.problems:
            return other
        if not other.count and not other.problems:
            return self
        outputs = self.outputs or other.outputs
        if self.outputs and other.outputs:
            outputs = tuple(a.joined(b) for a, b in zip(self.outputs, other.outputs, strict=True))
        return Comparison(
            self.count + other.count,
            self.labels_differ + other.labels_differ,
            self.near_ties + other.near_ties,
            self.near_ties_differ + other.near_ties_differ,
            self.order_differs + other.order_differs,
            self.values_differ + other.values_differ,
            self.source_not_finite + other.source_not_finite,
            self.target_not_finite + other.target_not_finite,
            self.labelled or other.labelled,
            outputs,
            tuple(dict.fromkeys(self.problems + other.problems)),
            (self.differing + other.differing)[:MAX_DIFFERING_LISTED],
            self.by,
            self.ties_agree + other.ties_agree,
            self.predictions_differ + other.predictions_differ,
            self.predictions + other.predictions,
        )

    @property
    def percent(self) -> float | None:
        """Discrepancy: percent of the inputs whose labels differ; None where nothing was compared."""
        return 100.0 * self.labels_differ / self.count if self.count else None

    @property
    def upper_bound_95(self) -> float | None:
        """Upper end of the two-sided 95 % Clopper-Pearson interval of the discrepancy, in percent."""
        if not self.count:
            return None
        if self.labels_differ == self.count:
            return 100.0
        from scipy.special import betaincinv  # slow to import, and only ends of runs need it

        return 100.0 * float(betaincinv(self.labels_differ + 1, self.count - self.labels_differ, 0.975))

    @property
    def max_abs(self) -> float | None:
        """Largest absolute difference over all outputs; None where one of them could not be subtracted."""
        values = [output.max_abs for output in self.outputs]
        if not values or any(value is None for value in values):
            return None
        return max(value for value in values if value is not None)

    def agrees(self, *, max_discrepancy: float = 0.0, values: bool = True) -> bool:
        """Is there no difference? ``values=False`` judges every output as a quantised one."""
        return not self.differences(max_discrepancy=max_discrepancy, values=values)

    def differences(self, *, max_discrepancy: float = 0.0, values: bool = True) -> tuple[str, ...]:
        """Why the two do not agree, in words; empty only where something was compared and all of it agreed.

        Each output is judged as its rule says; with ``values=False`` all are judged as quantised ones.
        """
        reasons = list(self.problems)
        if not self.count or not (self.outputs or reasons):
            return (*reasons, "nothing was compared")
        if self.source_not_finite == self.count:
            return (*reasons, "the Source gives NaN or infinity on every input")
        is_map = [output.kind == "map" for output in self.outputs if output.kind in ("labels", "map")]
        is_rounded = not values or any(output.is_quantized for output in self.outputs)
        has_positions_only = is_rounded and bool(is_map) and all(is_map) and self.by.top > 0
        # Positions of a rounded map are judged by their share, which says more than the number of inputs.
        if not has_positions_only and (label_reason := self._label_reason(max_discrepancy)) is not None:
            reasons.append(label_reason)
        if self.target_not_finite:
            reasons.append(f"the Target gives NaN or infinity on {self.target_not_finite} of {self.count} inputs")
        if self.by.judging is None and self.by.top:
            reasons += self._output_reasons(max_discrepancy, values=values)
        return tuple(reasons)

    def _label_reason(self, max_discrepancy: float) -> str | None:
        """The labels that differ, unless they may; ties whose values agree do not count."""
        differing = self.labels_differ - self.ties_agree
        if 100.0 * differing / self.count <= max_discrepancy or not (self.labelled or self.by.by_values):
            return None
        reason = f"{self.labels_differ} of {self.count} {self.by.noun} differ ({self.percent:.2f} %)"
        if self.near_ties_differ:
            reason += f", {self.near_ties_differ} of them near-ties"
        if self.by.by_values:
            worst = max((output.max_of_tolerance for output in self.outputs), default=np.inf)
            reason += f", worst: {_times(worst)} times the tolerance"
        return reason

    def _output_reasons(self, max_discrepancy: float, *, values: bool) -> list[str]:
        """What each output differs in, judged by its rule."""
        reasons, strict = [], []
        for output in self.outputs:
            if output.is_quantized or not values:
                # Who lets labels differ lets the values of rounded labels differ too.
                is_excused = output.kind == "labels" and max_discrepancy > 0
                if output.rule is not None and not is_excused:
                    reasons += beyond_limits(output.rule, output.figures, several=len(self.outputs) > 1)
            elif output.values_differ:
                strict.append(output)
        is_quantized = not strict and (not values or any(output.is_quantized for output in self.outputs))
        allowed = max_discrepancy if self.labelled else 0.0
        if is_quantized and 100.0 * self.predictions_differ / self.count > allowed and not reasons:
            reasons.append(
                f"outputs are off by more than one input may be on {self.predictions_differ} of {self.count} inputs"
            )
        has_several = len(self.outputs) > 1
        for output in strict:
            where = f" in output {output.name!r} ({output.kind})" if has_several else ""
            what, worst = (
                "values differ beyond the tolerance",
                f" (worst: {_times(output.max_of_tolerance)} times the tolerance)",
            )
            if output.kind == "ids":
                what, worst = "ids differ", ""
            reasons.append(f"{what}{where} on {output.values_differ} of {self.count} inputs{worst}")
        return reasons

    @property
    def decidable(self) -> bool:
        """Was every input compared? Not without inputs or outputs, nor where the Source gives no finite answer."""
        return bool(self.problems) or (self.count > 0 and bool(self.outputs) and self.source_not_finite == 0)

    def to_json(self) -> dict[str, Any]:
        return {
            "count": self.count,
            "labels_differ": self.labels_differ,
            "near_ties": self.near_ties,
            "near_ties_differ": self.near_ties_differ,
            "ties_agree": self.ties_agree,
            "percent": self.percent,
            "upper_bound_95": self.upper_bound_95,
            "max_abs": self.max_abs,
            "order_differs": self.order_differs,
            "values_differ": self.values_differ,
            "source_not_finite": self.source_not_finite,
            "target_not_finite": self.target_not_finite,
            "outputs": [output.to_json() for output in self.outputs],
            "problems": list(self.problems),
        }


def all_rows_differ(count: int, problem: str) -> Comparison:
    """The comparison of ``count`` inputs that the Target cannot answer at all."""
    return Comparison(count, labels_differ=count, values_differ=count, predictions_differ=count, problems=(problem,))


def _larger(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else max(a, b)


def _times(factor: float) -> str:
    """``12.3``, ``1,013``: three digits, and no exponent below a million."""
    return f"{factor:,.0f}" if 1000 <= factor < 1e6 else f"{factor:.3g}"
