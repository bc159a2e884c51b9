"""Decide what each output of a model is, once, from the Source's own answers and the output's name.

The decision is conservative: an output that gives no sign of being anything else is ``values``, whose numbers are held
to the strictest rule. A detector or a mask is never flattened to one arg-max.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import BadInput

Array = np.ndarray[Any, Any]
# Words of an output's name that say what it is.
LABEL_WORDS = frozenset(
    ("class", "classes", "cls", "label", "labels", "logit", "logits", "prob", "probs", "probability", "probabilities",
     "softmax", "score", "scores", "category", "prediction", "predictions")
)  # fmt: skip
MAP_WORDS = frozenset(
    ("mask", "masks", "seg", "segmentation", "semantic", "heatmap", "heatmaps", "heat", "pixel", "pixels")
)
BOX_WORDS = frozenset(("box", "boxes", "bbox", "bboxes", "rect", "rects"))
VALUE_WORDS = frozenset(
    ("embedding", "embeddings", "embed", "feature", "features", "depth", "distance", "distances", "regression",
     "landmark", "landmarks", "coord", "coords", "flow", "offset", "offsets", "hidden", "state", "latent", "age",
     "angle", "pose", "image", "audio", "wave", "waveform", "value", "values", "delta", "deltas", "cache", "vector")
)  # fmt: skip
PROBABILITY_SUM_ERROR = {"float16": 2e-2, "bfloat16": 6e-2}  # by dtype; other dtypes: 1e-3
UNIT_NORM_ERROR = 1e-3
MIN_EMBEDDING_SIZE = 8
BOX_CORNERS = 4


@dataclass(frozen=True)
class OutputKind:
    """What one output is, and why.

    ``class_axis`` counts the batch as axis 0: the axis of the classes or channels, None where the output has none or
    where it is not known. ``is_binary``: a lone probability for each label, decided at 0.5. ``is_certain`` is False
    where only the shape speaks for labels; a quantised output is then judged by its values as well. ``first_score``
    is the first channel of ``boxes`` that holds a score, None where there are coordinates alone.
    """

    kind: str
    class_axis: int | None
    origin: str
    is_binary: bool = False
    is_certain: bool = True
    first_score: int | None = None

    @property
    def has_labels(self) -> bool:
        return self.kind in ("labels", "map")


@dataclass(frozen=True)
class KindChoices:
    """What the person says about outputs, by output name: ``kinds`` and ``class_axes``."""

    kinds: Mapping[str, str] = field(default_factory=dict)
    class_axes: Mapping[str, int] = field(default_factory=dict)


def decide_kind(name: str, array: Array, *, channels_last: bool, choices: KindChoices | None = None) -> OutputKind:
    """Decide what an output is.

    ``array`` holds the Source's answers to a few inputs, batch first. ``channels_last`` is the custom of the Source's
    format (True for Keras, TensorFlow and TFLite). Raises :class:`BadInput` for a class axis that the output lacks.
    """
    choices = choices or KindChoices()
    axis = choices.class_axes.get(name)
    if axis is not None:
        if not -array.ndim < axis < array.ndim or axis % array.ndim == 0:
            raise BadInput(
                f"--class-axis {name}:{axis}: the output has {array.ndim} axes with the batch as axis 0. "
                f"Give one from 1 to {array.ndim - 1}."
            )
        axis %= array.ndim
    if array.dtype.kind not in "fcV":
        return OutputKind("ids", None, f"its dtype is {array.dtype}: compared exactly")
    chosen = choices.kinds.get(name)
    if chosen is not None:
        return _as_chosen(chosen, array, axis, channels_last=channels_last)
    if array.dtype.kind == "c":
        return OutputKind("values", axis or _last(array), "its dtype is complex")
    if axis is not None and array.ndim > 2:
        return OutputKind("map", axis, "--class-axis")
    values = np.where(np.isfinite(array), array, 0).astype(np.float64)
    return _decide(_words(name), values, str(array.dtype), channels_last=channels_last)


def _as_chosen(chosen: str, array: Array, axis: int | None, *, channels_last: bool) -> OutputKind:
    origin = "--output-kind"
    if chosen in ("ids",):
        return OutputKind("ids", None, origin)
    if chosen in ("labels", "map"):
        if axis is None:
            axis = _custom_axis(array, channels_last=channels_last) if chosen == "map" else _last(array)
        is_binary = axis is None or array.shape[axis] == 1
        return OutputKind(chosen, axis, origin, is_binary=is_binary)
    if chosen == "boxes":
        axis = axis or _box_axis(array) or _last(array)
        first = BOX_CORNERS if axis is not None and array.shape[axis] > BOX_CORNERS else None
        return OutputKind("boxes", axis, origin, first_score=first)
    return OutputKind("values", axis or (_last(array) if array.ndim <= 2 else None), origin)


def _decide(words: frozenset[str], values: Array, dtype: str, *, channels_last: bool) -> OutputKind:
    if values.size == 0 or values.ndim == 0:
        return OutputKind("values", None, "it has no elements" if values.ndim else "it is a scalar")
    if values.ndim == 1 or (values.ndim == 2 and values.shape[1] == 1):
        return _single_unit(words, values)
    for axis in dict.fromkeys((values.ndim - 1, 1)):
        if _sums_to_one(values, axis, dtype):
            origin = f"probabilities along axis {axis} sum to 1"
            return OutputKind("labels" if values.ndim == 2 else "map", axis, origin)
    if values.ndim == 2:
        return _rows(words, values)
    if (boxes := _boxes(words, values)) is not None:
        return boxes
    if words & VALUE_WORDS:
        return OutputKind("values", None, "its name")
    if words & (MAP_WORDS | LABEL_WORDS):
        class_axis = _custom_axis(values, channels_last=channels_last)
        if class_axis is not None and values.shape[class_axis] > 1:
            return OutputKind("map", class_axis, "its name")
        if _are_probabilities(values):
            return OutputKind("map", class_axis, "its name, and values from 0 to 1", is_binary=True)
    return OutputKind("values", None, "nothing says that it is anything else")


def _single_unit(words: frozenset[str], values: Array) -> OutputKind:
    """One number an input: a probability of a single class, or a value."""
    axis = 1 if values.ndim == 2 else None
    if _are_probabilities(values) and not words & (VALUE_WORDS | BOX_WORDS):
        certain = bool(words & LABEL_WORDS) or "sigmoid" in words
        return OutputKind("labels", axis, "one unit from 0 to 1: a label at 0.5", is_binary=True, is_certain=certain)
    return OutputKind("values", axis, "one number an input")


def _rows(words: frozenset[str], values: Array) -> OutputKind:
    """An output [n, c] that holds no probabilities."""
    width = values.shape[1]
    if words & BOX_WORDS and width >= BOX_CORNERS:
        return OutputKind("boxes", 1, "its name", first_score=BOX_CORNERS if width > BOX_CORNERS else None)
    if words & VALUE_WORDS:
        return OutputKind("values", 1, "its name")
    if words & LABEL_WORDS:
        return OutputKind("labels", 1, "its name and shape")
    norms = np.linalg.norm(values, axis=1)
    if width >= MIN_EMBEDDING_SIZE and np.abs(norms - 1).max() < UNIT_NORM_ERROR:
        return OutputKind("values", 1, "rows of unit length: an embedding")
    if width == BOX_CORNERS and len(values) >= 2 and are_corners(values):
        return OutputKind("boxes", 1, "four corners in each row")
    return OutputKind("labels", 1, "its shape [n, classes]", is_certain=False)


def _boxes(words: frozenset[str], values: Array) -> OutputKind | None:
    """Rows of coordinates, alone (by name) or with scores beside them (by name, or pixels before probabilities)."""
    if values.ndim == 3:
        for axis in (2, 1):
            if values.shape[axis] > BOX_CORNERS and values.shape[3 - axis] > 1 and _has_pixels_and_scores(values, axis):
                return OutputKind("boxes", axis, "four pixel coordinates, then scores", first_score=BOX_CORNERS)
    box_axis = _box_axis(values)
    if not words & BOX_WORDS or box_axis is None:
        return None
    first = BOX_CORNERS if values.shape[box_axis] > BOX_CORNERS else None
    return OutputKind("boxes", box_axis, "its name", first_score=first)


def _has_pixels_and_scores(values: Array, axis: int) -> bool:
    channels = np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)
    coordinates, scores = channels[:BOX_CORNERS], channels[BOX_CORNERS:]
    if np.abs(coordinates).max(axis=1).min() <= 2 or not _are_probabilities(scores[0]):
        return False
    is_class_id = (scores == np.round(scores)).all(axis=1)
    is_score = (scores.min(axis=1) >= 0) & (scores.max(axis=1) <= 1 + 1e-6)
    return bool((is_class_id | is_score).all())


def _box_axis(array: Array) -> int | None:
    """The axis of the coordinates: the last where it has room for four, else the first after the batch."""
    if array.ndim < 2:
        return None
    if array.shape[-1] == BOX_CORNERS:
        return array.ndim - 1
    if array.shape[1] == BOX_CORNERS:
        return 1
    axes = [axis for axis in (array.ndim - 1, 1) if array.shape[axis] > BOX_CORNERS]
    return min(axes, key=lambda axis: array.shape[axis], default=None)


def are_corners(boxes: Array) -> bool:
    """Do all rows [..., 4] hold a box as its two corners, first the lower one?"""
    return bool((boxes[..., 2] > boxes[..., 0]).all() and (boxes[..., 3] > boxes[..., 1]).all())


def _sums_to_one(values: Array, axis: int, dtype: str) -> bool:
    if values.shape[axis] < 2 or values.min() < -1e-6:
        return False
    return bool(np.abs(values.sum(axis=axis) - 1).max() < PROBABILITY_SUM_ERROR.get(dtype, 1e-3))


def _are_probabilities(values: Array) -> bool:
    """Are all from 0 to 1, and more than one value there?"""
    low, high = values.min(), values.max()
    return bool(low >= 0 and high <= 1 + 1e-6 and high > low)


def _custom_axis(array: Array, *, channels_last: bool) -> int | None:
    """Where the classes stand by custom: the last axis of a sequence; of an image by the format."""
    if array.ndim < 3:
        return _last(array)
    return array.ndim - 1 if channels_last or array.ndim == 3 else 1


def _last(array: Array) -> int | None:
    return array.ndim - 1 if array.ndim > 1 else None


def _words(name: str) -> frozenset[str]:
    """The words of a name: ``detectionBoxes_1`` has ``detection`` and ``boxes``."""
    spaced = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name)
    return frozenset(word.lower() for word in re.split(r"[^A-Za-z]+", spaced) if word)
