"""Files in which a model's arrays are kept, written one after another, and the records of what is in them.

A store is an ``.npz`` file (read it with ``numpy.load``) with the members ``arr_0``, ``arr_1`` and so on.
"""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, TypeGuard

import numpy as np

from ..records import Setting
from .registry import Arrays, Loaded
from .rows import fixed_batch

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class TvmRecord:
    """A tensor that TVM gave: ``tensor`` is its ONNX name, ``key`` its member of the store.

    ``call`` is TVM's function, as ``conv2d``, and ``at`` the call's number in the run; empty and 0 where no call wrote
    the value, as for one that is known at compile time.
    """

    tensor: str
    key: str
    shape: tuple[int, ...]
    dtype: str
    call: str
    at: int


@dataclass(frozen=True)
class TvmActivations:
    """What TVM gave for every tensor of an ONNX graph, in the order of the graph.

    ``missing`` are the tensors that it did not give, ``why`` the reason; ``calls`` counts the calls that made a tensor.
    """

    records: list[TvmRecord]
    missing: list[str]
    why: str
    calls: int
    compile_seconds: float
    run_seconds: float


@dataclass(frozen=True)
class ParameterRecord:
    """A trained array of a model, by the framework's own name; ``layer`` is the layer or module that owns it.

    ``dtype`` is the file's; ``is_quantized``: integers with a scale, kept dequantised. ``key`` is its member of the
    store, float32.
    """

    name: str
    layer: str
    shape: tuple[int, ...]
    dtype: str
    is_quantized: bool
    key: str


@dataclass(frozen=True)
class TraceRecord:
    """An activation of a model: ``tensor`` is its name, which is unique in the trace.

    ``node`` is the operator that computed it, by the framework's own name, ``layer`` the layer, module or name scope
    that the operator belongs to ("" if none is known) and ``operator`` its type, as ``aten.conv2d.default``, ``Conv2D``
    or ``CONV_2D`` ("input" for the model's inputs). ``inputs`` are the tensors of the trace that it was computed from.
    ``key`` is its member of the store, float32.
    """

    tensor: str
    node: str
    layer: str
    operator: str
    inputs: tuple[str, ...]
    shape: tuple[int, ...]
    key: str


TracePart = Callable[[Arrays, str], list[TraceRecord]]
"""Trace a model on a batch that it takes whole, into the store at a path."""


class Store:
    """A store being written, and the records of what is in it; a context manager."""

    def __init__(self, path: str) -> None:
        self._zip = zipfile.ZipFile(path, "w", allowZip64=True)
        self.records: list[TraceRecord] = []
        self._count = 0

    def write(self, array: Array) -> str:
        """Write ``array`` as float32; return its key in the store."""
        key, self._count = f"arr_{self._count}", self._count + 1
        with self._zip.open(f"{key}.npy", "w", force_zip64=True) as member:
            # not ascontiguousarray, which gives arrays of rank 0 an axis
            np.lib.format.write_array(member, np.asarray(array, "float32", order="C"), allow_pickle=False)
        return key

    def add(self, array: Array, *, tensor: str, node: str, layer: str, operator: str, inputs: Iterable[str]) -> None:
        """Write an activation and record it (see :class:`TraceRecord`)."""
        key = self.write(array)
        self.records.append(TraceRecord(tensor, node, layer, operator, tuple(inputs), array.shape, key))

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._zip.close()


