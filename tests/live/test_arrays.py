"""What ``inputs=`` may be, without a framework; tensors and loaders of frameworks are in the tests of their models."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from safeconvert.errors import BadInput
from safeconvert.live.arrays import MAX_LOADER_INPUTS, LiveInputs, as_array, read

X = np.arange(12, dtype=np.float32).reshape(4, 3)


def test_the_only_array_needs_no_name() -> None:
    assert list(read(X, None).named([])) == ["input"]
    assert list(read(X, None).named(["x"])) == ["x"]
    assert list(read([X], 1).named(["x"])) == ["x"]


def test_arrays_of_a_tuple_are_named_by_the_models_order() -> None:
    assert list(read((X, X), 2).named(["b", "a"])) == ["b", "a"]
    with pytest.raises(BadInput, match="order of the model's inputs is not known"):
        read((X, X), None).named([])
    assert list(read({"b": X, "a": X}, None).named(["a", "b"])) == ["b", "a"]


def test_a_loader_is_read_up_to_a_limit_and_its_labels_are_left_out() -> None:
    endless = ((X, np.zeros(4)) for _ in itertools.count())
    (array,) = read(endless, None).arrays
    assert array.shape == (MAX_LOADER_INPUTS, 3)
    assert read(iter([{"a": X, "b": X}]), None).names == ("a", "b")
    assert len(read(iter([(X, X, np.zeros(4))]), 2).arrays) == 2
    with pytest.raises(BadInput, match="loader without any batch"):
        read(iter([]), 1)


@pytest.mark.parametrize("value", ["text", None, object(), ["a"], np.array([None])])
def test_what_is_no_array_of_numbers_is_refused(value: object) -> None:
    with pytest.raises(BadInput, match="no array of numbers"):
        as_array(value)


def test_lists_of_numbers_are_arrays() -> None:
    assert read([[1.0, 2.0], [3.0, 4.0]], None).arrays[0].shape == (2, 2)
    assert LiveInputs((X,)).named(["x", "y"]).keys() == {"x"}
