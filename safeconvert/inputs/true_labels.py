"""The true labels of the person's images, from a CSV or JSON file or from one folder per class."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import BadInput

FORM = (
    'Give a CSV file with lines such as "cat_1.jpg,281", a JSON file such as {"cat_1.jpg": 281}, or a folder with one '
    "folder per class, whose names in order are classes 0, 1, 2, ..."
)
MAX_NAMES_SHOWN = 3


def labels_of_images(path: Path, images: Sequence[Path], folder: Path) -> dict[Path, int]:
    """Return the class index of each image that has one.

    An entry of ``path`` is matched by the image's path below ``folder``, else by its file name. Raises
    :class:`BadInput` where ``path`` cannot be read, no image has a label, or a file name stands for several images.
    """
    by_name = read_labels(path)
    labels: dict[Path, int] = {}
    used: dict[str, Path] = {}
    for image in images:
        names = (image.relative_to(folder).as_posix(), image.name)
        name = next((name for name in names if name in by_name), None)
        if name is None:
            continue
        if name in used:
            raise BadInput(
                f"--labels {path}: {name} is the name of {used[name]} and of {image}. Give their paths below --images."
            )
        used[name], labels[image] = image, by_name[name]
    if not labels:
        shown = ", ".join(list(by_name)[:MAX_NAMES_SHOWN])
        raise BadInput(f"--labels {path}: none of its {len(by_name)} names ({shown}, ...) is an image of {folder}.")
    return labels


def read_labels(path: Path) -> dict[str, int]:
    """Return class indices by image name. Raises :class:`BadInput` where the file or folder is in none of the forms."""
    if path.is_dir():
        labels = _of_folders(path)
    else:
        try:
            text = path.read_text("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(f"--labels {path} cannot be read: {error}. {FORM}") from error
        labels = _of_json(path, text) if path.suffix.lower() == ".json" else _of_csv(path, text)
    if not labels:
        raise BadInput(f"--labels {path} has no label. {FORM}")
    return labels


def _of_folders(path: Path) -> dict[str, int]:
    folders = sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    return {
        f"{folder.name}/{image.name}": label
        for label, folder in enumerate(folders)
        for image in sorted(folder.iterdir())
        if image.is_file()
    }


def _of_json(path: Path, text: str) -> dict[str, int]:
    try:
        entries = json.loads(text)
    except ValueError as error:
        raise BadInput(f"--labels {path} is not JSON: {error}. {FORM}") from error
    if not isinstance(entries, Mapping):
        raise BadInput(f"--labels {path} holds a {type(entries).__name__}, not an object. {FORM}")
    return {name: _index(path, name, value) for name, value in entries.items()}


def _of_csv(path: Path, text: str) -> dict[str, int]:
    lines = [[cell.strip() for cell in line] for line in csv.reader(text.splitlines()) if any(line)]
    if lines and len(lines[0]) == 2 and not _is_index(lines[0][1]):
        lines = lines[1:]  # a header
    labels: dict[str, int] = {}
    for line in lines:
        if len(line) != 2:
            raise BadInput(f"--labels {path}: the line {','.join(line)!r} has {len(line)} columns, not 2. {FORM}")
        label = _index(path, *line)
        if labels.setdefault(line[0], label) != label:
            raise BadInput(f"--labels {path} gives {line[0]} the labels {labels[line[0]]} and {label}. Keep one.")
    return labels


def _is_index(value: object) -> bool:
    return (isinstance(value, int) and not isinstance(value, bool) and value >= 0) or (
        isinstance(value, str) and value.isascii() and value.isdigit()
    )


def _index(path: Path, name: str, value: object) -> int:
    if not _is_index(value):
        raise BadInput(f"--labels {path} gives {name} the label {value!r}, which is not a class index from 0. {FORM}")
    return int(str(value))
