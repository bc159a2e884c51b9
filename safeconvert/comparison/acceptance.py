"""The rules by which a changed Target is accepted, over comparisons alone: no model and no process.

Every part that changes a Target asks here: the gate of repair (``repair/acceptance.py``) and the search for a route.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .comparison import MAX_DIFFERING_LISTED, Comparison

MAX_BROKEN_BY_ROUNDING = 0.1  # share of the inputs that a change mends

Rule = Callable[[Comparison, Comparison], str]
"""Takes the comparisons of the Target before and after a change over the same inputs; says why it refuses, or ""."""


def refuse_what_was_not_compared(before: Comparison, after: Comparison) -> str:
    """A change is refused where no input could be compared after it, or the Source gives no finite output."""
    if after.count and after.source_not_finite < after.count:
        return ""
    return "nothing was compared"


def refuse_other_inputs(before: Comparison, after: Comparison) -> str:
    """A change is refused where before and after were compared over different numbers of inputs."""
    if before.count == after.count:
        return ""
    return f"{before.count} inputs were compared before and {after.count} after"


def refuse_what_breaks_agreement(before: Comparison, after: Comparison) -> str:
    """A change is refused where an input whose labels and values agreed before differs afterwards.

    The rounding of a quantised output makes single inputs agree or differ by chance: there a change may break at most
    ``MAX_BROKEN_BY_ROUNDING`` of the number of inputs that it mends.
    """
    if before.labels_differ == before.count or len(before.differing) >= MAX_DIFFERING_LISTED:
        return ""  # none agreed; or the list may be cut, and what is not on it may have differed
    broken = set(after.differing) - set(before.differing)
    mended = set(before.differing) - set(after.differing)
    is_rounded = any(output.is_quantized for output in after.outputs)
    if is_rounded and len(broken) <= MAX_BROKEN_BY_ROUNDING * len(mended):
        return ""
    return f"{len(broken)} inputs that agreed before differ afterwards" if broken else ""


def refuse_new_problems(before: Comparison, after: Comparison) -> str:
    """A change is refused where the Target fails in a new way, such as not to run, or outputs of another shape."""
    return "; ".join(problem for problem in after.problems if problem not in before.problems)


def refuse_what_is_no_closer(before: Comparison, after: Comparison) -> str:
    """A change is refused unless fewer labels differ or, with as many, outputs are closer to the Source's."""
    return "" if is_closer(after, before) else "the discrepancy does not fall"


RULES: tuple[Rule, ...] = (
    refuse_what_was_not_compared,  # first: the other rules mean nothing without it
    refuse_other_inputs,  # a share of other inputs is no measure of this change
    refuse_new_problems,
    refuse_what_breaks_agreement,
    refuse_what_is_no_closer,  # last: a Target that is closer on the whole may still break single inputs
)


def refusal(before: Comparison, after: Comparison) -> str:
    """Return why the changed Target is refused, by the first rule that refuses it; empty where it is accepted."""
    return next((reason for rule in RULES if (reason := rule(before, after))), "")


def is_closer(first: Comparison, second: Comparison) -> bool:
    """Return whether the first differs less: in labels, then in problems, then in values."""
    return discrepancy_key(first) < discrepancy_key(second)


def discrepancy_key(comparison: Comparison) -> tuple[float, int, int, float]:
    """Return a key that is smaller for a smaller discrepancy.

    It holds the share of inputs whose labels differ, the number of problems, the number of inputs on which the Target
    is not finite, and the largest absolute difference of the outputs.
    """
    largest = comparison.max_abs
    return (
        comparison.labels_differ / max(comparison.count, 1),
        len(comparison.problems),
        comparison.target_not_finite,
        np.inf if largest is None else largest,
    )


def agrees_on_sample(comparison: Comparison, *, is_unquantized: bool) -> bool:
    """Return whether a converter's result agrees with the Source on the few inputs that every hop is checked on.

    So few inputs cannot judge rounding to integers, which the check over all inputs does. A quantised result passes
    where it runs, is finite and is not far off on most inputs, by the rule for quantised outputs.
    """
    if is_unquantized:
        return comparison.agrees()
    most_predictions_agree = 2 * comparison.predictions_differ <= comparison.count
    return most_predictions_agree and not comparison.problems and not comparison.target_not_finite
