"""Find which tensors of two models hold the same content, whatever their layout: by fingerprint, then by each layout.

Names, positions and weights are never looked at. A tensor of shape (batch, ...) is compared over all its rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...runtimes.tensor_layout import TensorLayout, arrangements

Array = np.ndarray[Any, Any]
CLOSE = 1e-4
"""Two tensors are the same if no value differs by more than this share of the largest: float32 rounding of one layer
stays well below it, and a fault that changes labels well above it."""


def distance(expected: Array, value: Array) -> float:
    """Measure the largest difference as a share of the largest expected value; infinite where it cannot be told."""
    if expected.shape != value.shape:
        return float("inf")
    if not expected.size:
        return 0.0
    with np.errstate(invalid="ignore", over="ignore"):
        difference = np.where(expected == value, 0.0, np.abs(expected.astype(np.float64) - value))
        largest = float(difference.max())
        scale = float(np.abs(expected[np.isfinite(expected)]).max(initial=0.0))
    if not np.isfinite(largest):
        return float("inf")
    return largest / scale if scale else (0.0 if largest == 0 else float("inf"))


def rough(expected: Array, value: Array) -> float:
    """Measure the root mean squared difference as a share of the expected values' own: for quantised models."""
    if expected.shape != value.shape or not np.isfinite(value).all():
        return float("inf")
    difference = float(np.sqrt(np.mean((expected.astype(np.float64) - value) ** 2)))
    scale = float(np.sqrt(np.mean(expected.astype(np.float64) ** 2)))
    return difference / scale if scale else (0.0 if difference == 0 else float("inf"))


@dataclass(frozen=True)
class Match:
    """A tensor ``name`` of the Source that a tensor of the Target holds in the layout ``arrangement``.

    ``difference`` is how far the two are from each other (``Contents.difference``).
    """

    name: str
    arrangement: TensorLayout
    difference: float


class Contents:
    """The Source's tensors, found by content. ``is_unquantized`` is False where a model is quantised.

    Two tensors are the same up to ``limit``; by default ``CLOSE``, and 0.12 for quantised models.
    """

    def __init__(
        self, tensors: Mapping[str, Array], *, is_unquantized: bool = True, limit: float | None = None
    ) -> None:
        self.tensors = tensors
        self.is_unquantized = is_unquantized
        self.limit = limit or (CLOSE if is_unquantized else 0.12)
        self._prints: dict[tuple[int, int], list[tuple[str, Array]]] = {}
        for name, array in tensors.items():
            if array.ndim and array.size:
                self._prints.setdefault((len(array), array.size), []).append((name, fingerprint(array)))

    def difference(self, expected: Array, value: Array) -> float:
        """Measure how far the value is from the expected one, as a share of it."""
        return distance(expected, value) if self.is_unquantized else rough(expected, value)

    def find(self, array: Array) -> list[Match]:
        """Find the Source's tensors that hold what ``array`` holds, each in its best layout, nearest first."""
        if not array.ndim or not array.size:
            return []
        wanted = fingerprint(array)
        matches = []
        for name, other in self._prints.get((len(array), array.size), ()):
            if self._is_alike(other, wanted) and (match := self.arranged(name, array)) is not None:
                matches.append(match)
        return sorted(matches, key=lambda match: match.difference)

    def fits(self, match: Match, value: Array) -> bool:
        """Does the value hold the Source's tensor, in that layout?"""
        return self.difference(match.arrangement.of(self.tensors[match.name]), value) <= self.limit

    def arranged(self, name: str, array: Array) -> Match | None:
        """Find the layout in which ``array`` holds the Source's tensor; None where it does not."""
        tensor = self.tensors[name]
        best: Match | None = None
        for arrangement in arrangements(tensor.shape, array.shape):
            # The first row tells most arrangements apart at a fraction of the cost.
            if self.difference(arrangement.of(tensor[:1]), array[:1]) > 3 * self.limit:
                continue
            difference = self.difference(arrangement.of(tensor), array)
            if difference <= self.limit and (best is None or difference < best.difference):
                best = Match(name, arrangement, difference)
                if self.is_unquantized:
                    break
        return best

    def _is_alike(self, a: Array, b: Array) -> bool:
        allowed = 3 * self.limit
        scale = max(float(np.abs(a).max()), float(np.abs(b).max()))
        with np.errstate(invalid="ignore"):
            return bool(scale == 0 or np.all(np.abs(a - b) <= allowed * scale))


def fingerprint(array: Array) -> Array:
    """Compute numbers that no reordering changes: mean, mean size, root mean square, least and largest value."""
    flat = array.reshape(-1).astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        values = [flat.mean(), np.abs(flat).mean(), np.sqrt(np.mean(flat**2)), flat.min(), flat.max()]
    return np.asarray(np.nan_to_num(np.array(values), nan=1e30, posinf=1e30, neginf=-1e30))


def correlation(a: Array, b: Array) -> float:
    """Compute the absolute cosine between two arrays of the same size, read in the order in which they are stored."""
    x, y = a.reshape(-1).astype(np.float64), b.reshape(-1).astype(np.float64)
    scale = float(np.linalg.norm(x) * np.linalg.norm(y))
    return abs(float(x @ y)) / scale if scale else 0.0
