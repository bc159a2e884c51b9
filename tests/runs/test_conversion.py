"""What counts as the conversion's own fault, where the Target was quantised after it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from safeconvert.checking.verdict import Judgement
from safeconvert.comparison.comparison import Comparison
from safeconvert.records import Verdict
from safeconvert.runs.conversion import Conversion

NOTHING: Any = None


def judgement(verdict: Verdict, differing: int) -> Judgement:
    return Judgement(verdict, (), (Comparison(count=10, labels_differ=differing), Comparison(count=10)))


@pytest.mark.parametrize(
    ("verdict", "is_good"),
    [(Verdict.VERIFIED, True), (Verdict.REPAIRED, True), (Verdict.DIVERGED, False), (Verdict.UNDECIDED, False)],
)
def test_a_conversion_is_as_good_as_its_verdict(verdict: Verdict, is_good: bool) -> None:
    conversion = Conversion(NOTHING, NOTHING, NOTHING, judgement(verdict, 3), NOTHING, NOTHING)
    assert conversion.is_good is is_good
    assert conversion.percent == 30.0
    assert replace(conversion, judgement=Judgement(verdict)).percent is None


def test_what_quantisation_costs_is_not_the_converters_fault() -> None:
    quantised = Conversion(
        NOTHING, NOTHING, NOTHING, judgement(Verdict.DIVERGED, 9), NOTHING, NOTHING,
        float_judgement=judgement(Verdict.VERIFIED, 0),
    )  # fmt: skip
    assert quantised.is_good
    assert quantised.percent == 0.0
