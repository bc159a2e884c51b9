"""How far values may differ: a tolerance for each channel of an output, from the Source's own answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .outliers import OutlierMeter

Array = np.ndarray[Any, Any]
FLOOR_ULPS = 64  # rounding errors, in units of the dtype's epsilon, that a channel's magnitude lets pass
FLOOR_ULPS_HALF = 4  # the same for float16 and bfloat16, which round each stored value visibly
CONSTANT_ULPS = 16  # an output that moves no more than this many epsilons of its magnitude does not move
PROBABILITY_FLOOR = 2.4e-7  # two float32 epsilons of 1: runtimes compute softmax and sigmoid no closer
MASK_GAP = 1e3  # a masked value is this many times larger than every other value of its channel
MIN_MASK = 1e4
NOISE_FACTOR = 4.0  # a difference up to this multiple of the Source's own noise is float noise


@dataclass(frozen=True)
class Tolerance:
    """The numbers that tolerances are made of.

    Outputs are held to ``atol + rtol * spread`` of each channel; without ``has_atol`` the absolute part follows the
    Source's scale instead of ``atol`` (see :class:`ChannelScales`). Activations inside a model are held to
    ``atol + rtol * max|row|``. ``origin`` says where the numbers come from, for the report.
    """

    atol: float = 1e-4
    rtol: float = 1e-3
    origin: str = "default"
    has_atol: bool = False

    def of(self, rows: Array) -> Array:
        """The tolerance of each row of a (batch, values) array of activations."""
        return np.asarray(self.atol + self.rtol * np.abs(rows).max(axis=1, initial=0.0))


@dataclass(frozen=True, eq=False)
class ChannelScales:
    """What the Source's answers say about the scale of one output's channels.

    Every array broadcasts against the output without its batch. ``spread``: over the inputs, at the position of the
    channel that moves most. ``floor``: the absolute part of the tolerance. ``mask_from``: absolute values from here on
    are masks (such as -1e9 before a softmax) and are compared relative to themselves; infinite where there are none.
    ``is_constant``: the output is the same for all inputs. ``has_elements`` is False for an empty output.
    ``channels`` is the spread again, one value a channel along ``channel_axis`` (which counts
    the batch; -1 of an output whose other sizes depend on the inputs). ``low`` and ``high`` are the smallest and
    largest value of each channel.
    """

    spread: Array
    floor: Array
    mask_from: Array
    channels: Array
    channel_axis: int | None
    is_constant: bool
    has_elements: bool
    count: int
    low: Array
    high: Array

    def beyond(self, values: Array) -> Array:
        """How far each value of ``values`` [input, ...] lies outside of its channel's range.

        Scales are measured on some of the inputs: one that moves a channel further, such as the first photo of a class,
        shows a larger spread. Zero where the shapes do not fit.
        """
        try:
            return np.asarray(np.maximum(np.maximum(self.low - values, values - self.high), 0))
        except ValueError:
            return np.zeros(())

    def allowed(self, tolerance: Tolerance, noise: Array | None = None) -> Array:
        """The largest difference that is let pass, at each position."""
        absolute = np.asarray(tolerance.atol) if tolerance.has_atol else self.floor
        allowed = absolute + tolerance.rtol * self.spread
        if noise is not None and not tolerance.has_atol:
            allowed = np.maximum(allowed, NOISE_FACTOR * noise)
        return np.asarray(allowed)

    def widened(self, other: ChannelScales) -> ChannelScales:
        """The scales of both sets of inputs together; this one's where the shapes do not fit."""
        try:
            spread, floor = np.maximum(self.spread, other.spread), np.maximum(self.floor, other.floor)
            mask_from = np.minimum(self.mask_from, other.mask_from)
            channels = np.maximum(self.channels, other.channels)
            low, high = np.minimum(self.low, other.low), np.maximum(self.high, other.high)
        except ValueError:
            return self
        return ChannelScales(
            spread, floor, mask_from, channels, self.channel_axis, self.is_constant and other.is_constant,
            self.has_elements or other.has_elements, self.count + other.count, low, high,
        )  # fmt: skip


