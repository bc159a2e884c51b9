"""Compare what Source and Target answer: labels, order of the top classes, values, output by output.

Nothing here is true by default. A :class:`Comparison` of nothing has a count of zero and agrees with nothing;
a missing output, another shape, a NaN or an infinity differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .comparators import TOP1, Comparator

Array = np.ndarray[Any, Any]
TOP = 5
MAX_DIFFERING_LISTED = 100


@dataclass(frozen=True)
class Tolerance:
    """Values may differ by at most ``atol + rtol * max|row|``, the row being one input's Source output.

    The defaults let the rounding of float32 pass and nothing that a person would call another model: a
    doubled or tempered output differs. ``origin`` says where the numbers come from, for the report.
    """

    atol: float = 1e-4
    rtol: float = 1e-3
    origin: str = "default"

    def of(self, rows: Array) -> Array:
        """The tolerance of each row of a (batch, values) array."""
        return np.asarray(self.atol + self.rtol * np.abs(rows).max(axis=1, initial=0.0))


@dataclass(frozen=True)
class OutputComparison:
    """One output over all inputs; shapes are without the batch. ``max_abs`` is None where nothing could be compared."""

    name: str
    source_shape: tuple[int, ...]
    target_shape: tuple[int, ...]
    max_abs: float | None = None
    max_of_tolerance: float = 0.0

    def joined(self, other: OutputComparison) -> OutputComparison:
        return replace(
            self,
            max_abs=_larger(self.max_abs, other.max_abs),
            max_of_tolerance=max(self.max_of_tolerance, other.max_of_tolerance),
            target_shape=self.target_shape if self.target_shape != self.source_shape else other.target_shape,
        )


@dataclass(frozen=True)
class Comparison:
    """Counts over the inputs compared. ``a + b`` joins two disjoint sets of inputs.

    ``labels_differ``: inputs that differ by the comparator ``by``, near-ties included: by default those whose arg-max
    class differs in any output. ``near_ties``: inputs whose Source margin (best minus second, for each of the best k)
    is below the tolerance; ``near_ties_differ`` are those of them that also differ. ``order_differs``: inputs whose top
    classes come in another order. ``values_differ``: inputs with any value outside the tolerance.
    ``source_not_finite`` and ``target_not_finite``: inputs with a NaN or an infinity. ``labelled``: outputs with at
    least two values, the others being judged by value alone. ``problems``: what makes the two differ as a whole.
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
        """Is there no difference? ``values=False`` lets labels decide, where there are labels."""
        return not self.differences(max_discrepancy=max_discrepancy, values=values)

    def differences(self, *, max_discrepancy: float = 0.0, values: bool = True) -> tuple[str, ...]:
        """Why the two do not agree, in words; empty only where something was compared and all of it agreed."""
        found = list(self.problems)
        percent = self.percent
        if percent is None:
            return (*found, "nothing was compared")
        if self.source_not_finite == self.count:
            return (*found, "the Source gives NaN or infinity on every input")
        worst = max((output.max_of_tolerance for output in self.outputs), default=np.inf)
        if percent > max_discrepancy:
            found.append(f"{self.labels_differ} of {self.count} {self.by.noun} differ ({percent:.2f} %)")
            if self.near_ties_differ:
                found[-1] += f", {self.near_ties_differ} of them near-ties"
            if self.by.by_values:
                found[-1] += f", worst: {worst:.3g} times the tolerance"
        if self.target_not_finite:
            found.append(f"the Target gives NaN or infinity on {self.target_not_finite} of {self.count} inputs")
        if self.values_differ and self.by.top and (values or not self.labelled):
            found.append(
                f"values differ beyond the tolerance on {self.values_differ} of {self.count} inputs"
                f" (worst: {worst:.3g} times the tolerance)"
            )
        return tuple(found)

    @property
    def decidable(self) -> bool:
        """Was every input compared? Not where there were none, nor where the Source gives no finite answer."""
        return bool(self.problems) or (self.count > 0 and self.source_not_finite == 0)

    def to_json(self) -> dict[str, Any]:
        return {
            "count": self.count,
            "labels_differ": self.labels_differ,
            "near_ties": self.near_ties,
            "near_ties_differ": self.near_ties_differ,
            "percent": self.percent,
            "upper_bound_95": self.upper_bound_95,
            "max_abs": self.max_abs,
            "order_differs": self.order_differs,
            "values_differ": self.values_differ,
            "source_not_finite": self.source_not_finite,
            "target_not_finite": self.target_not_finite,
            "outputs": [
                {
                    "name": o.name,
                    "source_shape": list(o.source_shape),
                    "target_shape": list(o.target_shape),
                    "max_abs": o.max_abs,
                    "max_of_tolerance": o.max_of_tolerance if np.isfinite(o.max_of_tolerance) else None,
                }
                for o in self.outputs
            ],
            "problems": list(self.problems),
        }


