"""How the content of one tensor lies in another: axes in another order, neighbouring axes read as one.

Needs numpy alone; used in workers and in the parent.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
MOST_AXES = 4


@dataclass(frozen=True)
class TensorLayout:
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


def arrangements(shape: Sequence[int], wanted: Sequence[int]) -> Iterator[TensorLayout]:
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
            yield TensorLayout(perm, tuple(wanted[1:]))


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


def moves(operator: str) -> bool:
    """Is it an operator, of whatever framework, that moves values and computes nothing?"""
    kind = operator.lower()
    return any(word in kind for word in ("transpose", "permute", "reshape", "flatten"))
