"""What injectors share: the fault that was seeded, how places are drawn, and damage to arrays of weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

Array = np.ndarray[Any, Any]
T = TypeVar("T")


class NoPlace(Exception):
    """This kind of fault has no place in this model."""


@dataclass(frozen=True)
class Seeded:
    """One fault. ``node`` is the native name of what was changed; ``also`` are other names for the same place,
    such as its layer's, its weights' or its neighbours' where the node itself was removed or inserted."""

    type: str
    node: str
    kind: str
    detail: str
    also: tuple[str, ...] = ()


@dataclass
class Draw:
    """The random choices of one fault. ``strength`` (above 0) scales those that have a size; the choices
    themselves do not depend on it, so the same seed with another strength is the same fault, stronger or weaker."""

    random: np.random.Generator
    strength: float
    used_places: set[str] = field(default_factory=set)

    def pick(self, places: Iterable[T], name: Callable[[T], str] = str) -> T:
        """One of the places that no earlier fault of this model took. Raises :class:`NoPlace` where none is left."""
        free = [place for place in places if name(place) not in self.used_places]
        if not free:
            raise NoPlace
        return free[int(self.random.integers(len(free)))]

    def order(self, items: Iterable[T]) -> list[T]:
        shuffled = list(items)
        return [shuffled[i] for i in self.random.permutation(len(shuffled))]


Kind = Callable[[Any, Draw], tuple[Any, Seeded]]  # a model in, the faulty one and what was seeded out
DAMAGES = ("noise", "scaled", "channel zeroed", "channels swapped", "sign flipped")


def damage(array: Array, draw: Draw, axis: int, kinds: Sequence[str] = DAMAGES) -> tuple[Array, str]:
    """A changed copy of a float array, and what was done to it. ``axis`` is that of the output channels."""
    kind = kinds[int(draw.random.integers(len(kinds)))]
    values = np.moveaxis(np.array(array), axis, 0) if array.ndim else np.array(array)[None]
    noise = draw.random.standard_normal(values.shape)
    order = draw.random.permutation(len(values))
    some = order[: max(1, round(len(values) * min(1.0, draw.strength)))]
    spread = float(np.std(array)) or float(np.abs(array).max()) or 1.0
    if kind == "channels swapped" and len(values) < 2:
        kind = "scaled"
    match kind:
        case "noise":
            values = values + 2 * draw.strength * spread * noise
        case "scaled":
            values = values * (1 + 4 * draw.strength)
        case "moved":
            values = values + 4 * draw.strength * spread * np.sign(noise.flat[0])
        case "channel zeroed":
            values[some] = 0
        case "channels swapped":
            some = order[: max(2, len(some))]
            values[some] = values[np.roll(some, 1)]
        case "sign flipped":
            values[some] = -values[some]
    result = np.moveaxis(values, 0, axis) if array.ndim else values[0]
    result = np.ascontiguousarray(result, array.dtype)
    if not np.isfinite(result).all() or np.array_equal(result, array):
        raise NoPlace
    return result, f"{kind} (strength {draw.strength:.3g})"


def positive(array: Array, draw: Draw) -> tuple[Array, str]:
    """A changed copy of a variance, which must stay above 0."""
    return np.ascontiguousarray(array * (1 + 8 * draw.strength), array.dtype), f"scaled (strength {draw.strength:.3g})"


def input_change(draw: Draw, channels: int) -> tuple[str, Array, Array]:
    """What a wrong preparation baked into a model does: ``x * scale + offset``, one number a channel."""
    name = draw.pick(("scale", "offset", "mean and std"))
    ones, sign = np.ones(channels, "float32"), -1.0 if draw.random.random() < 0.5 else 1.0
    if name == "scale":
        return name, ones * (1 + 3 * draw.strength if sign > 0 else 1 / (1 + 3 * draw.strength)), 0 * ones
    if name == "offset":
        return name, ones, 2 * sign * draw.strength * ones
    spread = np.linspace(1.0, 0.5, channels, dtype="float32")
    return name, 1 + draw.strength * spread, sign * draw.strength * spread[::-1].copy()
