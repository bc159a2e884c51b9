"""Pass rows of inputs through a model: in batches where it takes them, else one input at a time.

Runs in a worker. A row is one input. An array of rows has them along its first axis. Where it has one axis more than
the model's input, that input has no batch axis, and each row is the whole input of one call. Such calls, and outputs
without a batch axis, are stacked along a new first axis.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from ..records import TensorSpec

Array = np.ndarray[Any, Any]
MIN_CAPACITY = 64  # rows that an output of varying length has at least, once padded


class RowModel(Protocol):
    """What running rows needs of a ``registry.Loaded``, and remembers in it."""

    @property
    def run(self) -> Callable[[dict[str, Array]], list[Array]]: ...

    inputs: list[TensorSpec]
    notes: list[str]
    single: bool
    unbatched: set[int]
    capacities: dict[int, int]


def as_array(result: Any) -> Array:
    """Return a framework's output as an array; its strings, or bytes in UTF-8, as numpy's own strings."""
    array = np.asarray(result)
    if array.dtype.kind not in "OS":
        return array
    strings = [
        value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)
        for value in array.ravel().tolist()
    ]
    return np.array(strings, np.str_).reshape(array.shape)


def run_rows(model: RowModel, arrays: dict[str, Array]) -> list[Array]:
    """Return each output for all rows, rows first; ``arrays`` by input name, rows first.

    An output whose length varies from input to input is padded at its end: see :func:`stacked`.
    """
    count = len(next(iter(arrays.values())))
    whole = whole_inputs(model.inputs, arrays)
    size = None if whole else fixed_batch(model.inputs)
    if not whole and not model.single and not model.unbatched:
        try:
            outputs = run_chunks(model, arrays, count, size or count)
        except Exception as error:  # whatever a framework raises may be about the batch
            if size is not None or count == 1:
                raise
            model.notes.append(f"runs one input at a time only ({type(error).__name__} on a batch of {count})")
        else:
            if outputs is not None:
                return outputs
        model.single = True
    return run_one_by_one(model, arrays, count, whole, size or 1)


def whole_inputs(inputs: Sequence[TensorSpec], arrays: dict[str, Array]) -> frozenset[str]:
    """Return the inputs without a batch axis: their arrays of rows have one axis more than they."""
    shapes = {spec.name: spec.shape for spec in inputs}
    return frozenset(
        name
        for name, array in arrays.items()
        if (shape := shapes.get(name)) is not None and array.ndim == len(shape) + 1
    )  # fmt: skip


def fixed_batch(inputs: Sequence[TensorSpec]) -> int | None:
    """Return the batch size that the signature fixes, or None where it is dynamic or unknown."""
    sizes = [spec.shape[0] for spec in inputs if spec.shape]
    return next((int(size) for size in sizes if size is not None), None)


def filled(arrays: dict[str, Array], size: int) -> dict[str, Array]:
    """Fill up a batch to ``size`` with its last row."""
    short = size - len(next(iter(arrays.values())))
    if short <= 0:
        return arrays
    return {name: np.concatenate([array, np.repeat(array[-1:], short, axis=0)]) for name, array in arrays.items()}


def run_chunks(model: RowModel, arrays: dict[str, Array], count: int, size: int) -> list[Array] | None:
    """Run in batches of exactly ``size``; None where an output's first axis is not the batch."""
    parts: list[list[Array]] = []
    for start in range(0, count, size):
        chunk = {name: array[start : start + size] for name, array in arrays.items()}
        rows = len(next(iter(chunk.values())))
        results = [as_array(result) for result in model.run(filled(chunk, size))]
        if any(result.ndim == 0 or len(result) != size for result in results):
            return None
        if parts and len(parts[0]) != len(results):
            return None
        parts.append([result[:rows] for result in results])
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


def run_one_by_one(
    model: RowModel, arrays: dict[str, Array], count: int, whole: frozenset[str], size: int
) -> list[Array]:
    """Run each row alone (``size`` times in one batch where the model fixes its batch at that)."""
    calls: list[list[Array]] = []
    for row in range(count):
        batched = {name: array[row : row + 1] for name, array in arrays.items() if name not in whole}
        single = {name: np.ascontiguousarray(arrays[name][row]) for name in whole}
        results = [as_array(result) for result in model.run({**(filled(batched, size) if batched else {}), **single})]
        if calls and len(calls[0]) != len(results):
            raise ValueError(f"{len(calls[0])} outputs for one input and {len(results)} for another")
        calls.append(results)
    for index in range(len(calls[0])):
        lengths = {result.shape[0] if result.ndim else None for result in (call[index] for call in calls)}
        if whole or lengths != {size}:
            model.unbatched.add(index)
    return [
        stacked(model, index, [call[index] for call in calls])
        if index in model.unbatched
        else np.concatenate([call[index][:1] for call in calls])
        for index in range(len(calls[0]))
    ]  # fmt: skip


def stacked(model: RowModel, index: int, results: list[Array]) -> Array:
    """Stack the results of single calls along a new first axis.

    Results of different lengths (as many rows as a picture has objects) are padded to one length, which the model keeps
    from then on: with minus infinity, or for integers the least one, so that the padding equals itself alone.
    """
    shapes = {result.shape for result in results}
    if len(shapes) == 1 and index not in model.capacities:
        return np.stack(results)
    if len({shape[1:] for shape in shapes}) != 1 or not all(shape for shape in shapes):
        raise ValueError(f"output {index} has shapes {sorted(map(str, shapes))[:4]}, which differ in more than length")
    longest = max(len(result) for result in results)
    if longest > model.capacities.get(index, 0):
        model.capacities[index] = max(MIN_CAPACITY, 1 << (2 * longest - 1).bit_length())
    capacity = model.capacities[index]
    return np.stack([padded(result, capacity) for result in results])


def padded(rows: Array, length: int) -> Array:
    """Pad an array at the end of its first axis."""
    missing = np.full((length - len(rows), *rows.shape[1:]), filling(rows.dtype), rows.dtype)
    return np.concatenate([rows, missing])


def filling(dtype: np.dtype[Any]) -> Any:
    """Return what arrays of this dtype are padded with."""
    if dtype.kind == "f":
        return -np.inf
    return np.iinfo(dtype).min if dtype.kind in "iu" else dtype.type()
