"""Outputs with as many rows as an input has objects: rows of boxes are a set, so another order is no difference.

The order of other rows, such as the words of a sentence, says something and is kept. Such outputs come padded to one
length (see ``runtimes/rows``). Outputs of one model with equally many rows for an input (boxes, scores, classes)
describe the same objects, so their rows are put in one order together.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from .output_kinds import BOX_CORNERS, decide_kind

Array = np.ndarray[Any, Any]
BOX_COLUMNS = range(BOX_CORNERS, BOX_CORNERS + 4)  # a score, a class and the input's number may stand beside corners


def in_source_order(
    source: Sequence[Array], target: Sequence[Array], varying: Collection[int], names: Sequence[str]
) -> list[Array]:
    """Return the Target's outputs with the rows of boxes of each input in the order of the Source's.

    ``varying`` are the indices of the outputs whose length varies; each array is [inputs, rows, ...]. Boxes are told by
    the Source's ``names`` of outputs and by their values. Shorter padding is made as long as the other model's. Outputs
    of another kind, or of other sizes, are left as they are.
    """
    outputs = list(target)
    matched = [i for i in varying if i < len(target) and _is_comparable(source[i], target[i])]
    for index in matched:
        outputs[index] = _lengthened(outputs[index], source[index].shape[1])
    groups: dict[tuple[int, ...], list[int]] = {}
    for index in matched:
        groups.setdefault(tuple(row_counts(source[index])), []).append(index)
    for counts, group in groups.items():
        if not any(_holds_boxes(names[index], source[index]) for index in group):
            continue
        for position, count in enumerate(counts):
            if any(row_counts(outputs[index])[position] != count for index in group):
                continue  # another number of rows, which is a difference in any order
            order = _order(
                [source[index][position, :count] for index in group],
                [outputs[index][position, :count] for index in group],
            )
            for index in group:
                outputs[index] = outputs[index].copy()
                outputs[index][position, :count] = outputs[index][position, :count][order]
    return outputs


def _holds_boxes(name: str, output: Array) -> bool:
    """Are the rows boxes: four coordinates, alone or before few other columns, or told by name and values?"""
    if output.ndim != 3 or output.dtype.kind != "f":
        return False
    return output.shape[2] in BOX_COLUMNS or decide_kind(name, output, channels_last=False).kind == "boxes"


def row_counts(output: Array) -> list[int]:
    """Return how many rows of each input are not padding."""
    rows = output.reshape(*output.shape[:2], -1)
    is_padding = (rows == _filling(output.dtype)).all(axis=2) if rows.shape[2] else np.ones(rows.shape[:2], bool)
    return [int(np.flatnonzero(~row)[-1]) + 1 if not row.all() else 0 for row in is_padding]


def _filling(dtype: np.dtype[Any]) -> Any:
    if dtype.kind == "f":
        return -np.inf
    return np.iinfo(dtype).min if dtype.kind in "iu" else dtype.type()


def _is_comparable(source: Array, target: Array) -> bool:
    return (
        source.ndim == target.ndim
        and source.ndim >= 2
        and source.shape[2:] == target.shape[2:]
        and {source.dtype.kind, target.dtype.kind} <= set("fiu")
    )


def _lengthened(output: Array, length: int) -> Array:
    missing = length - output.shape[1]
    if missing <= 0:
        return output
    shape = (output.shape[0], missing, *output.shape[2:])
    return np.concatenate([output, np.full(shape, _filling(output.dtype), output.dtype)], axis=1)


def _order(source: Sequence[Array], target: Sequence[Array]) -> Array:
    """Return the order of the Target's rows in which they are nearest to the Source's, all outputs together."""
    from scipy.optimize import linear_sum_assignment  # slow to import, and few models need it

    count = len(source[0])
    distance = np.zeros((count, count))
    for expected, output in zip(source, target, strict=True):
        a, b = (np.nan_to_num(x.reshape(count, -1).astype(np.float64)) for x in (expected, output))
        scale = np.abs(a).max(axis=0, initial=0.0) + 1e-12
        for column in range(a.shape[1]):
            distance += np.abs(a[:, column, None] - b[None, :, column]) / scale[column]
    return np.asarray(linear_sum_assignment(distance)[1])
