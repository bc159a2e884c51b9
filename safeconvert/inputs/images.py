"""The person's photos as inputs: decoded once, cached as bytes, arithmetic on reading."""

from __future__ import annotations

import os
import re
import struct
import tempfile
import warnings
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from ..errors import BadInput
from .base import Array, Inputs, Skipped, one_line
from .preprocess import Layout, Pixels, Preprocess

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


# The content decides, whatever the suffix; but not every Pillow format, as some run other programs (EPS).
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")


# What Pillow's decoders are known to raise on damaged files.
_DAMAGED = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, OverflowError, AttributeError,
    MemoryError, RuntimeError, struct.error, zlib.error, Image.DecompressionBombError, BadInput,
)  # fmt: skip


T = TypeVar("T")


R = TypeVar("R")


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
            obstacle = "a file" if directory.exists() else "nothing"
            raise BadInput(f"--images takes a folder of images; {directory} is {obstacle}")
        paths: list[Path] = []
        skipped: list[Skipped] = []
        for entry in _visible(directory):
            try:
                inside = _visible(entry) if entry.is_dir() else [entry]
            except (BadInput, OSError) as error:
                skipped.append(Skipped(str(entry), one_line(error)))
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
                    return one_line(error)

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
        cached_places = [i for i, row in enumerate(rows) if row < len(self.cached)]
        pixels[cached_places] = self.cached[[rows[i] for i in cached_places]]
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

    def pixels(self, row: int) -> Pixels:
        """The image as it is before any arithmetic: uint8 (height, width, channels), RGB or luma.

        Raises :class:`BadInput` where it cannot be read any more.
        """
        if row < len(self.cached):
            return np.array(self.cached[row])
        with _quiet():
            return self._decode_again(row)

    def _decode_again(self, row: int) -> Pixels:
        try:
            return _decode(self.paths[row], self.preprocess, self.height, self.width, self.channels)
        except _DAMAGED as error:
            why = f"{self.paths[row]} could be read before and cannot now: {one_line(error)}"
            raise BadInput(why) from error

    def label(self, row: int) -> str:
        return str(self.paths[row])


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
        return one_line(error)
    return None
