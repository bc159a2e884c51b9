"""What all random models share: seeded choices, inputs of many kinds, and the layers drawn one after the other."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

Array = np.ndarray[Any, Any]
Item = TypeVar("Item")

MAX_ELEMENTS = 4096  # of a tensor for one input: models stay small
ROWS = 16  # inputs that safeconvert is given
FRESH_ROWS = 8  # inputs that only the judge sees
DTYPES = {"float": np.float32, "int32": np.int32, "int64": np.int64, "bool": np.bool_}


@dataclass(frozen=True)
class Plan:
    """An input of a random model. ``shape`` is without the batch; integers are drawn from 0 up to ``high``."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    high: int = 0


@dataclass(frozen=True)
class Value:
    """A tensor in a random model: the framework's handle, its shape without the batch, and its dtype's kind.

    ``kind`` is ``float``, ``int`` or ``bool``. Integers are known to be in 0 up to ``high``; 0 where nothing is known.
    """

    handle: Any
    shape: tuple[int, ...]
    kind: str = "float"
    high: int = 0

    @property
    def rank(self) -> int:
        """How many axes there are besides the batch."""
        return len(self.shape)


Layer = Callable[[Any, Value], Value | None]
"""Draws a layer on a value and returns what it computes; None where the layer does not fit the value."""


class Draw:
    """Seeded choices."""

    def __init__(self, *seed: int) -> None:
        self.random = np.random.default_rng(seed)

    def pick(self, items: Sequence[Item]) -> Item:
        return items[int(self.random.integers(len(items)))]

    def between(self, low: int, high: int) -> int:
        """An integer from low to high, both included."""
        return int(self.random.integers(low, high + 1))

    def chance(self, share: float) -> bool:
        return bool(self.random.random() < share)

    def normal(self, *shape: int, scale: float = 1.0) -> Array:
        return (self.random.normal(size=shape) * scale).astype(np.float32)

    def weights(self, *shape: int, inputs: int) -> Array:
        """Normal weights under which a sum over ``inputs`` terms keeps its size."""
        return self.normal(*shape, scale=1 / math.sqrt(max(1, inputs)))


def draw_inputs(draw: Draw, *, is_channels_last: bool) -> tuple[Plan, ...]:
    """One to three inputs: numbers, vectors, sequences, images, volumes, ids and masks."""
    count = draw.pick((1, 1, 1, 2, 2, 3))
    kinds = [draw.pick(INPUT_KINDS) for _ in range(count)]
    if all(kind in ("ids", "mask") for kind in kinds) and draw.chance(0.5):
        kinds[0] = draw.pick(("image", "sequence", "vector"))
    names = draw.pick((("x", "y", "z"), ("input", "other", "third"), ("b_in", "a_in", "c_in")))
    return tuple(_plan(draw, name, kind, is_channels_last) for name, kind in zip(names, kinds, strict=False))


INPUT_KINDS = ("image", "image", "image", "vector", "vector", "sequence", "sequence", "volume", "number", "ids", "mask")


def _plan(draw: Draw, name: str, kind: str, is_channels_last: bool) -> Plan:
    channels = draw.between(1, 6)
    if kind == "vector":
        return Plan(name, (draw.between(2, 24),), "float")
    if kind == "sequence":
        return Plan(name, (draw.between(3, 12), draw.between(2, 12)), "float")
    if kind == "number":
        return Plan(name, (), "float")
    if kind == "ids":
        return Plan(name, (draw.between(3, 10),), draw.pick(("int32", "int64")), draw.between(5, 40))
    if kind == "mask":
        return Plan(name, (draw.between(3, 10),), "bool")
    sizes = tuple(draw.between(4, 9) for _ in range(2 if kind == "image" else 3))
    return Plan(name, (*sizes, channels) if is_channels_last else (channels, *sizes), "float")


def arrays_of(plans: Sequence[Plan], rows: int, seed: Sequence[int], scale: float) -> dict[str, Array]:
    """Random rows for each input."""
    random = np.random.default_rng(seed)
    arrays = {}
    for plan in plans:
        shape = (rows, *plan.shape)
        if plan.dtype == "float":
            arrays[plan.name] = (random.normal(size=shape) * scale).astype(np.float32)
        elif plan.dtype == "bool":
            arrays[plan.name] = random.random(shape) < 0.6
        else:
            arrays[plan.name] = random.integers(0, plan.high, shape).astype(DTYPES[plan.dtype])
    return arrays


def write_inputs(folder: Path, plans: Sequence[Plan], seed: int) -> None:
    """Write ``inputs.npz``, which safeconvert is given, and ``fresh.npz``, which only the judge sees."""
    np.savez(folder / "inputs.npz", **arrays_of(plans, ROWS, (seed, 1), 1.0))
    np.savez(folder / "fresh.npz", **arrays_of(plans, FRESH_ROWS, (seed, 2), 1.3))


def write_facts(folder: Path, plans: Sequence[Plan], layers: Sequence[str], batch: int | None) -> None:
    """Write ``facts.json``: the inputs, the layers by name, and the fixed batch (None: free)."""
    facts = {"inputs": [asdict(plan) for plan in plans], "layers": list(layers), "batch": batch}
    (folder / "facts.json").write_text(json.dumps(facts))


def draw_batch(draw: Draw) -> int | None:
    """The batch that the model declares: free in most, else fixed."""
    return draw.pick((None, None, None, None, None, None, None, 1, 1, 4))


class Net:
    """A random model while it is drawn; each framework has a subclass that knows how to compute."""

    def __init__(self, draw: Draw, inputs: Sequence[Value]) -> None:
        self.draw, self.values = draw, list(inputs)
        self.inputs = len(inputs)
        self._read: set[int] = set()

    def other(self, value: Value, fits: Callable[[Value], bool]) -> Value | None:
        """Another value that fits, so that two branches are joined; None where there is none."""
        fitting = [v for v in self.values if v is not value and fits(v)]
        return self.draw.pick(fitting) if fitting else None

    def read(self, value: Value) -> None:
        """Note that a layer reads the value: it is then no output in most models."""
        self._read.add(id(value))

    def grow(self, layers: Mapping[str, Layer], common: Sequence[str], count: int) -> list[str]:
        """Put ``count`` layers on the values, each on the latest one in most cases; return their names.

        The ``common`` layers are drawn more often than the others.
        """
        names: list[str] = []
        for _ in range(80 * count):
            if len(names) == count:
                break
            value = self.values[-1] if self.draw.chance(0.7) else self.draw.pick(self.values)
            name = self.draw.pick(common if self.draw.chance(0.4) else list(layers))
            result = layers[name](self, value)
            if result is None or math.prod(result.shape) > MAX_ELEMENTS:
                continue
            names.append(name)
            self.read(value)
            self.values.append(result)
        return names

    def outputs(self) -> list[Value]:
        """One to four outputs: the last value, and values that no layer reads (seldom one that a layer does read)."""
        computed = self.values[self.inputs :]
        others = [v for v in computed[:-1] if self.draw.chance(0.05 if id(v) in self._read else 0.8)]
        outputs = [computed[-1], *others[-3:]]
        return outputs if self.draw.chance(0.5) else outputs[::-1]
