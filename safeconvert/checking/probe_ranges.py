"""From which range probes of integer inputs are drawn, so that the model takes them and its outputs move."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import WorkerFailed
from ..inputs.base import Inputs, ProbeInputs, Range, dtype_of
from ..models.loaded_model import LoadedModel
from ..records import TensorSpec

Array = np.ndarray[Any, Any]
ROWS_READ = 48  # of the person's inputs, for the range of each integer input
ROWS_TRIED = 2  # probes that a range is tried on
HIGHEST_TRIED = (9, 1, 0)  # of integer inputs of which nothing is known: a table may have fewer rows


def ranges_of_inputs(inputs: Inputs, rows: Sequence[int]) -> dict[str, Range]:
    """The smallest and largest value of each integer input in the person's own inputs."""
    arrays = inputs.read(rows[:ROWS_READ])
    integers = {name: array for name, array in arrays.items() if array.dtype.kind in "iu" and array.size}
    return {name: (int(array.min()), int(array.max())) for name, array in integers.items()}


def ranges_tried(source: LoadedModel, specs: Sequence[TensorSpec], seed: int) -> dict[str, Range]:
    """Ranges of integer inputs that the Source runs on; masks are 0 and 1.

    The Source is run on a few probes from one range after another until it takes one. Empty where it takes none.
    """
    names = [spec.name for spec in specs if dtype_of(spec).kind == "i" and dtype_of(spec).itemsize > 1]
    masks: Mapping[str, Range] = {name: (0, 1) for name in names if "mask" in re.split(r"[^a-z]+", name.lower())}
    for highest in HIGHEST_TRIED if names else ():
        ranges = {**dict.fromkeys(names, (0, highest)), **masks}
        try:
            source.run(ProbeInputs.make(specs, seed, ROWS_TRIED, ranges).read(range(ROWS_TRIED)))
        except WorkerFailed:
            continue
        return ranges
    return {}
