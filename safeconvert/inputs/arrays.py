"""The person's own arrays as inputs, unpacked and memory-mapped."""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import BadInput
from .base import Array, Inputs, Spec, dtype_of, one_line

_CHUNK_BYTES = 1 << 24


@dataclass(frozen=True, eq=False)
class TensorInputs(Inputs):
    """Ready-made arrays of an ``.npz`` file, memory-mapped."""

    kind = "tensors"
    arrays: dict[str, Array]
    dtypes: dict[str, np.dtype[Any]]

    @classmethod
    def load(cls, path: Path, specs: Sequence[Spec], cache: Path) -> TensorInputs:
        """Read arrays by input name, first axis the batch; a single array for a single input needs no name.

        Arrays are unpacked into the folder ``cache`` and memory-mapped, so memory does not grow with the
        file. Values are cast to the model's dtype where that keeps them (floats to any float, integers where
        they fit). Arrays that no input asks for are ignored.

        Raises ``BadInput`` for a damaged file, a missing name, another shape or dtype, no rows, NaN, Inf.
        """
        if not specs:
            raise BadInput("the model has no inputs, so --inputs cannot feed it")
        try:
            with zipfile.ZipFile(path) as archive:
                stored = {n.removesuffix(".npy"): n for n in archive.namelist() if n.endswith(".npy")}
                if len(specs) == 1 and len(stored) == 1:
                    stored = {specs[0].name: next(iter(stored.values()))}
                missing = [spec.name for spec in specs if spec.name not in stored]
                if missing:
                    raise BadInput(
                        f"{path} has arrays {sorted(stored)}, and the model also needs {missing}; "
                        "name the arrays after the inputs"
                    )
                arrays = {spec.name: _unpack(archive, stored[spec.name], cache) for spec in specs}
        except FileNotFoundError as error:
            raise BadInput(f"no file {path}; --inputs takes an .npz file of arrays by input name") from error
        except (
            OSError,
            EOFError,
            zipfile.BadZipFile,
            zlib.error,
            NotImplementedError,
            RuntimeError,
        ) as error:
            why = f"{path} cannot be read as an .npz file, which numpy.savez writes: {one_line(error)}"
            raise BadInput(why) from error
        counts = {name: len(array) for name, array in arrays.items()}
        if len(set(counts.values())) != 1:
            raise BadInput(f"the arrays of {path} have different batch lengths: {counts}")
        for spec in specs:
            _check_tensor(arrays[spec.name], spec)
        dtypes = {spec.name: dtype_of(spec) for spec in specs}
        return cls(next(iter(counts.values())), (), arrays, dtypes)

    def _read(self, rows: Sequence[int]) -> dict[str, Array]:
        index = np.asarray(rows, np.intp)
        return {name: _cast(array[index], self.dtypes[name]) for name, array in self.arrays.items()}


def _unpack(archive: zipfile.ZipFile, member: str, cache: Path) -> Array:
    # The member's name is not used for the file's: it comes from the archive and may point anywhere.
    descriptor, file = tempfile.mkstemp(suffix=".npy", dir=cache)
    with os.fdopen(descriptor, "wb") as sink, archive.open(member) as source:
        shutil.copyfileobj(source, sink, 1 << 20)
    try:
        mapped: Array = np.lib.format.open_memmap(file, mode="r")
    except (ValueError, OverflowError) as error:
        # An array of no values cannot be mapped. Read it, so that the message is about its shape.
        try:
            with Path(file).open("rb") as stored:
                mapped = np.lib.format.read_array(stored, allow_pickle=False)
        except (ValueError, OverflowError, MemoryError):
            raise BadInput(f"array {member!r} is damaged or not numeric: {one_line(error)}") from error
    if mapped.ndim == 0:
        raise BadInput(f"array {member!r} is a single value; the first axis must be the batch")
    return mapped


def _check_tensor(array: Array, spec: Spec) -> None:
    received = f"input {spec.name!r}: received {array.dtype} {array.shape}"
    if spec.shape is not None:
        expected = ", ".join(["N", *("any" if size is None else str(size) for size in spec.shape[1:])])
        pairs = zip(array.shape[1:], spec.shape[1:], strict=False)
        if array.ndim != len(spec.shape) or any(want not in (None, got) for got, want in pairs):
            raise BadInput(f"{received}, expected {spec.dtype} ({expected}), first axis the batch")
    if array.size == 0:
        raise BadInput(f"{received}: there is nothing in it")
    target = dtype_of(spec)
    castable = {"f": "fiub", "i": "iub", "u": "iub", "b": "b"}.get(target.kind, "")
    if array.dtype.kind not in castable:
        raise BadInput(f"{received}, which does not become {target} without loss; convert it yourself")
    step = max(1, _CHUNK_BYTES // max(1, array[:1].nbytes))
    for start in range(0, len(array), step):
        part = np.asarray(array[start : start + step])
        finite = np.isfinite(part) if part.dtype.kind == "f" else np.ones(part.shape, bool)
        _refuse_rows(~finite, start, f"input {spec.name!r} has NaN or infinity")
        cast = _cast(part, target)
        # A sign is compared too: a number beyond the range can wrap around there and back again.
        kept = np.isfinite(cast) if part.dtype.kind == "f" else (_cast(cast, part.dtype) == part)
        kept &= (cast >= 0) == (part >= 0)
        _refuse_rows(~kept, start, f"input {spec.name!r}: {target} cannot hold one of its {part.dtype} values")


def _refuse_rows(wrong: npt.NDArray[np.bool_], start: int, what: str) -> None:
    rows = np.flatnonzero(wrong.reshape(len(wrong), -1).any(axis=1))
    if rows.size:
        raise BadInput(f"{what}, first in row {start + int(rows[0])}")


def _cast(array: Array, dtype: np.dtype[Any]) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused when the file is loaded
        return np.ascontiguousarray(array, dtype)
