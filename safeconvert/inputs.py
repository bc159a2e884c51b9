"""What Source and Target are run on: the user's images, the user's tensors, or seeded probes.

All three answer ``read(rows)`` with the arrays for those rows, so that a check can go through any number of
inputs in batches of its own choosing without holding them all in memory. What could not be used is in
``skipped``, with a reason, never silently gone.
"""

from __future__ import annotations

import os
import re
import shutil
import struct
import tempfile
import warnings
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from safeconvert.errors import BadInput
from safeconvert.preprocess import Layout, Pixels, Preprocess

Array = npt.NDArray[Any]
Kind = Literal["images", "tensors", "probes"]

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
# The content decides, whatever the suffix; but not every Pillow format, as some run other programs (EPS).
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
# What Pillow's decoders are known to raise on damaged files.
_DAMAGED = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, OverflowError, AttributeError,
    MemoryError, RuntimeError, struct.error, zlib.error, Image.DecompressionBombError, BadInput,
)  # fmt: skip
_CHUNK_BYTES = 1 << 24
T = TypeVar("T")
R = TypeVar("R")


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
    held = min(max(round(count * holdout), 1), count - 1) if holdout > 0 and count > 1 else 0
    order = np.random.default_rng(seed).permutation(count)
    return tuple(sorted(order[held:].tolist())), tuple(sorted(order[:held].tolist()))


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
            why = f"{path} cannot be read as an .npz file, which numpy.savez writes: {_one_line(error)}"
            raise BadInput(why) from error
        counts = {name: len(array) for name, array in arrays.items()}
        if len(set(counts.values())) != 1:
            raise BadInput(f"the arrays of {path} have different batch lengths: {counts}")
        for spec in specs:
            _check_tensor(arrays[spec.name], spec)
        dtypes = {spec.name: _dtype(spec) for spec in specs}
        return cls(next(iter(counts.values())), (), arrays, dtypes)

    def _read(self, rows: Sequence[int]) -> dict[str, Array]:
        index = np.asarray(rows, np.intp)
        return {name: _cast(array[index], self.dtypes[name]) for name, array in self.arrays.items()}


