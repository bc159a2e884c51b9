"""Which axis of each of a model's inputs counts the inputs of a batch, if one does.

A run holds its inputs as rows: one array for each of the model's inputs, with the rows along its first axis. For most
models that is the batch axis. An input without one (a cache, a scalar, an unbatched picture), or with it elsewhere,
gets its rows along a new first axis: each row is the whole input of one call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..errors import BadInput
from ..records import TensorSpec
from .base import Array

BatchAxes = Mapping[str, int | None]


def batch_axes(
    specs: Sequence[TensorSpec], chosen: BatchAxes, stored: Mapping[str, Sequence[int]]
) -> dict[str, int | None]:
    """Return the batch axis of each input, by name; None where it has none.

    ``chosen`` is what ``--batch-axis`` says ("" for the only input). ``stored`` are the shapes of the arrays of
    ``--inputs``, by name: an array with one axis more than its input holds a whole input in each row. Else the first
    axis is the batch, unless the inputs' first axes are fixed at different sizes, or an input is a scalar.
    Raises :class:`BadInput` for a name that is no input and an axis that is none of the input's.
    """
    names = [spec.name for spec in specs]
    if "" in chosen and len(names) == 1:
        chosen = {names[0]: chosen[""]}
    for name, axis in chosen.items():
        shape = next((spec.shape for spec in specs if spec.name == name), None)
        if name not in names:
            raise BadInput(f"--batch-axis names {name!r}; the model's inputs are {', '.join(names)}.")
        if axis is not None and shape is not None and axis >= len(shape):
            raise BadInput(f"--batch-axis {name}:{axis}: the input has {len(shape)} axes, counted from 0.")
    fixed = {spec.shape[0] for spec in specs if spec.shape} - {1}
    differ = len({spec.shape[0] for spec in specs if spec.shape}) > 1 and bool(fixed - {None})
    axes: dict[str, int | None] = {}
    for spec in specs:
        if spec.name in chosen:
            axes[spec.name] = chosen[spec.name]
        elif spec.shape is None:
            axes[spec.name] = 0
        elif not spec.shape or len(stored.get(spec.name, ())) == len(spec.shape) + 1:
            axes[spec.name] = None
        else:
            is_batch = spec.name in stored or not differ or spec.shape[0] is None
            axes[spec.name] = 0 if is_batch else None
    return axes


def row_specs(specs: Sequence[TensorSpec], axes: BatchAxes) -> list[TensorSpec]:
    """Return what the arrays of rows look like: rows first, None for their number."""
    return [TensorSpec(spec.name, _row_shape(spec.shape, axes.get(spec.name, 0)), spec.dtype) for spec in specs]


def _row_shape(shape: tuple[int | None, ...] | None, axis: int | None) -> tuple[int | None, ...] | None:
    if shape is None or axis == 0:
        return shape
    return (None, *(1 if place == axis else size for place, size in enumerate(shape)))


def as_rows(array: Array, spec: TensorSpec, axis: int | None) -> Array:
    """Return a stored array with its rows first, as ``spec`` (a row spec) has them.

    An array without a batch axis that is one input is the same for every row: it gets a first axis of 1.
    """
    if axis == 0 or spec.shape is None or array.ndim == len(spec.shape):
        return array
    if axis is None:
        return array[np.newaxis]
    return np.expand_dims(np.moveaxis(array, axis, 0), axis + 1) if axis < array.ndim else array