def compare(
    rows: Sequence[int],
    source: Sequence[Array],
    target: Sequence[Array],
    names: Sequence[str],
    tolerance: Tolerance,
    by: Comparator = TOP1,
) -> Comparison:
    """Compare the outputs of the two models on the same inputs.

    ``rows`` are the inputs' numbers, one for each entry of the arrays' first axis; ``names`` name the Source's
    outputs. Outputs are matched by position: see ``feeding`` for how positions are found. ``by`` says what makes an
    input differ; raises :class:`BadInput` where that is a person's own function which does not say it.
    """
    count = len(rows)
    if not count:
        return Comparison()
    problems: list[str] = []
    if len(source) != len(target):
        problems.append(f"the Source has {len(source)} outputs, the Target {len(target)}")
    wrong_label = np.zeros(count, bool)
    near = np.zeros(count, bool)
    order = np.zeros(count, bool)
    values = np.zeros(count, bool)
    bad_source = np.zeros(count, bool)
    bad_target = np.zeros(count, bool)
    outputs = []
    labelled = False
    for index, expected in enumerate(source):
        name = names[index] if index < len(names) else f"output {index}"
        if index >= len(target):
            wrong_label[:] = values[:] = True
            continue
        given = target[index]
        shapes = tuple(expected.shape[1:]), tuple(given.shape[1:])
        if shapes[0] != shapes[1]:
            problems.append(
                f"output {name!r} has shape {list(shapes[0])} in the Source, {list(shapes[1])} in the Target"
            )
        a = expected.reshape(count, -1).astype(np.float64)
        b = given.reshape(len(given), -1).astype(np.float64)
        if a.shape != b.shape:
            wrong_label[:] = values[:] = True
            outputs.append(OutputComparison(name, *shapes, None, np.inf))
            continue
        finite_a, finite_b = np.isfinite(a).all(axis=1), np.isfinite(b).all(axis=1)
        bad_source |= ~finite_a
        bad_target |= ~finite_b
        both = finite_a & finite_b
        clean_a, clean_b = np.where(np.isfinite(a), a, 0.0), np.where(np.isfinite(b), b, 0.0)
        difference = np.abs(clean_a - clean_b).max(axis=1, initial=0.0)
        allowed = tolerance.of(clean_a)
        values |= (difference > allowed) | ~both
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = np.nan_to_num(difference / allowed, nan=0.0, posinf=np.inf)  # 0 of 0 allowed is no difference
        ratio = float(ratios.max(initial=0.0)) if both.all() else np.inf
        outputs.append(
            OutputComparison(name, *shapes, float(difference[both].max(initial=0.0)) if both.any() else None, ratio)
        )
        if a.shape[1] < 2 or not by.top:
            continue  # a lone value has no arg-max to speak of
        labelled = True
        k = min(max(TOP, by.top + 1), a.shape[1])
        top_a, top_b = (np.argsort(-x, axis=1, kind="stable")[:, :k] for x in (clean_a, clean_b))
        wrong_label |= (top_a[:, : by.top] != top_b[:, : by.top]).any(axis=1) | ~both
        order |= (top_a[:, :TOP] != top_b[:, :TOP]).any(axis=1) | ~both
        margins = -np.diff(np.take_along_axis(clean_a, top_a[:, : by.top + 1], axis=1), axis=1)
        near |= (margins < allowed[:, None]).any(axis=1) & finite_a
    if by.judging is not None and not problems:
        pairs = [dict(zip(names, arrays, strict=False)) for arrays in (source, target)]
        wrong_label |= ~by.agreed(pairs[0], pairs[1], count) | bad_target
        labelled = True
    elif not by.top:
        wrong_label |= values
    # Where the Source itself gives no number there is nothing to agree with: counted apart, see undecidable.
    wrong_label &= ~bad_source
    values &= ~bad_source
    order &= ~bad_source
    return Comparison(
        count,
        int(wrong_label.sum()),
        int(near.sum()),
        int((near & wrong_label).sum()),
        int(order.sum()),
        int(values.sum()),
        int(bad_source.sum()),
        int((bad_target & ~bad_source).sum()),
        labelled,
        tuple(outputs),
        tuple(problems),
        tuple(int(rows[int(i)]) for i in np.flatnonzero(wrong_label | (values if by.judging is None else False))),
        by,
    )


def all_rows_differ(count: int, problem: str) -> Comparison:
    """The comparison of ``count`` inputs that the Target cannot answer at all."""
    return Comparison(count, labels_differ=count, values_differ=count, problems=(problem,))


def _larger(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else max(a, b)
