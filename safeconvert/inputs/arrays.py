"""The person's own arrays as inputs, unpacked and memory-mapped: one file of all, or a folder with one input a file."""

from __future__ import annotations

import contextlib
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
from ..records import TensorSpec
from .base import Array, Inputs, Skipped, Spec, dtype_of, one_line
from .batch_axes import BatchAxes, as_rows

_CHUNK_BYTES = 1 << 24


@dataclass(frozen=True, eq=False)
class TensorInputs(Inputs):
    """Ready-made arrays, memory-mapped. ``labels`` name the rows where each has a file of its own."""

    kind = "tensors"
    arrays: dict[str, Array]
    dtypes: dict[str, np.dtype[Any]]
    labels: tuple[str, ...] = ()

    @classmethod
    def load(cls, path: Path, specs: Sequence[TensorSpec], cache: Path, axes: BatchAxes | None = None) -> TensorInputs:
        """Read arrays by input name; a single array for a single input needs no name.

        ``path`` is an ``.npz`` file whose arrays hold all inputs along ``axes`` (default: the first), or a folder of
        ``.npz`` and ``.npy`` files that hold one input each. ``specs`` have the rows first (see ``batch_axes``).

        Arrays are unpacked into the folder ``cache`` and memory-mapped, so memory does not grow with the
        file. Values are cast to the model's dtype where that keeps them (floats to any float, integers where
        they fit). Arrays that no input asks for are ignored.

        Raises ``BadInput`` for a damaged file, a missing name, another shape or dtype, no rows, NaN, Inf.
        """
        if not specs:
            raise BadInput("the model has no inputs, so --inputs cannot feed it")
        if path.is_dir():
            return cls._of_folder(path, specs, cache)
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
            raise BadInput(_unreadable(path, error)) from error
        axes = axes or {}
        for spec in specs:
            if arrays[spec.name].ndim == 0 and axes.get(spec.name, 0) == 0:
                raise BadInput(f"array {spec.name!r} is a single value; the first axis must be the batch")
        arrays = {spec.name: as_rows(arrays[spec.name], spec, axes.get(spec.name, 0)) for spec in specs}
        arrays = _of_one_length(path, arrays, {name for name, axis in axes.items() if axis is None})
        for spec in specs:
            _check_tensor(arrays[spec.name], spec)
        dtypes = {spec.name: dtype_of(spec) for spec in specs}
        return cls(len(next(iter(arrays.values()))), (), arrays, dtypes)

    @classmethod
    def _of_folder(cls, folder: Path, specs: Sequence[TensorSpec], cache: Path) -> TensorInputs:
        """Read a folder with one input a file: ``.npz`` with arrays by input name, or ``.npy`` for a single input."""
        files = sorted(file for file in folder.iterdir() if file.suffix in (".npz", ".npy") and file.is_file())
        if not files:
            raise BadInput(f"{folder} has no .npz or .npy file. Give a file or folder of arrays with --inputs.")
        dtypes = {spec.name: dtype_of(spec) for spec in specs}
        samples: list[dict[str, Array]] = []
        labels: list[str] = []
        skipped: list[Skipped] = []
        for file in files:
            try:
                sample = {spec.name: _one_input(arrays, spec) for arrays in [_stored(file, specs)] for spec in specs}
                for spec in specs:
                    _check_tensor(sample[spec.name][np.newaxis], spec)
                    if samples and samples[0][spec.name].shape != sample[spec.name].shape:
                        first = list(samples[0][spec.name].shape)
                        raise BadInput(f"input {spec.name!r} has another shape than in {labels[0]}, which has {first}")
            except (BadInput, OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
                skipped.append(Skipped(str(file), one_line(error)))
                continue
            samples.append({name: _cast(array, dtypes[name]) for name, array in sample.items()})
            labels.append(str(file))
        if not samples:
            raise BadInput(f"no file of {folder} can be used; {Path(skipped[0].path).name}: {skipped[0].reason}")
        arrays = {spec.name: np.stack([sample[spec.name] for sample in samples]) for spec in specs}
        return cls(len(samples), tuple(skipped), arrays, dtypes, tuple(labels))

    def label(self, row: int) -> str:
        return self.labels[row] if self.labels else super().label(row)

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
    return mapped


def _stored(file: Path, specs: Sequence[TensorSpec]) -> dict[str, Array]:
    """Return the arrays of one input, by input name."""
    if file.suffix == ".npy":
        array = np.load(file, allow_pickle=False)
        if len(specs) != 1:
            raise BadInput(f"one array, and the model needs {len(specs)}: save them by name with numpy.savez")
        return {specs[0].name: array}
    with np.load(file, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    if len(specs) == 1 and len(arrays) == 1:
        return {specs[0].name: next(iter(arrays.values()))}
    if missing := [spec.name for spec in specs if spec.name not in arrays]:
        raise BadInput(f"has arrays {sorted(arrays)}, and the model also needs {missing}")
    return arrays


def _one_input(arrays: dict[str, Array], spec: TensorSpec) -> Array:
    """Return one row of an input; a batch axis of 1 is dropped."""
    array = arrays[spec.name]
    axes = array.ndim if spec.shape is None else len(spec.shape)
    return array[0] if array.ndim == axes and array.shape[0] == 1 else array


def _of_one_length(path: Path, arrays: dict[str, Array], shared: set[str]) -> dict[str, Array]:
    """Repeat what is the same for every row, and refuse arrays of different lengths."""
    counts = {name: len(array) for name, array in arrays.items()}
    count = max(counts.values())
    alike = {name for name in shared if counts[name] == 1}
    if len({counts[name] for name in set(arrays) - alike}) > 1:
        raise BadInput(
            f"the arrays of {path} have different batch lengths: {counts}.\n"
            "Say with --batch-axis NAME:none or NAME:1 where the first axis of an array is not the batch."
        )
    return {
        name: np.broadcast_to(array, (count, *array.shape[1:])) if name in alike else array
        for name, array in arrays.items()
    }


def stored_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the arrays at ``--inputs``, by name, read from their headers; of a folder's first file.

    Empty for what cannot be read, which is reported where the arrays are.
    """
    with contextlib.suppress(OSError, ValueError, EOFError, StopIteration, zipfile.BadZipFile, zlib.error):
        if path.is_dir():
            path = next(file for file in sorted(path.iterdir()) if file.suffix in (".npz", ".npy"))
        if path.suffix == ".npy":
            return {"": np.load(path, mmap_mode="r", allow_pickle=False).shape}
        with zipfile.ZipFile(path) as archive:
            members = [name for name in archive.namelist() if name.endswith(".npy")]
            return {name.removesuffix(".npy"): _header_shape(archive, name) for name in members}
    return {}


def check_stored(path: Path) -> None:
    """Raise :class:`BadInput` where no model could be run on what lies at ``--inputs``; only headers are read."""
    if path.is_dir():
        if not any(file.suffix in (".npz", ".npy") for file in path.iterdir()):
            raise BadInput(f"{path} has no .npz or .npy file. Give a file or folder of arrays with --inputs.")
        return
    try:
        with zipfile.ZipFile(path) as archive:
            members = [name for name in archive.namelist() if name.endswith(".npy")]
            headers = {name.removesuffix(".npy"): _header(archive, name) for name in members}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        raise BadInput(_unreadable(path, error)) from error
    if not headers:
        raise BadInput(f"{path} has no array in it. Write it with numpy.savez, each array under its input's name.")
    wrong = [_unusable(name, *header) for name, header in headers.items()]
    if all(wrong):  # what no input asks for is ignored
        raise BadInput(f"{path}: {'; '.join(filter(None, wrong))}")


def _unreadable(path: Path, error: Exception) -> str:
    why = one_line(error)
    if path.suffix == ".npy":
        why = "an .npy file holds one array without a name; numpy.savez writes it with one"
    return f"{path} cannot be read as an .npz file, which numpy.savez writes: {why}"


def _unusable(name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> str | None:
    """Say why no model's input can be filled from an array; None where one could be."""
    if dtype.kind not in "fiub":
        return f"array {name!r} holds {dtype}, and inputs are numbers or truth values"
    return f"array {name!r} has the shape {shape}: there is nothing in it" if 0 in shape else None


def _header_shape(archive: zipfile.ZipFile, member: str) -> tuple[int, ...]:
    return _header(archive, member)[0]


def _header(archive: zipfile.ZipFile, member: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return the shape and the dtype of a stored array."""
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(stream)
        return tuple(shape), dtype


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
        is_exact = np.isfinite(cast) if part.dtype.kind == "f" else (_cast(cast, part.dtype) == part)
        is_exact &= (cast >= 0) == (part >= 0)
        _refuse_rows(~is_exact, start, f"input {spec.name!r}: {target} cannot hold one of its {part.dtype} values")


def _refuse_rows(wrong: npt.NDArray[np.bool_], start: int, problem: str) -> None:
    rows = np.flatnonzero(wrong.reshape(len(wrong), -1).any(axis=1))
    if rows.size:
        raise BadInput(f"{problem}, first in row {start + int(rows[0])}")


def _cast(array: Array, dtype: np.dtype[Any]) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused when the file is loaded
        return np.ascontiguousarray(array, dtype)
