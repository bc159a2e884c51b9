"""How one tensor lies in another: which layouts are tried, in which order, and what they do to the values."""

from __future__ import annotations

import numpy as np
import pytest

from safeconvert.runtimes.tensor_layout import TensorLayout, arrangements, moves


def test_channels_last_is_tried_before_other_orders() -> None:
    layouts = list(arrangements((2, 3, 4, 4), (2, 4, 4, 3)))
    assert layouts[0] == TensorLayout((0, 2, 3, 1), (4, 4, 3))
    assert TensorLayout((0, 3, 2, 1), (4, 4, 3)) in layouts[1:]
    array = np.arange(96).reshape(2, 3, 4, 4)
    np.testing.assert_array_equal(layouts[0].of(array), np.moveaxis(array, 1, -1))
    assert not layouts[0].plain


def test_the_order_as_it_is_comes_first_and_is_plain() -> None:
    first = next(arrangements((2, 3, 5), (2, 3, 5)))
    assert first.plain
    assert first.shape == (3, 5)


def test_neighbouring_axes_are_joined_and_none_is_split() -> None:
    array = np.arange(48).reshape(2, 4, 3, 2)
    layouts = list(arrangements(array.shape, (2, 24)))
    assert layouts[0].plain
    np.testing.assert_array_equal(layouts[0].of(array), array.reshape(2, 24))
    assert {layout.perm for layout in layouts} >= {(0, 1, 2, 3), (0, 2, 3, 1)}
    assert list(arrangements((2, 24), array.shape)) == []


@pytest.mark.parametrize("wanted", [(3, 3, 4), (2, 3, 5), ()])
def test_another_batch_or_size_has_no_layout(wanted: tuple[int, ...]) -> None:
    assert list(arrangements((2, 3, 4), wanted)) == []


def test_axes_of_size_1_do_not_count() -> None:
    (layout,) = arrangements((2, 7, 1, 1), (2, 7))
    assert layout.plain
    assert layout.of(np.zeros((2, 7, 1, 1))).shape == (2, 7)


def test_more_axes_than_can_be_permuted_are_tried_in_their_own_order_only() -> None:
    assert [layout.plain for layout in arrangements((1, 2, 3, 4, 5, 6), (1, 2, 3, 4, 5, 6))] == [True]
    assert list(arrangements((1, 2, 3, 4, 5, 6), (1, 3, 2, 4, 5, 6))) == []


def test_operators_that_only_move_values() -> None:
    assert all(moves(name) for name in ("Transpose", "RESHAPE", "keras.layers.Flatten", "aten.permute.default"))
    assert not any(moves(name) for name in ("Conv", "MatMul", "ADD"))