@dataclass(frozen=True, eq=False)
class ImageInputs(Inputs):
    """Image files. ``cached`` holds the uint8 crops of the first rows; later ones are decoded when read."""

    kind = "images"
    paths: tuple[Path, ...]
    preprocess: Preprocess
    name: str
    height: int
    width: int
    channels: int
    layout: Layout
    dtype: str
    cached: Pixels

    @staticmethod
    def scan(directory: Path) -> tuple[tuple[Path, ...], tuple[Skipped, ...]]:
        """Image files of a flat folder, or of one folder per class, in natural order (2 before 10).

        Visible files with another suffix, folders deeper down and broken links are returned as skipped.
        Raises ``BadInput`` where ``directory`` is not a readable folder.
        """
        if not directory.is_dir():
            found = "a file" if directory.exists() else "nothing"
            raise BadInput(f"--images takes a folder of images; {directory} is {found}")
        paths: list[Path] = []
        skipped: list[Skipped] = []
        for entry in _visible(directory):
            try:
                inside = _visible(entry) if entry.is_dir() else [entry]
            except (BadInput, OSError) as error:
                skipped.append(Skipped(str(entry), _one_line(error)))
                continue
            for path in inside:
                reason = _unusable(path)
                if reason is None:
                    paths.append(path)
                else:
                    skipped.append(Skipped(str(path), reason))
        return tuple(paths), tuple(skipped)

    @classmethod
    def prepare(
        cls,
        paths: Sequence[Path],
        preprocess: Preprocess,
        *,
        name: str,
        height: int,
        width: int,
        channels: int,
        layout: Layout,
        dtype: str,
        cache: Path,
        cache_bytes: int = 1 << 30,
        skipped: Sequence[Skipped] = (),
        on_progress: Callable[[int, int], None] | None = None,
    ) -> ImageInputs:
        """Decode every image once; those that fail join ``skipped`` and are not counted.

        Crops are kept in a file in the folder ``cache``, up to ``cache_bytes``. ``read`` gives
        ``(N, C, H, W)`` or ``(N, H, W, C)`` by ``layout``, of a float ``dtype``; or of uint8, which are the
        pixels themselves in the model's channel order. ``on_progress(done, total)`` is called after each
        image, in this thread.

        Raises ``BadInput`` where the model cannot take such images.
        """
        if layout not in ("nchw", "nhwc"):
            raise BadInput(f"image layout is {layout!r}; give nchw or nhwc")
        if dtype not in ("uint8", "float16", "float32", "float64"):
            raise BadInput(f"input {name!r} is {dtype}, which images cannot feed; pass arrays with --inputs")
        preprocess.check(height, width, channels, dtype)  # one bad option is not a thousand bad images
        good: list[Path] = []
        bad: list[Skipped] = []
        descriptor, file = tempfile.mkstemp(suffix=".pixels", dir=cache)
        with os.fdopen(descriptor, "wb", buffering=0) as sink, _quiet():
            size = height * width * channels
            room, written = cache_bytes // size, 0

            def decode(path: Path) -> Pixels | str:
                try:
                    return _decode(path, preprocess, height, width, channels)
                except _DAMAGED as error:
                    return _one_line(error)

            for done, (path, result) in enumerate(_in_order(decode, paths), 1):
                if isinstance(result, str):
                    bad.append(Skipped(str(path), result))
                else:
                    if len(good) < room:
                        try:
                            whole = sink.write(result.tobytes()) == size
                        except OSError:
                            whole = False
                        # A full disk is no reason to stop: what follows is decoded again at each read.
                        written, room = (written + 1, room) if whole else (written, 0)
                    good.append(path)
                if on_progress is not None:
                    on_progress(done, len(paths))
        # Written as a plain file and mapped only now: a full disk under a writable map kills the process.
        shape = (written, height, width, channels)
        cached: Pixels = np.memmap(file, np.uint8, "r", shape=shape) if written else np.empty(shape, np.uint8)
        model = (name, height, width, channels, layout, dtype)
        return cls(len(good), (*skipped, *bad), tuple(good), preprocess, *model, cached)

    def _read(self, rows: Sequence[int]) -> dict[str, Array]:
        pixels = np.empty((len(rows), self.height, self.width, self.channels), np.uint8)
        kept = [i for i, row in enumerate(rows) if row < len(self.cached)]
        pixels[kept] = self.cached[[rows[i] for i in kept]]
        again = [i for i, row in enumerate(rows) if row >= len(self.cached)]
        with _quiet():
            for i, image in _in_order(lambda i: self._decode_again(rows[i]), again):
                pixels[i] = image
        if self.dtype == "uint8":
            ready: Array = self.preprocess.ordered(pixels)
        else:
            ready = self.preprocess.values(pixels)
        if self.layout == "nchw":
            ready = ready.transpose(0, 3, 1, 2)
        return {self.name: np.ascontiguousarray(ready, np.dtype(self.dtype))}

    def _decode_again(self, row: int) -> Pixels:
        try:
            return _decode(self.paths[row], self.preprocess, self.height, self.width, self.channels)
        except _DAMAGED as error:
            why = f"{self.paths[row]} could be read before and cannot now: {_one_line(error)}"
            raise BadInput(why) from error

    def label(self, row: int) -> str:
        return str(self.paths[row])


