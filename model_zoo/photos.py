"""Which photos a network is compared on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from model_zoo.recipes import IMAGES, Network

T = TypeVar("T")


def choose(network: Network, data: Path, count: int) -> list[Path]:
    """Up to ``count`` photos, spread evenly over those on which the network's labels can be told apart."""
    photos = sorted((data / IMAGES).glob("*.jpg"))
    if not photos:
        raise FileNotFoundError(f"{data / IMAGES} holds no .jpg photos")
    return _evenly(photos if network.fitted is None else _evenly(photos, network.fitted), count)


def link(photos: Sequence[Path], folder: Path) -> Path:
    """A folder of symbolic links to exactly these photos."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {photo.name: photo.resolve() for photo in photos}
    for old in folder.iterdir():
        if old.is_symlink() and old.name not in wanted:
            old.unlink()
    for name, photo in wanted.items():
        if not (folder / name).exists():
            (folder / name).unlink(missing_ok=True)
            (folder / name).symlink_to(photo)
    return folder


def _evenly(items: Sequence[T], count: int) -> list[T]:
    """First and last included; for ResNet101 the same rule as the script that fits its head."""
    if count >= len(items):
        return list(items)
    if count == 1:
        return [items[0]]
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]
