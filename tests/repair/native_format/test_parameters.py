"""Which of a model's own arrays a view's change belongs to, by content and in whatever layout."""

from __future__ import annotations

from typing import Any

import numpy as np
from safeconvert.repair.native_format.parameters import Parameter, by_change, leftovers, unfolded, unlike

Array = np.ndarray[Any, Any]
RANDOM = np.random.default_rng(4)


def values(*shape: int) -> Array:
    return RANDOM.normal(size=shape).astype(np.float32)


def parameter(name: str, array: Array, layer: str = "") -> Parameter:
    return Parameter(name, layer or name.rpartition("/")[0], array, False)


def test_a_kernel_is_found_in_another_layout_and_changed_in_its_own() -> None:
    kernel = values(3, 2, 4, 5)  # rows, columns, channels, filters
    view = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
    own = [parameter("other/kernel", values(3, 2, 4, 5)), parameter("conv/kernel", kernel)]
    changed = by_change(own, view, view * 2, "")
    assert changed is not None
    assert changed[0].name == "conv/kernel"
    np.testing.assert_allclose(changed[1], kernel * 2)
    assert by_change(own, values(5, 4, 3, 2), view, "") is None


def test_of_layers_that_hold_the_same_numbers_the_named_one_is_changed() -> None:
    array = np.ones(4, np.float32)
    own = [parameter("a/bias", array), parameter("b/bias", array)]
    assert by_change(own, array, array + 1, "") is None
    changed = by_change(own, array, array + 1, "b")
    assert changed is not None
    assert changed[0].name == "b/bias"


def test_a_folded_normalisation_is_told_from_its_convolution() -> None:
    kernel = values(4, 3, 3, 3)
    gamma, beta, mean, variance = values(4) + 3, values(4), values(4), np.abs(values(4)) + 1
    ratio = gamma / np.sqrt(variance + 1e-3)
    own = [parameter("conv/kernel", kernel)]
    names = ("gamma", "beta", "moving_mean", "moving_variance")
    own += [parameter(f"norm/{name}", array) for name, array in zip(names, (gamma, beta, mean, variance), strict=True)]
    weight, bias = kernel * ratio.reshape(-1, 1, 1, 1), beta - mean * ratio
    scaled = unfolded(own, (weight, bias), (weight * 1.5, bias * 1.5))
    assert scaled is not None
    changed = {tensor.name: array for tensor, array in scaled}
    np.testing.assert_allclose(changed["norm/gamma"], gamma * 1.5, rtol=1e-5)
    shifted = unfolded(own, (weight, bias), (weight, bias + 1))
    assert shifted is not None
    assert [tensor.name for tensor, _ in shifted] == ["norm/beta"]
    np.testing.assert_allclose(shifted[0][1], beta + 1, rtol=1e-5, atol=1e-6)
    assert unfolded(own[:1], (weight, bias), (weight, bias)) is None


def test_arrays_without_an_equal_are_paired_with_the_nearest() -> None:
    kept, wrong, other = values(2, 3), values(4, 5), values(7)
    source = [parameter("x/a", kept.T.copy()), parameter("x/b", wrong + np.float32(0.1)), parameter("x/c", other)]
    own = [parameter("y/a", kept), parameter("y/b", wrong), parameter("y/c", other)]
    left, free = unlike(own, source)
    assert ([unpaired.name for unpaired in left], free) == (["y/b"], [1])
    ((changed, array),) = leftovers(own, source)
    assert changed.name == "y/b"
    np.testing.assert_allclose(array, wrong + np.float32(0.1))
    assert leftovers(own, source[:1]) == []
