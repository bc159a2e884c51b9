"""What Source and Target are run on: the user's images, the user's tensors, or seeded probes.

All three answer ``read(rows)`` with the arrays for those rows, so that a check can go through any number of
inputs in batches of its own choosing without holding them all in memory. What could not be used is in
``skipped``, with a reason, never silently gone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import numpy.typing as npt
from PIL import UnidentifiedImageError

from ..errors import BadInput

Array = npt.NDArray[Any]
Kind = Literal["images", "tensors", "probes"]
Range = tuple[int, int]  # lowest and highest value


@dataclass(frozen=True)
class Skipped:
    """A file that was offered and not used; ``reason`` is one line."""

    path: str
    reason: str


class Spec(Protocol):
    """One input of a model (``safeconvert.model.TensorSpec``): batch first, None for a dynamic size."""

    @property
    def name(self) -> str: ...
    @property
    def shape(self) -> tuple[int | None, ...] | None: ...
    @property
    def dtype(self) -> str: ...


def split(count: int, holdout: float, seed: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Rows of the calibration set and of the held-out set: disjoint, complete, each in rising order.

    With two or more rows and ``holdout`` above 0 neither is empty; a single row goes to calibration.
    Raises ``BadInput`` where ``holdout`` is not in [0, 1).
    """
    if not 0 <= holdout < 1:
        raise BadInput(f"--holdout is {holdout}; give a fraction from 0 to below 1, such as 0.3")
    heldout_count = min(max(round(count * holdout), 1), count - 1) if holdout > 0 and count > 1 else 0
    order = np.random.default_rng(seed).permutation(count)
    return tuple(sorted(order[heldout_count:].tolist())), tuple(sorted(order[:heldout_count].tolist()))


@dataclass(frozen=True, eq=False)
class Inputs(ABC):
    """``count`` usable inputs, read by row number; ``skipped`` is what was offered and not usable."""

    kind: ClassVar[Kind]
    count: int
    skipped: tuple[Skipped, ...]

    def read(self, rows: Sequence[int]) -> dict[str, Array]:
        """Contiguous arrays by input name, in the model's dtype; first axis the batch, in ``rows``' order.

        Raises ``IndexError`` for a row outside 0 to ``count`` - 1.
        """
        for row in rows:
            if not 0 <= row < self.count:
                raise IndexError(f"row {row} of {self.count} {self.kind}")
        return self._read(rows)

    @abstractmethod
    def _read(self, rows: Sequence[int]) -> dict[str, Array]: ...

    def label(self, row: int) -> str:
        """What a report calls this input."""
        return f"row {row}"


@dataclass(frozen=True, eq=False)
class ProbeInputs(Inputs):
    """Seeded synthetic inputs: a row's values depend on (seed, row, input) alone, never on the batch.

    Floats cover both signs and are noise over a slanted wave, with an offset for each index of a short axis
    (channels, whichever axis they are), a scale and an offset for each row; so swapped axes, swapped channels
    and lost signs all show. Integers are uniform: the whole range of 8 bits, 0 to 255 for wider unsigned,
    0 to 9 for wider signed, or from ``ranges`` where it names the input.
    """

    kind = "probes"
    specs: tuple[Spec, ...]
    seed: int
    ranges: Mapping[str, Range] = field(default_factory=dict)

    @classmethod
    def make(
        cls, specs: Sequence[Spec], seed: int, count: int, ranges: Mapping[str, Range] | None = None
    ) -> ProbeInputs:
        """Make probes; ``ranges`` has the lowest and highest value of integer inputs by name.

        Raises ``BadInput`` where a size beyond the batch is not known or the dtype is not numeric."""
        for spec in specs:
            if not spec.shape or any(size is None or size < 1 for size in spec.shape[1:]):
                example = f"--input-shape {spec.name}:1,3,224,224"
                raise BadInput(f"input {spec.name!r} has shape {spec.shape}; give its sizes: {example}")
            if dtype_of(spec).kind not in "fiub":
                raise BadInput(f"input {spec.name!r} is {spec.dtype}: no probe fills it; pass --inputs")
        if not specs or count < 0:
            raise BadInput(f"cannot make {count} probes for {len(specs)} inputs")
        return cls(count, (), tuple(specs), seed, dict(ranges or {}))

    def _read(self, rows: Sequence[int]) -> dict[str, Array]:
        arrays: dict[str, Array] = {}
        for index, spec in enumerate(self.specs):
            sizes = tuple(size for size in (spec.shape or ())[1:] if size is not None)
            out = np.empty((len(rows), *sizes), dtype_of(spec))
            for i, row in enumerate(rows):
                random = np.random.default_rng((self.seed, row, index))
                out[i] = _probe(random, sizes, out.dtype, self.ranges.get(spec.name))
            arrays[spec.name] = out
        return arrays


def _probe(
    random: np.random.Generator, sizes: tuple[int, ...], dtype: np.dtype[Any], limits: Range | None = None
) -> Array:
    if dtype.kind == "b":
        return random.integers(0, 2, sizes).astype(dtype)
    if dtype.kind in "iu":
        low, high = limits or _usual_range(dtype)
        return random.integers(low, high + 1, sizes).astype(dtype)
    values = random.standard_normal(sizes)
    phase = np.full((1,) * len(sizes), random.uniform(0, 2 * np.pi))
    for axis, size in enumerate(sizes):
        along = tuple(size if a == axis else 1 for a in range(len(sizes)))
        phase = phase + 2 * np.pi * random.uniform(0.5, 2.5) * np.arange(size).reshape(along) / size
        if size <= 4:
            values += random.normal(0, 0.5, size).reshape(along)
    values += np.cos(phase)
    scale = np.exp(random.uniform(np.log(0.25), np.log(4.0)))
    return np.asarray(scale * (values + random.uniform(-0.5, 0.5)), dtype)


def _usual_range(dtype: np.dtype[Any]) -> Range:
    if dtype == np.int8:
        return -128, 127
    return (0, 255) if dtype.kind == "u" else (0, 9)


def one_line(error: BaseException) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image, or a damaged one"
    first = (str(error).strip().splitlines() or [""])[0]
    return (first or type(error).__name__)[:200]


def dtype_of(spec: Spec) -> np.dtype[Any]:
    try:
        return np.dtype(spec.dtype)
    except TypeError as error:
        raise BadInput(f"input {spec.name!r} has dtype {spec.dtype!r}, which numpy does not know") from error
