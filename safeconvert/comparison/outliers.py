"""Single inputs that move an output far more than the others: they must not widen what the others are held to.

An input is an outlier where it moves half of the channels so: that one class stands out for few inputs is usual.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
OUTLIER_FACTOR = 30.0  # an outlier is this many times as far from the usual answer as half of the inputs
MIN_ROWS = 6  # inputs in the first batch from which a usual answer can be told


@dataclass(frozen=True, eq=False)
class UsualAnswers:
    """How far the inputs that are no outliers move each channel, and from where.

    All arrays broadcast against the output without its batch.
    """

    reach: Array
    low: Array
    high: Array

    def spread(self, spread: Array) -> Array:
        """The spread of each channel, without its outliers."""
        return np.asarray(np.minimum(spread, 2 * self.reach))


class OutlierMeter:
    """Measures how far each input moves the channels along the first and the last axis; memory is one output's."""

    def __init__(self) -> None:
        self._center: Array | None = None
        self._distances: dict[int, list[Array]] = {}

    def add(self, values: Array) -> None:
        """Take in the answers to some inputs, batch first, with NaN where they are not finite."""
        if not self._distances:
            self._center = np.median(values, axis=0) if len(values) >= MIN_ROWS and values.ndim > 1 else None
        if self._center is None or self._center.shape != values.shape[1:] or not self._center.size:
            self._center = None
            return
        distance = np.nan_to_num(np.abs(values - self._center), posinf=0)
        for axis in {0, self._center.ndim - 1}:
            others = tuple(i + 1 for i in range(self._center.ndim) if i != axis)
            self._distances.setdefault(axis, []).append(distance.max(axis=others) if others else distance)

    def usual(self, axis: int | None) -> UsualAnswers | None:
        """The answers without outliers in the channels along ``axis`` (of the output without its batch).

        None where there are no outliers, or where that is not known of this axis.
        """
        if self._center is None or axis not in self._distances:
            return None
        distances = np.concatenate(self._distances[axis])
        moves = (distances > 0).any(axis=0)
        if not moves.any():
            return None
        moved = distances[:, moves]
        usual = np.nanmedian(np.where(moved > 0, moved, np.nan), axis=0)
        is_outlier = np.median(moved / usual, axis=1) > OUTLIER_FACTOR
        if not is_outlier.any():
            return None
        reach = distances[~is_outlier].max(axis=0)
        shape = [1] * self._center.ndim
        shape[axis] = -1
        reach = reach.reshape(shape)
        others = tuple(i for i in range(self._center.ndim) if i != axis)
        center = np.nan_to_num(self._center)
        low = center.min(axis=others, keepdims=True) if others else center
        high = center.max(axis=others, keepdims=True) if others else center
        return UsualAnswers(reach, low - reach, high + reach)
