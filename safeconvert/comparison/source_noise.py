"""How far a model's answers move by themselves: by rounding, another batch, other threads, inputs a hair apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .tolerance import ChannelScales, channel_axes, largest_along, real_values

Array = np.ndarray[Any, Any]
NUDGE = 1e-6  # of each input value, up or down at random
ILL_CONDITIONED_SHARE = 0.25  # of what outputs say of the inputs (root mean square) that noise may be


def nudged(arrays: Mapping[str, Array], seed: int) -> dict[str, Array]:
    """The inputs with each floating-point value changed by one part in a million."""
    random = np.random.default_rng(seed)
    changed = {}
    for name, array in arrays.items():
        if array.dtype.kind == "f":
            signs = random.choice([-NUDGE, NUDGE], array.shape)
            array = (array * (1 + signs)).astype(array.dtype)
        changed[name] = array
    return changed


def moved(base: Array, other: Array) -> Array:
    """The largest distance of each element over the inputs, without the batch; zeros where there is none to measure."""
    if base.shape != other.shape or base.dtype.kind not in "fcV" or not len(base):
        return np.zeros(real_values(base).shape[1:] if base.dtype.kind in "fcViub" else base.shape[1:])
    with np.errstate(invalid="ignore"):
        distance = np.abs(real_values(base).astype(np.float64) - real_values(other))
    return np.asarray(np.where(np.isfinite(distance), distance, 0).max(axis=0))


def slice_noise(distance: Array, axis: int | None) -> Array:
    """The noise of each channel, at each position of the output without its batch; ``axis`` counts the batch."""
    noise = (
        [largest_along(distance, channel_axis) for channel_axis in channel_axes(axis, distance.ndim)]
        if distance.size
        else [distance]
    )
    return np.asarray(np.minimum.reduce(np.broadcast_arrays(*noise)) if len(noise) > 1 else noise[0])


def is_ill_conditioned(noise: Array, scales: ChannelScales) -> bool:
    """Is the noise a large part of how the outputs differ between inputs, over all channels that move?"""
    if scales.is_constant or not noise.size:
        return False
    try:
        noise, spread = np.broadcast_arrays(noise, scales.spread)
    except ValueError:
        return False
    moves = spread > 0
    share = np.minimum(noise[moves] / spread[moves], 1.0)
    return bool(share.size and np.sqrt(np.mean(np.square(share))) > ILL_CONDITIONED_SHARE)