@dataclass(frozen=True, eq=False)
class ProbeInputs(Inputs):
    """Seeded synthetic inputs: a row's values depend on (seed, row, input) alone, never on the batch.

    Floats cover both signs and are noise over a slanted wave, with an offset for each index of a short axis
    (channels, whichever axis they are), a scale and an offset for each row; so swapped axes, swapped channels
    and lost signs all show. Integers are uniform: the whole range of 8 bits, 0 to 255 for wider unsigned,
    0 to 9 for wider signed.
    """

    kind = "probes"
    specs: tuple[Spec, ...]
    seed: int

    @classmethod
    def make(cls, specs: Sequence[Spec], seed: int, count: int) -> ProbeInputs:
        """Raises ``BadInput`` where a size beyond the batch is not known or the dtype is not numeric."""
        for spec in specs:
            if not spec.shape or any(size is None or size < 1 for size in spec.shape[1:]):
                example = f"--input-shape {spec.name}:1,3,224,224"
                raise BadInput(f"input {spec.name!r} has shape {spec.shape}; give its sizes: {example}")
            if _dtype(spec).kind not in "fiub":
                raise BadInput(f"input {spec.name!r} is {spec.dtype}: no probe fills it; pass --inputs")
        if not specs or count < 0:
            raise BadInput(f"cannot make {count} probes for {len(specs)} inputs")
        return cls(count, (), tuple(specs), seed)

    def _read(self, rows: Sequence[int]) -> dict[str, Array]:
        arrays: dict[str, Array] = {}
        for index, spec in enumerate(self.specs):
            sizes = tuple(size for size in (spec.shape or ())[1:] if size is not None)
            out = np.empty((len(rows), *sizes), _dtype(spec))
            for i, row in enumerate(rows):
                out[i] = _probe(np.random.default_rng((self.seed, row, index)), sizes, out.dtype)
            arrays[spec.name] = out
        return arrays


def _probe(random: np.random.Generator, sizes: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    if dtype.kind == "b":
        return random.integers(0, 2, sizes).astype(dtype)
    if dtype.kind in "iu":
        low, high = (-128, 127) if dtype == np.int8 else (0, 255) if dtype.kind == "u" else (0, 9)
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


def _decode(path: Path, preprocess: Preprocess, height: int, width: int, channels: int) -> Pixels:
    with Image.open(path, formats=_FORMATS) as image:
        limit = Image.MAX_IMAGE_PIXELS
        if limit is not None and image.width * image.height > limit:
            raise BadInput(f"decompression bomb: {image.width}x{image.height} is more than {limit} pixels")
        return preprocess.pixels(image, height, width, channels)


@contextmanager
def _quiet() -> Iterator[None]:
    """Pillow warns of bombs (refused by size above), EXIF and palettes: none may reach the person's terminal.

    Warning filters belong to the process, so this is entered once around the threads and not inside them.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _in_order(work: Callable[[T], R], items: Sequence[T]) -> Iterator[tuple[T, R]]:
    """Results in the order of ``items``, from threads (Pillow frees the GIL), few in flight at a time."""
    if len(items) < 2:
        yield from ((item, work(item)) for item in items)
        return
    workers = min(os.cpu_count() or 1, len(items))
    pending: deque[tuple[T, Future[R]]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for item in items:
            pending.append((item, pool.submit(work, item)))
            if len(pending) > 2 * workers:
                first, future = pending.popleft()
                yield first, future.result()
        while pending:
            first, future = pending.popleft()
            yield first, future.result()


def _visible(directory: Path) -> list[Path]:
    try:
        return sorted((p for p in directory.iterdir() if not p.name.startswith(".")), key=_natural)
    except OSError as error:
        raise BadInput(f"cannot list the folder {directory}: {error.strerror}") from error


def _natural(path: Path) -> tuple[list[tuple[int, str]], str]:
    parts = re.findall(r"[0-9]+|[^0-9]+", path.name)
    return [(int(part), "") if part[0] in "0123456789" else (-1, part.lower()) for part in parts], path.name


def _unusable(path: Path) -> str | None:
    try:
        if path.is_dir():
            return "a folder inside a class folder; only one level is read"
        if path.suffix.lower() not in SUFFIXES:
            return f"not an image file ({', '.join(suffix[1:] for suffix in SUFFIXES)})"
        if not path.is_file():  # opening a pipe would wait for ever
            return "a broken link" if path.is_symlink() else "not a regular file"
    except OSError as error:
        return _one_line(error)
    return None


def _one_line(error: BaseException) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not an image, or a damaged one"
    first = (str(error).strip().splitlines() or [""])[0]
    return (first or type(error).__name__)[:200]


def _dtype(spec: Spec) -> np.dtype[Any]:
    try:
        return np.dtype(spec.dtype)
    except TypeError as error:
        raise BadInput(f"input {spec.name!r} has dtype {spec.dtype!r}, which numpy does not know") from error


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
            raise BadInput(f"array {member!r} is damaged or not numeric: {_one_line(error)}") from error
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
    target = _dtype(spec)
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