class ScaleMeter:
    """Measures :class:`ChannelScales` over batches; memory is that of one input's output, whatever the number."""

    def __init__(self) -> None:
        self._low: Array | None = None
        self._high: Array | None = None
        self._small: Array | None = None  # largest absolute value below the mask threshold, by position
        self._small_low: Array | None = None
        self._small_high: Array | None = None
        self._masks: Array | None = None  # smallest absolute value from the threshold on, by position
        self._threshold = MIN_MASK
        self._epsilon = float(np.finfo(np.float32).eps)
        self._ulps = FLOOR_ULPS
        self._first: Array | None = None  # of an output of integers, booleans or strings: the first input's
        self._is_same = True
        self._is_collapsed = False
        self._outliers = OutlierMeter()
        self.count = 0

    def add(self, array: Array) -> None:
        """Take in the Source's answers to some inputs, batch first."""
        if array.dtype.kind not in "fcV":
            self._add_exact(array)
            return
        values = real_values(array)
        if not self.count:
            self._epsilon, self._ulps = _rounding(array.dtype)
            finite = np.abs(values[np.isfinite(values)])
            self._threshold = max(MIN_MASK, MASK_GAP * float(np.median(finite)) if finite.size else 0.0)
        self.count += len(values)
        if not len(values):
            return
        finite_values = np.where(np.isfinite(values), values, np.nan)
        self._outliers.add(finite_values)
        low, high = _extremes(finite_values)
        if self._low is not None and self._low.shape != low.shape:
            self._collapse()
            low, high = _last_axis(low, np.fmin), _last_axis(high, np.fmax)
            finite_values = _last_axis_rows(finite_values)
        self._low = _joined(np.fmin, self._low, low)
        self._high = _joined(np.fmax, self._high, high)
        largest = np.fmax(np.abs(low), np.abs(high))
        if self._masks is not None or (largest.size and np.nanmax(largest, initial=0.0) >= self._threshold):
            self._add_masks(finite_values)
        elif self._masks is None:
            self._small_low, self._small_high = self._low, self._high

    def _add_exact(self, array: Array) -> None:
        self.count += len(array)
        if not len(array):
            return
        self._first = array[:1] if self._first is None else self._first
        self._is_same &= array.shape[1:] == self._first.shape[1:] and bool((array == self._first).all())

    def _add_masks(self, values: Array) -> None:
        is_mask = np.abs(values) >= self._threshold
        low, high = _extremes(np.where(is_mask, np.nan, values))
        if self._masks is None:
            self._masks = np.full(low.shape, np.inf)
        self._small_low = _joined(np.fmin, self._small_low, low)
        self._small_high = _joined(np.fmax, self._small_high, high)
        self._masks = np.fmin(self._masks, np.where(is_mask, np.abs(values), np.inf).min(axis=0))

    def _collapse(self) -> None:
        """Keep one value a channel of the last axis: the output has another shape for other inputs."""
        self._is_collapsed = True
        self._low = None if self._low is None else _last_axis(self._low, np.fmin)
        self._high = None if self._high is None else _last_axis(self._high, np.fmax)
        self._small_low = None if self._small_low is None else _last_axis(self._small_low, np.fmin)
        self._small_high = None if self._small_high is None else _last_axis(self._small_high, np.fmax)
        self._masks = None if self._masks is None else _last_axis(self._masks, np.fmin)

    def scales(self, axis: int | None) -> ChannelScales:
        """The scales along the channel axis (which counts the batch). Without one, an output of three or more axes is
        held to the stricter of its slices along the first and along the last."""
        zero = np.zeros(())
        if self._first is not None:
            has_elements = not self._is_same or self._first.size > 0
            return ChannelScales(
                zero, zero, np.asarray(np.inf), zero, axis, self._is_same, has_elements, self.count, zero, zero
            )
        if self._low is None or self._high is None or not self._low.size:
            return ChannelScales(zero, zero, np.asarray(np.inf), zero, axis, True, False, self.count, zero, zero)
        low, high = np.nan_to_num(self._low), np.nan_to_num(self._high)
        axes = channel_axes(axis, low.ndim)
        parts = [self._along(channel_axis, low, high) for channel_axis in axes]
        channels = np.ravel(parts[-1][0])
        usual = [None if self._is_collapsed else self._outliers.usual(channel_axis) for channel_axis in axes]
        parts = [
            (
                spread if known is None else np.where(np.isfinite(mask_from), spread, known.spread(spread)),
                floor,
                mask_from,
            )
            for (spread, floor, mask_from), known in zip(parts, usual, strict=True)
        ]
        lows = [-largest_along(-low, channel_axis) for channel_axis in axes]
        highs = [largest_along(high, channel_axis) for channel_axis in axes]
        lows = [side if known is None else np.maximum(side, known.low) for side, known in zip(lows, usual, strict=True)]
        highs = [
            side if known is None else np.minimum(side, known.high) for side, known in zip(highs, usual, strict=True)
        ]
        spread, floor, mask_from = parts[0]
        for other in parts[1:]:
            spread = np.minimum(spread, other[0])
            floor = np.minimum(floor, other[1])
            mask_from = np.minimum(mask_from, other[2])
        magnitude = np.maximum(np.abs(low), np.abs(high))
        is_constant = bool(((high - low) <= CONSTANT_ULPS * self._epsilon * magnitude).all())
        chosen = axes[-1]
        channel_axis = -1 if self._is_collapsed else None if chosen is None else chosen + 1
        return ChannelScales(
            spread, floor, mask_from, channels, channel_axis, is_constant, True, self.count,
            np.minimum.reduce(np.broadcast_arrays(*lows)), np.maximum.reduce(np.broadcast_arrays(*highs)),
        )  # fmt: skip

    def _along(self, axis: int | None, low: Array, high: Array) -> tuple[Array, Array, Array]:
        """Spread, floor and mask threshold of each slice along an axis (of the output without its batch)."""
        spread = largest_along(high - low, axis)
        magnitude = largest_along(np.maximum(np.abs(low), np.abs(high)), axis)
        mask_from = np.full(spread.shape, np.inf)
        if self._masks is not None and self._small_low is not None and self._small_high is not None:
            small_low, small_high = np.nan_to_num(self._small_low), np.nan_to_num(self._small_high)
            small = largest_along(np.maximum(np.abs(small_low), np.abs(small_high)), axis)
            masks = -largest_along(-self._masks, axis)
            is_masked = np.isfinite(masks) & (masks >= MASK_GAP * small)
            has_rest = largest_along(np.isfinite(self._small_low), axis) > 0
            is_masked &= has_rest
            spread = np.where(is_masked, largest_along(small_high - small_low, axis), spread)
            magnitude = np.where(is_masked, small, magnitude)
            mask_from = np.where(is_masked, masks / 2, np.inf)
        return spread, self._floor(magnitude, spread, low, high), mask_from

    def _floor(self, magnitude: Array, spread: Array, low: Array, high: Array) -> Array:
        """Rounding of each channel at its own size; of a channel of zeros, at the size of the others."""
        floor = self._ulps * self._epsilon * magnitude
        typical = magnitude[magnitude > 0]
        if typical.size:
            floor = np.where(magnitude > 0, floor, self._epsilon * np.median(typical))
        if low.min() >= 0 and 0.1 <= high.max() <= 1 + 1e-6:
            floor = np.maximum(floor, PROBABILITY_FLOOR)
        return np.asarray(floor)