class Trail:
    """Which kept tensors each value of a graph was computed from, in execution order.

    Values that are not kept (whole numbers, scalars, tuples) pass on what they were computed from.
    """

    def __init__(self) -> None:
        self._reads: dict[Hashable, list[str]] = {}

    def sources(self, values: Iterable[Hashable]) -> list[str]:
        """The names of the kept tensors that those values stand for, each once."""
        return list(dict.fromkeys(name for value in values for name in self._reads.get(value, ())))

    def live(self, values: Iterable[Hashable]) -> bool:
        """Does any of them depend on the model's inputs? What depends on constants alone is no activation."""
        return any(value in self._reads for value in values)

    def keep(self, value: Hashable, name: str) -> None:
        self._reads[value] = [name]

    def start(self, value: Hashable) -> None:
        """``value`` is an input that is not kept."""
        self._reads[value] = []

    def passed(self, value: Hashable, values: Iterable[Hashable], *, size: bool = False) -> None:
        """``value`` is not kept. A tensor's ``size`` depends on it, but reading the size is not reading the tensor."""
        values = list(values)
        if self.live(values):
            self._reads[value] = [] if size else self.sources(values)


def unique(names: Iterable[str]) -> list[str]:
    """Return the names, each that occurred before with a number behind it."""
    taken_names: dict[str, None] = {}
    for name in names:
        free, count = name, 0
        while free in taken_names:
            count += 1
            free = f"{name}#{count}"
        taken_names[free] = None
    return list(taken_names)


def in_batches(model: Loaded, arrays: Arrays, store: str, trace: TracePart) -> list[TraceRecord]:
    """Call ``trace(arrays, store)`` with as many rows at a time as the model takes, and put the stores together.

    ``arrays`` are input name -> array, batch first. Where the model takes fewer rows than there are, parts are joined
    on axis 0, also of tensors whose axis 0 is a product of the batch.
    """
    rows = len(next(iter(arrays.values())))
    size = 1 if model.single else fixed_batch(model.inputs) or rows
    if size == rows:
        try:
            return trace(arrays, store)
        except Exception:  # whatever a framework raises may be about the batch
            if rows == 1 or fixed_batch(model.inputs) is not None:
                raise
            size = 1
    with tempfile.TemporaryDirectory(dir=Path(store).parent) as folder:
        counts, parts, first = [], [], list[TraceRecord]()
        for start in range(0, rows, size):
            counts.append(min(size, rows - start))
            filled = {  # the last part is filled up with its last row
                name: np.take(array, np.minimum(np.arange(start, start + size), rows - 1), axis=0)
                for name, array in arrays.items()
            }
            parts.append(str(Path(folder) / str(start)))
            records = trace(filled, parts[-1])
            if first and [r.tensor for r in records] != [r.tensor for r in first]:
                raise ValueError("the model runs other operators on other inputs")
            first = records
        return _joined(first, parts, counts, size, store)


def _joined(
    records: list[TraceRecord], parts: list[str], counts: list[int], size: int, store: str
) -> list[TraceRecord]:
    opened = [np.load(part) for part in parts]
    try:
        with Store(store) as whole:
            for record in records:
                pieces = [part[record.key] for part in opened]
                cut = [
                    piece[: len(piece) * count // size] if len(piece) % size == 0 else piece
                    for piece, count in zip(pieces, counts, strict=True)
                ]
                joined = np.concatenate(cut)
                whole.records.append(replace(record, shape=joined.shape, key=whole.write(joined)))
            return whole.records
    finally:
        for part in opened:
            part.close()


def checked(name: str, value: Array, shape: Iterable[int]) -> Array:
    """Return the new value of a parameter. Raises ValueError where its shape is not the parameter's."""
    if list(value.shape) != list(shape):
        raise ValueError(f"parameter {name!r} has the shape {list(shape)}, not {list(value.shape)}")
    return value


def all_known(values: Iterable[str], names: Iterable[str]) -> None:
    """Raise ValueError where one of the names in ``values`` is no parameter's."""
    if missing := sorted(set(values) - set(names)):
        raise ValueError(f"no parameter {missing[0]!r} in the model")


def is_setting(value: Any) -> TypeGuard[Setting]:
    """Is it a number, a word, or a list of these?"""
    items = value if isinstance(value, (list, tuple)) else [value]
    return bool(items) and all(isinstance(item, (bool, int, float, str)) for item in items)
