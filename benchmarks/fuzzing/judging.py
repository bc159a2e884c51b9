"""Compares the outputs of two models without anything of safeconvert: what a Target must agree in, seen apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

SHARE_OF_SPREAD = 5e-3  # a difference above this share of a channel's standard deviation is wrong
SHARE_OF_VALUE = 1e-5  # of the largest value: rounding
TIMES_NOISE = 20.0  # a difference below so many times what a nudge of the inputs does is noise


def difference(source: Sequence[Array], target: Sequence[Array], nudged: Sequence[Sequence[Array]]) -> str:
    """Say how the Target's outputs differ from the Source's; "" where they agree.

    ``nudged`` are the Source's outputs for inputs moved by about one part in a million.
    """
    if len(source) != len(target):
        return f"{len(target)} outputs, the Source has {len(source)}"
    for place, (expected, actual) in enumerate(zip(source, target, strict=True)):
        words = _of_output(expected, actual, [outputs[place] for outputs in nudged])
        if words:
            return f"output {place}: {words}"
    return ""


def _of_output(expected: Array, actual: Array, nudged: Sequence[Array]) -> str:
    if expected.shape != actual.shape:
        return f"shape {actual.shape}, the Source's is {expected.shape}"
    if expected.dtype.kind not in "fc" and actual.dtype.kind not in "fc":
        return _of_integers(expected, actual, nudged)
    return _of_floats(expected.astype(np.float64), actual.astype(np.float64), [n.astype(np.float64) for n in nudged])


def _of_integers(expected: Array, actual: Array, nudged: Sequence[Array]) -> str:
    """Elements must be equal but where a nudge changes the Source's own."""
    moving = np.zeros(expected.shape, bool)
    for other in nudged:
        moving |= other != expected
    wrong = (expected.astype(np.int64) != actual.astype(np.int64)) & ~moving
    return f"{int(wrong.sum())} of {wrong.size} integers differ" if wrong.any() else ""


def _of_floats(expected: Array, actual: Array, nudged: Sequence[Array]) -> str:
    if not np.isfinite(actual[np.isfinite(expected)]).all():
        return "not finite where the Source is"
    error = np.where(np.isfinite(expected), np.abs(expected - actual), 0.0)
    noise = np.max([np.abs(other - expected) for other in nudged], axis=0) if nudged else np.zeros_like(expected)
    for axis in {expected.ndim - 1, min(1, expected.ndim - 1)}:
        others = tuple(a for a in range(expected.ndim) if a != axis) if expected.ndim > 1 else (0,)
        limit = SHARE_OF_SPREAD * expected.std(axis=others, keepdims=True)
        limit = limit + SHARE_OF_VALUE * np.abs(expected).max(axis=others, keepdims=True)
        limit = limit + TIMES_NOISE * noise.max(axis=others, keepdims=True) + 1e-7
        if (share := float((error / limit).max(initial=0.0))) > 1:
            return f"a value is off by {float(error.max()):.3g}, {share:.3g} times what is allowed"
    return ""


def other_kinds(source: Sequence[Array], target: Sequence[Array]) -> list[str]:
    """The outputs that are floats in one model and integers in the other, though their values may agree."""
    return [
        f"output {place} is {actual.dtype} in the Target and {expected.dtype} in the Source"
        for place, (expected, actual) in enumerate(zip(source, target, strict=False))
        if (expected.dtype.kind == "f") != (actual.dtype.kind == "f")
    ]


def in_source_order(source_names: Sequence[str], target_names: Sequence[str], arrays: Sequence[Array]) -> list[Array]:
    """The Target's outputs in the Source's order: by name where the names are the same, else by place."""
    if set(source_names) == set(target_names):
        return [arrays[list(target_names).index(name)] for name in source_names]
    return list(arrays)


def nudge(arrays: Mapping[str, Array], seed: int) -> dict[str, Array]:
    """The inputs with floats moved by about one part in a million."""
    random = np.random.default_rng(seed)
    return {
        name: (array * (1 + 1e-6 * random.normal(size=array.shape))).astype(array.dtype)
        if array.dtype.kind == "f"
        else array
        for name, array in arrays.items()
    }