def real_values(array: Array) -> Array:
    """Values as float32 where that holds them, else float64, batch first; a complex output holds its imaginary parts
    after its real ones."""
    if array.dtype.kind == "c":
        parts = [part if array.ndim > 1 else part[:, None] for part in (array.real, array.imag)]
        return np.concatenate(parts, axis=-1)
    if array.dtype.kind == "V" or (array.dtype.kind == "f" and array.dtype.itemsize <= 4):
        return array.astype(np.float32, copy=False)
    return array.astype(np.float64, copy=False)


def _rounding(dtype: np.dtype[Any]) -> tuple[float, int]:
    """Epsilon, and how many of it a right Target may be off in a channel that hardly moves."""
    name = str(dtype)
    if name == "bfloat16":
        return 2.0**-7, FLOOR_ULPS_HALF
    if name == "float16":
        return float(np.finfo(np.float16).eps), FLOOR_ULPS_HALF
    if dtype.kind == "c":
        return float(np.finfo(dtype).eps), FLOOR_ULPS
    return float(np.finfo(dtype).eps) if dtype.kind == "f" else float(np.finfo(np.float32).eps), FLOOR_ULPS


def channel_axes(axis: int | None, ndim: int) -> list[int | None]:
    """The axes, without the batch, whose slices have a scale each."""
    if axis is not None and 0 < axis <= ndim:
        return [axis - 1]
    if ndim == 0:
        return [None]
    return [0] if ndim == 1 else [0, ndim - 1]


def largest_along(values: Array, axis: int | None) -> Array:
    """The largest value of each slice along ``axis``, with the other axes kept as 1."""
    if axis is None:
        return np.asarray(values.max())
    others = tuple(i for i in range(values.ndim) if i != axis)
    return np.asarray(values.max(axis=others, keepdims=True) if others else values)


def _extremes(values: Array) -> tuple[Array, Array]:
    """Smallest and largest number over the batch, NaN left out."""
    return np.fmin.reduce(values, axis=0), np.fmax.reduce(values, axis=0)


def _joined(reduce: Any, old: Array | None, new: Array) -> Array:
    return new if old is None else np.asarray(reduce(old, new))


def _last_axis(values: Array, reduce: Any) -> Array:
    return np.asarray(reduce.reduce(values.reshape(-1, values.shape[-1]), axis=0)) if values.ndim > 1 else values


def _last_axis_rows(values: Array) -> Array:
    return values.reshape(-1, values.shape[-1]) if values.ndim > 2 else values
