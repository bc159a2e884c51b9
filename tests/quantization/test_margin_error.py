"""The error that steers the search: what share of a margin is used up, and not which labels happen to change."""

from __future__ import annotations

import numpy as np
import pytest

from safeconvert.quantization.margin_error import MAX_SHARE, margin_shares


@pytest.mark.parametrize(
    ("expected", "actual", "share"),
    [
        ([0.6, 0.4, 0.0], [0.6, 0.4, 0.0], 0.0),
        ([0.6, 0.4, 0.0], [0.55, 0.45, 0.0], 0.5),
        ([0.6, 0.4, 0.0], [0.4, 0.6, 0.0], MAX_SHARE),
        ([0.6, 0.4, 0.0], [0.7, 0.3, 0.0], 0.0),
        ([0.5, 0.5, 0.0], [0.5, 0.5, 0.0], 0.0),
    ],
)
def test_the_share_of_the_margin_says_how_far_a_label_is_from_changing(
    expected: list[float], actual: list[float], share: float
) -> None:
    assert margin_shares(np.array([expected]), np.array([actual]))[0] == pytest.approx(share)


def test_a_share_of_one_is_where_the_label_changes() -> None:
    random = np.random.default_rng(0)
    expected = random.random((500, 5))
    actual = expected + random.normal(0, 0.2, expected.shape)
    shares = margin_shares(expected, actual)
    assert ((shares > 1) == (expected.argmax(1) != actual.argmax(1))).all()


def test_what_is_no_number_uses_up_everything() -> None:
    assert margin_shares(np.array([[1.0, 0.0]]), np.array([[np.nan, 0.0]]))[0] == MAX_SHARE
