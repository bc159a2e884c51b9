"""What is measured of an output of a quantised model, summed over batches: shares, IoU, score and range errors."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
MIN_SNR_DB = 6.0  # a channel whose error is above half of its own standard deviation has lost its signal
SINGLE_INPUT_FACTOR = 4.0  # one input may be off by this multiple of what is allowed over all inputs
MIN_CLASS_SHARE = 0.01  # of all positions that a class covers before its own IoU decides
MIN_CLASS_IOU = 0.5
MANY_CHANNELS = 16  # outputs with more channels are vectors: a channel that hardly moves is judged beside the others
MIN_CHANNEL_SHARE = 0.05  # of the median channel's range: the least range that a channel of a vector is judged at
SAME_SIZE = 1e-12
_NONE = partial(np.zeros, 0)  # of an array that was not measured


def _added(first: Array, second: Array) -> Array:
    if not first.size or not second.size:
        return second if not first.size else first
    return first + second if first.shape == second.shape else first


@dataclass(frozen=True, eq=False)
class Figures:
    """Sums over the inputs compared; each array has one value a channel or class (along the channel axis).

    ``elements``: how many values each channel has. ``labels``: label positions seen, of which ``labels_differ`` differ.
    ``overlap`` and ``union`` count positions by class. ``box_iou`` sums over ``boxes`` boxes.
    """

    elements: int = 0
    error_square: Array = field(default_factory=_NONE)
    source_sum: Array = field(default_factory=_NONE)
    source_square: Array = field(default_factory=_NONE)
    labels: int = 0
    labels_differ: int = 0
    overlap: Array = field(default_factory=_NONE)
    union: Array = field(default_factory=_NONE)
    source_classes: Array = field(default_factory=_NONE)
    boxes: int = 0
    box_iou: float = 0.0
    worst_box_iou: float = 1.0

    def __add__(self, other: Figures) -> Figures:
        return Figures(
            self.elements + other.elements,
            _added(self.error_square, other.error_square),
            _added(self.source_sum, other.source_sum),
            _added(self.source_square, other.source_square),
            self.labels + other.labels,
            self.labels_differ + other.labels_differ,
            _added(self.overlap, other.overlap),
            _added(self.union, other.union),
            _added(self.source_classes, other.source_classes),
            self.boxes + other.boxes,
            self.box_iou + other.box_iou,
            min(self.worst_box_iou, other.worst_box_iou),
        )

    @property
    def labels_percent(self) -> float | None:
        """Percent of the labels, or label positions, that differ."""
        return 100.0 * self.labels_differ / self.labels if self.labels else None

    def class_iou(self) -> Array:
        """Intersection over union of each class that either model gives anywhere; NaN for the others."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.union > 0, self.overlap / self.union, np.nan)

    @property
    def mean_iou(self) -> float | None:
        """Mean IoU over the classes of a map that either model gives."""
        iou = self.class_iou()
        return float(np.nanmean(iou)) if np.isfinite(iou).any() else None

    @property
    def mean_box_iou(self) -> float | None:
        return self.box_iou / self.boxes if self.boxes else None

    def rms_error(self) -> Array:
        """Root mean square error of each channel."""
        return np.sqrt(self.error_square / max(self.elements, 1))

    def snr_db(self) -> Array:
        """Signal-to-noise ratio of each channel in dB: the Source's variance over the squared error."""
        count = max(self.elements, 1)
        variance = np.maximum(self.source_square / count - (self.source_sum / count) ** 2, 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = 10 * np.log10(variance / (self.error_square / count))
        return np.where(self.error_square > 0, ratio, np.inf)

    def to_json(self, ranges: Array) -> dict[str, Any]:
        """The figures for the report; ``ranges`` are the channels' ranges that errors are a share of."""
        facts: dict[str, Any] = {}
        if self.labels:
            facts["labels_differ_percent"] = self.labels_percent
        if (iou := self.mean_iou) is not None:
            facts["mean_iou"] = iou
        if self.boxes:
            facts |= {"mean_box_iou": self.mean_box_iou, "worst_box_iou": self.worst_box_iou}
        if self.error_square.size and self.error_square.shape == ranges.shape:
            facts["range_error_percent"] = float((100 * self.rms_error() / np.maximum(ranges, SAME_SIZE)).max())
            facts["snr_db"] = float(self.snr_db().min())
        return facts


def judged_ranges(channels: Array) -> Array:
    """The range that each channel's error is a share of: its own; of a long vector, never far below the others'."""
    typical = channels[channels > 0]
    if not typical.size:
        return np.ones_like(channels)
    median = float(np.median(typical))
    least = median * MIN_CHANNEL_SHARE if channels.size > MANY_CHANNELS else 0.0
    ranges = np.maximum(channels, least)
    return np.where(ranges > 0, ranges, median)


def box_iou(source: Array, target: Array) -> Array | None:
    """IoU of boxes [..., 4] at the same places; None where the Source's are no boxes in either form.

    The forms are two corners, and centre with width and height.
    """
    if (source[..., 2:] > source[..., :2]).all():
        source_corners, target_corners = source, target
    elif (source[..., 2:] > 0).all():
        source_corners, target_corners = (
            np.concatenate([b[..., :2] - b[..., 2:] / 2, b[..., :2] + b[..., 2:] / 2], -1) for b in (source, target)
        )
    else:
        return None
    sides = np.minimum(source_corners[..., 2:], target_corners[..., 2:]) - np.maximum(
        source_corners[..., :2], target_corners[..., :2]
    )
    overlap = np.prod(np.maximum(sides, 0), axis=-1)
    areas = [np.prod(np.maximum(b[..., 2:] - b[..., :2], 0), axis=-1) for b in (source_corners, target_corners)]
    return np.asarray(overlap / np.maximum(areas[0] + areas[1] - overlap, SAME_SIZE))
