"""Each rule by which a changed Target is accepted, over a table of comparisons; without the rule it is accepted."""

from __future__ import annotations

import pytest

from safeconvert.comparison import acceptance
from safeconvert.comparison.acceptance import (
    agrees_on_sample,
    is_closer,
    refusal,
    refuse_new_problems,
    refuse_other_inputs,
    refuse_what_breaks_agreement,
    refuse_what_is_no_closer,
    refuse_what_was_not_compared,
)
from safeconvert.comparison.comparison import Comparison, OutputComparison, all_rows_differ


def compared(
    labels_differ: int = 0,
    largest: float = 0.0,
    *,
    count: int = 10,
    differing: tuple[int, ...] = (),
    problems: tuple[str, ...] = (),
    source_not_finite: int = 0,
    target_not_finite: int = 0,
    is_quantized: bool = False,
) -> Comparison:
    """A comparison over ``count`` inputs; ``largest`` is the largest absolute difference of its one output."""
    return Comparison(
        count,
        labels_differ,
        values_differ=len(differing),
        predictions_differ=labels_differ,
        source_not_finite=source_not_finite,
        target_not_finite=target_not_finite,
        labelled=True,
        outputs=(OutputComparison("out", (4,), (4,), largest, is_quantized=is_quantized),),
        problems=problems,
        differing=differing,
    )


BEFORE = compared(4, 2.0, differing=(0, 1, 2, 3))

REFUSED = [
    (refuse_what_was_not_compared, BEFORE, compared(source_not_finite=10), "nothing was compared"),
    (refuse_other_inputs, BEFORE, compared(count=3), "10 inputs were compared before and 3 after"),
    (
        refuse_new_problems,
        BEFORE,
        compared(problems=("the Target does not run: no kernel",)),
        "the Target does not run: no kernel",
    ),
    (
        refuse_what_breaks_agreement,
        BEFORE,
        compared(1, 0.5, differing=(7,)),
        "1 inputs that agreed before differ afterwards",
    ),
    (refuse_what_is_no_closer, BEFORE, BEFORE, "the discrepancy does not fall"),
]


@pytest.mark.parametrize(("rule", "before", "after", "reason"), REFUSED)
def test_a_rule_refuses_what_is_accepted_without_it(
    rule: acceptance.Rule, before: Comparison, after: Comparison, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert refusal(before, after) == reason
    monkeypatch.setattr(acceptance, "RULES", tuple(other for other in acceptance.RULES if other is not rule))
    assert refusal(before, after) == ""


def test_every_rule_is_in_the_table() -> None:
    assert {row[0] for row in REFUSED} == set(acceptance.RULES)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (BEFORE, compared()),
        (BEFORE, compared(2, 2.0, differing=(1, 2))),
        (BEFORE, compared(4, 1.0, differing=(0, 1, 2, 3))),
        (all_rows_differ(10, "takes other sizes"), compared(9, 3.0, differing=tuple(range(9)))),
        (compared(9, differing=tuple(range(100)), count=500), compared(1, differing=(400,), count=500)),
    ],
    ids=["all healed", "some healed", "values closer", "runs now", "the list of those that differed was cut"],
)
def test_a_target_that_is_closer_and_breaks_nothing_is_accepted(before: Comparison, after: Comparison) -> None:
    assert refusal(before, after) == ""


def test_rounding_may_break_few_inputs_where_a_change_mends_many() -> None:
    before = compared(30, count=40, differing=tuple(range(30)))
    few = compared(11, count=40, differing=(*range(10), 39), is_quantized=True)
    many = compared(13, count=40, differing=(*range(10), 37, 38, 39), is_quantized=True)
    exact = compared(11, count=40, differing=(*range(10), 39))
    assert refusal(before, few) == ""
    assert refusal(before, many) == "3 inputs that agreed before differ afterwards"
    assert refusal(before, exact) == "1 inputs that agreed before differ afterwards"


@pytest.mark.parametrize(
    ("closer", "farther"),
    [
        (compared(1, 9.0), compared(2, 0.1)),
        (compared(2, 0.1), compared(2, 0.1, problems=("another shape",))),
        (compared(2, 9.0), compared(2, 0.1, target_not_finite=1)),
        (compared(2, 0.1), compared(2, 0.2)),
        (compared(2, 0.1), all_rows_differ(10, "does not run")),
    ],
)
def test_labels_decide_first_and_values_last(closer: Comparison, farther: Comparison) -> None:
    assert is_closer(closer, farther)
    assert not is_closer(farther, closer)


@pytest.mark.parametrize(
    ("comparison", "unquantized", "quantized"),
    [
        (compared(), True, True),
        (compared(5, differing=(0, 1, 2, 3, 4)), False, True),
        (compared(6, differing=(0, 1, 2, 3, 4, 5)), False, False),
        (compared(problems=("another shape",)), False, False),
        (compared(target_not_finite=1), False, False),
    ],
)
def test_a_quantised_result_passes_the_sample_where_most_labels_agree(
    comparison: Comparison, unquantized: bool, quantized: bool
) -> None:
    assert agrees_on_sample(comparison, is_unquantized=True) is unquantized
    assert agrees_on_sample(comparison, is_unquantized=False) is quantized
