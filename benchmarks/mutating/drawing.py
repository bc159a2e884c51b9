"""What mutations of both frameworks share: which there are, how they are drawn, and how far they move the outputs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

ROWS = 24
LEAST_CHANGE = {False: 0.05, True: 0.5}
"""Least change (see :func:`change`) that a mutant must make, by whether its file is quantised."""


@dataclass(frozen=True)
class Mutation:
    """One change: ``kind`` says which, ``place`` the layer, ``change`` how far the outputs move (see ``change``)."""

    kind: str
    place: str
    change: float = 0.0


def wanted(text: str) -> tuple[int, str, Path]:
    """The seed (0: healthy), the format and the folder of ``SEED:FORMAT:FOLDER``."""
    seed, format_name, folder = text.split(":", 2)
    return int(seed), format_name, Path(folder)


def change(
    healthy: Sequence[Array], mutated: Sequence[Array], class_axes: Sequence[int | None], *, labels: bool
) -> float:
    """The largest move of an output.

    A channel (of the last axis) moves by the root mean square of its differences over its standard deviation. With
    ``labels`` an output that has a class axis moves by the share of its labels that change, times three.
    """
    moves = [0.0]
    for before, after, axis in zip(healthy, mutated, class_axes, strict=True):
        if labels and axis is not None:
            moves.append(3 * float(np.mean(before.argmax(axis) != after.argmax(axis))))
            continue
        others = tuple(range(before.ndim - 1))
        error = np.sqrt(np.mean((after.astype(np.float64) - before) ** 2, axis=others))
        moves.append(float((error / (before.std(axis=others) + 1e-6)).max()))
    return max(moves)


def images(random: np.random.Generator, *shape: int) -> Array:
    """Smooth pictures with some noise, ``shape`` rows, height, width, channels; values from 0 to 1."""
    rows, height, width, channels = shape
    y, x = np.linspace(0, 1, height)[:, None, None], np.linspace(0, 1, width)[None, :, None]
    waves = random.normal(size=(2, rows, 1, 1, channels)) * 5
    smooth = np.sin(waves[0] * y + waves[1] * x + random.normal(size=(rows, 1, 1, channels)) * 2)
    return np.clip(0.5 + 0.4 * smooth + 0.1 * random.normal(size=shape), 0, 1).astype(np.float32)


def write(folder: Path, mutation: Mutation | None) -> None:
    """Write ``mutation.json`` beside the model (null for a healthy one)."""
    (folder / "mutation.json").write_text(json.dumps(None if mutation is None else asdict(mutation)))
