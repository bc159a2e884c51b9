"""The sets of rewrites: every rewrite has its use, each set builds on the milder one, and no name is unknown."""

from __future__ import annotations

import pytest
from safeconvert.repair.rewrites import REWRITES
from safeconvert.repair.rewrites.sets import ALTERNATIVES, CANONICAL, MISSING, ON_REQUEST, PLAIN

NAMES = {rewrite.name for rewrite in REWRITES}


@pytest.mark.parametrize("chosen", [CANONICAL, MISSING, PLAIN, ALTERNATIVES, ON_REQUEST])
def test_a_set_names_known_rewrites_once(chosen: tuple[str, ...]) -> None:
    assert len(chosen) == len(set(chosen))
    assert set(chosen) <= NAMES


def test_every_rewrite_is_in_a_set() -> None:
    assert {*PLAIN, *MISSING, *ALTERNATIVES, *ON_REQUEST} == NAMES


def test_a_larger_set_has_all_of_the_milder_one_but_what_it_says_otherwise() -> None:
    assert set(CANONICAL) <= set(MISSING)
    assert set(MISSING) - set(PLAIN) <= {"maxpool-pads-value"}


def test_a_second_form_and_a_change_of_what_is_computed_are_never_made_unasked() -> None:
    assert set(PLAIN).isdisjoint(ALTERNATIVES)
    assert {*PLAIN, *MISSING, *ALTERNATIVES}.isdisjoint(ON_REQUEST)
