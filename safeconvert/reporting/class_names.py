"""The names of a classifier's classes, where the folders of the images tell them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

from ..comparison.comparison import Comparison
from ..inputs.base import Inputs
from ..inputs.images import ImageInputs

MIN_AGREEMENT = 0.5  # share of images that the Source puts into the class of their folder; below it, names are a guess


def class_names(inputs: Inputs, compared: Sequence[Comparison], class_count: int | None) -> tuple[str, ...] | None:
    """Return the names of the classes by number: the folders with one class each, in alphabetical order.

    So torchvision's ImageFolder and Keras's ``image_dataset_from_directory`` number them. None where there are no such
    folders, not as many as classes (``class_count``, None where that is not known), or where the Source puts most
    images into another class than their folder's: its classes are others, or numbered otherwise.
    """
    if not isinstance(inputs, ImageInputs):
        return None
    folders = [PurePath(inputs.label(row)).parent.name for row in range(inputs.count)]
    names = sorted(set(folders))
    numbers = {name: number for number, name in enumerate(names)}
    pairs = [
        (int(label), numbers[folders[int(row)]])
        for comparison in compared
        for row, label in zip(comparison.predictions.rows, comparison.predictions.source_labels, strict=True)
    ]
    if len(names) < 2 or not pairs or class_count not in (None, len(names)):
        return None
    if max(label for label, _ in pairs) >= len(names):
        return None
    agreement = sum(label == number for label, number in pairs) / len(pairs)
    return tuple(names) if agreement > MIN_AGREEMENT else None
