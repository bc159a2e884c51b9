"""Which tensors of two models hold the same content, whatever their layout: fingerprints, then exact arrangements.

Names, positions and weights are never looked at. A tensor of shape (batch, ...) is compared over all its rows.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
CLOSE = 1e-4
"""Two tensors are the same if no value differs by more than this share of the largest: float32 rounding of one layer
stays well below it, and a fault that changes labels well above it."""
MOST_AXES = 4


@dataclass(frozen=True)
class Arrangement:
    """How one tensor lies in another: its axes in the order ``perm`` (the batch first), then read as ``shape``.

    ``shape`` is without the batch; the batch stays.
    """

    perm: tuple[int, ...]
    shape: tuple[int, ...]

    def of(self, array: Array) -> Array:
        return np.ascontiguousarray(array.transpose(self.perm).reshape(len(array), *self.shape))

    @property
    def plain(self) -> bool:
        """Are the axes in their own order?"""
        return self.perm == tuple(range(len(self.perm)))


def arrangements(shape: Sequence[int], wanted: Sequence[int]) -> Iterator[Arrangement]:
    """Every way to lay a tensor of ``shape`` out in the shape ``wanted`` (both with the batch first), likeliest first.

    Axes of size 1 do not count. Other axes are never split or joined, but where ``wanted`` has fewer of them.
    """
    if len(shape) < 1 or len(wanted) < 1 or shape[0] != wanted[0] or int(np.prod(shape)) != int(np.prod(wanted)):
        return
    moving = [axis for axis in range(1, len(shape)) if shape[axis] != 1]
    resting = [axis for axis in range(1, len(shape)) if shape[axis] == 1]
    fixed = [size for size in wanted[1:] if size != 1]
    if len(moving) > MOST_AXES:
        orders: Iterator[tuple[int, ...]] = iter([tuple(moving)])
    else:
        orders = iter(sorted(itertools.permutations(moving), key=_unlikely))
    for order in orders:
        sizes = [shape[axis] for axis in order]
        if sizes == fixed or (len(fixed) < len(sizes) and _joined(sizes, fixed)):
            perm = (0, *_interleaved(order, resting, len(shape)))
            yield Arrangement(perm, tuple(wanted[1:]))


def _unlikely(order: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
    """Order of tries: as it is, channels moved to the end or to the front, and the others after these."""
    rest = tuple(sorted(order))
    if order == rest:
        return 0, order
    if order in ((*rest[1:], rest[0]), (rest[-1], *rest[:-1])):
        return 1, order
    return 2, order


def _joined(sizes: Sequence[int], wanted: Sequence[int]) -> bool:
    """Are neighbouring sizes multiplied together the sizes wanted?"""
    pending = list(sizes)
    for size in wanted:
        product = 1
        while pending and product < size:
            product *= pending.pop(0)
        if product != size:
            return False
    return not pending


def _interleaved(order: Sequence[int], resting: Sequence[int], rank: int) -> tuple[int, ...]:
    """The axes with those of size 1 left where they are as far as can be, so that the plain order reads plain."""
    moving = iter(order)
    return tuple(axis if axis in resting else next(moving) for axis in range(1, rank))


def distance(expected: Array, given: Array) -> float:
    """The largest difference as a share of the largest expected value; infinite where it cannot be told."""
    if expected.shape != given.shape:
        return float("inf")
    if not expected.size:
        return 0.0
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.where(expected == given, 0.0, np.abs(expected.astype(np.float64) - given))
        largest = float(apart.max())
        scale = float(np.abs(expected[np.isfinite(expected)]).max(initial=0.0))
    if not np.isfinite(largest):
        return float("inf")
    return largest / scale if scale else (0.0 if largest == 0 else float("inf"))


def rough(expected: Array, given: Array) -> float:
    """The root of the mean squared difference as a share of that of the expected values: for quantised models."""
    if expected.shape != given.shape or not np.isfinite(given).all():
        return float("inf")
    apart = float(np.sqrt(np.mean((expected.astype(np.float64) - given) ** 2)))
    scale = float(np.sqrt(np.mean(expected.astype(np.float64) ** 2)))
    return apart / scale if scale else (0.0 if apart == 0 else float("inf"))


@dataclass(frozen=True)
class Match:
    """A tensor ``name`` of the Source that lies in one of the Target by ``arrangement``; see ``distance``."""

    name: str
    arrangement: Arrangement
    apart: float


class Contents:
    """The Source's tensors, to be found by content. ``exactly`` is False where a model is quantised."""

    def __init__(self, tensors: Mapping[str, Array], *, exactly: bool = True) -> None:
        self.tensors = tensors
        self.exactly = exactly
        self.limit = CLOSE if exactly else 0.12
        self._prints: dict[tuple[int, int], list[tuple[str, Array]]] = {}
        for name, array in tensors.items():
            if array.ndim and array.size:
                self._prints.setdefault((len(array), array.size), []).append((name, fingerprint(array)))

    def apart(self, expected: Array, given: Array) -> float:
        return distance(expected, given) if self.exactly else rough(expected, given)

    def find(self, array: Array) -> list[Match]:
        """The Source's tensors that hold what ``array`` holds, in the arrangement that fits best, nearest first."""
        if not array.ndim or not array.size:
            return []
        wanted = fingerprint(array)
        found = []
        for name, one in self._prints.get((len(array), array.size), ()):
            if not self._alike(one, wanted):
                continue
            match = self.arranged(name, array)
            if match is not None:
                found.append(match)
        return sorted(found, key=lambda match: match.apart)

    def arranged(self, name: str, array: Array) -> Match | None:
        """How the Source's tensor lies in ``array``, if it does."""
        tensor = self.tensors[name]
        best: Match | None = None
        for arrangement in arrangements(tensor.shape, array.shape):
            # The first row tells most arrangements apart at a fraction of the cost.
            if self.apart(arrangement.of(tensor[:1]), array[:1]) > 3 * self.limit:
                continue
            apart = self.apart(arrangement.of(tensor), array)
            if apart <= self.limit and (best is None or apart < best.apart):
                best = Match(name, arrangement, apart)
                if self.exactly:
                    break
        return best

    def _alike(self, a: Array, b: Array) -> bool:
        allowed = 3 * self.limit
        scale = max(float(np.abs(a).max()), float(np.abs(b).max()))
        with np.errstate(invalid="ignore"):
            return bool(scale == 0 or np.all(np.abs(a - b) <= allowed * scale))


def fingerprint(array: Array) -> Array:
    """Numbers that no rearrangement changes: mean, mean size, root mean square, least and largest value."""
    flat = array.reshape(-1).astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        values = [flat.mean(), np.abs(flat).mean(), np.sqrt(np.mean(flat**2)), flat.min(), flat.max()]
    return np.nan_to_num(np.array(values), nan=1e30, posinf=1e30, neginf=-1e30)
