"""What a Source takes, and random inputs of that kind. Needs NumPy alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Input:
    """One input: its name, its shape without the batch, and its values.

    ``kind``: ``normal`` (float32), ``pixels`` (float32 from 0 to 255), ``ids`` (int64 from 0 to ``largest``) or
    ``mask`` (int64: ones, then zeros).
    """

    name: str
    shape: tuple[int, ...]
    kind: str = "normal"
    largest: int = 0


def write(inputs: Sequence[Input], path: Path) -> None:
    path.write_text(json.dumps([asdict(i) for i in inputs]), encoding="utf-8")


def read(path: Path) -> list[Input]:
    entries = json.loads(path.read_text(encoding="utf-8"))
    return [Input(**{**entry, "shape": tuple(entry["shape"])}) for entry in entries]


def arrays(inputs: Sequence[Input], count: int, seed: int) -> dict[str, np.ndarray[Any, Any]]:
    """Return ``count`` rows of random values for each input, by name."""
    random = np.random.default_rng(seed)
    return {i.name: _array(i, count, random) for i in inputs}


def _array(described: Input, count: int, random: np.random.Generator) -> np.ndarray[Any, Any]:
    size = (count, *described.shape)
    if described.kind == "ids":
        return random.integers(0, described.largest + 1, size, dtype=np.int64)
    if described.kind == "mask":
        lengths = random.integers(1, described.shape[-1] + 1, (count, 1))
        return (np.arange(described.shape[-1]) < lengths).astype(np.int64)
    if described.kind == "pixels":
        return random.uniform(0, 255, size).astype(np.float32)
    return random.normal(size=size).astype(np.float32)
