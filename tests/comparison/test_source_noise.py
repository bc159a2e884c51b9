"""The Source's own noise, and what it excuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from safeconvert.comparison.compare import compare
from safeconvert.comparison.output_rules import rules_from_arrays
from safeconvert.comparison.source_noise import NUDGE, is_ill_conditioned, moved, nudged, slice_noise
from safeconvert.comparison.tolerance import Tolerance

VALUES = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)


def test_inputs_are_nudged_by_one_part_in_a_million_and_integers_are_left() -> None:
    arrays = {"x": np.ones((4, 5), np.float64), "ids": np.arange(4)}
    other = nudged(arrays, 0)
    assert np.allclose(np.abs(other["x"] - 1), NUDGE)
    assert (other["ids"] == arrays["ids"]).all()


def test_a_difference_within_four_times_the_noise_is_none_and_above_it_is_one() -> None:
    (rule,) = rules_from_arrays(["values"], [VALUES], Tolerance())
    noise = np.array([0.1, 0, 0])
    noisy = replace(rule, noise=noise)
    for by, agrees in ((0.35, True), (0.45, False)):
        off = VALUES + np.array([by, 0, 0], np.float32)
        assert compare(range(20), [VALUES], [off], ["values"], [noisy]).agrees() is agrees
        assert not compare(range(20), [VALUES], [off], ["values"], [rule]).agrees()
    other_channel = VALUES + np.array([0, 0.35, 0], np.float32)
    assert not compare(range(20), [VALUES], [other_channel], ["values"], [noisy]).agrees()


def test_an_absolute_tolerance_of_the_person_s_is_not_widened() -> None:
    (rule,) = rules_from_arrays(["values"], [VALUES], Tolerance(0.01, 0.0, has_atol=True))
    noisy = replace(rule, noise=np.full(3, 1.0))
    assert not compare(range(20), [VALUES], [VALUES + 0.02], ["values"], [noisy]).agrees()


def test_noise_has_one_value_a_channel() -> None:
    base = np.zeros((2, 3, 4), np.float32)
    other = base.copy()
    other[0, 1, 2] = 5
    assert slice_noise(moved(base, other), 1).ravel().tolist() == [0, 5, 0]


def test_a_source_whose_noise_is_most_of_what_it_says_is_ill_conditioned() -> None:
    (rule,) = rules_from_arrays(["values"], [VALUES], Tolerance())
    assert is_ill_conditioned(rule.scales.spread, rule.scales)
    assert not is_ill_conditioned(rule.scales.spread * 1e-3, rule.scales)
