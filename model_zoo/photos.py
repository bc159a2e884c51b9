"""Which photos a network is compared on: those of any folder in the layouts that ImageNet comes in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from model_zoo.recipes import IMAGES, Network

T = TypeVar("T")
SUFFIXES = (".jpg", ".jpeg", ".png")  # ILSVRC writes .JPEG, ImageNetV2 .jpeg


def find(folder: Path) -> list[Path]:
    """All photos in a folder and in those below it, sorted by path: flat, or a folder for each class.

    Classes that are numbers, as ImageNetV2's ``0`` to ``999``, come in their own order. Raises
    :class:`FileNotFoundError` where there is none.
    """
    photos = [path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()]
    shown = [path for path in photos if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    if not shown:
        raise FileNotFoundError(f"{folder} holds no photos ({', '.join(SUFFIXES)}), nor do the folders in it")
    return sorted(shown, key=lambda path: _order(path.relative_to(folder)))


def _order(path: Path) -> list[tuple[int, str]]:
    return [(int(part) if part.isdecimal() else -1, part) for part in path.parts]


def choose(network: Network, data: Path, count: int, images: Path | None = None) -> list[Path]:
    """Up to ``count`` photos of ``images`` (None: of the data folder), spread evenly over those on which the
    network's labels can be told apart."""
    photos = find(images or data / IMAGES)
    fitted = network.fitted_in(data)
    return _evenly(photos if fitted is None else _evenly(photos, fitted), count)


def link(photos: Sequence[Path], folder: Path) -> Path:
    """A folder of symbolic links to exactly these photos; of one name in two classes, the class is put in front."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted: dict[str, Path] = {}
    for photo in photos:
        name = photo.name if photo.name not in wanted else f"{photo.parent.name}_{photo.name}"
        if name in wanted:
            raise FileExistsError(f"{photo} and {wanted[name]} would both be linked as {name}")
        wanted[name] = photo.resolve()
    for old in folder.iterdir():
        if old.is_symlink() and (old.name not in wanted or old.readlink() != wanted[old.name]):
            old.unlink()
    for name, photo in wanted.items():
        if not (folder / name).exists():
            (folder / name).unlink(missing_ok=True)
            (folder / name).symlink_to(photo)
    return folder


def numbered(photos: Sequence[Path], folder: Path) -> Path:
    """Links named ``0012_name.jpg``, so that each photo is a class of its own: for what a stand-in's head is fitted
    on, whose script reads the class from the name."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, photo in enumerate(photos):
        copied = folder / f"{index:04}_{photo.stem}.jpg"  # Pillow goes by the content, not by the name
        copied.unlink(missing_ok=True)
        copied.symlink_to(photo.resolve())
    return folder


def _evenly(items: Sequence[T], count: int) -> list[T]:
    """First and last included; for ResNet101 the same rule as the script that fits its head."""
    if count >= len(items):
        return list(items)
    if count == 1:
        return [items[0]]
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]
