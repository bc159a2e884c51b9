"""Which of the Target's inputs is which of the Source's, and in which layout it wants it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..formats import Format, Layout
from ..records import Signature, TensorSpec

Array = np.ndarray[Any, Any]
TO_NHWC, TO_NCHW = (0, 2, 3, 1), (0, 3, 1, 2)
CHANNELS = (1, 3, 4)


@dataclass(frozen=True)
class InputMapping:
    """One input of the Target: where it comes from, and the permutation of axes it needs (None: none)."""

    target: TensorSpec
    source: str
    axes: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Mismatch:
    """Why the Target cannot be fed with the Source's inputs."""

    reason: str


def map_inputs(
    source: Signature,
    shapes: Mapping[str, Sequence[int | None]],
    target: Signature,
    turns: Mapping[str, tuple[int, ...]] | None = None,
) -> tuple[InputMapping, ...] | Mismatch:
    """Match the Target's inputs to the Source's, by name where the names agree, else by position.

    ``shapes`` are the Source's input shapes in this run; ``turns`` are the permutations of Source inputs that were
    given another layout on purpose. An input more or less is a mismatch: a Target that needs what the Source
    does not is another model.
    """
    ours = {spec.name: spec for spec in source.inputs}
    if len(target.inputs) != len(ours):
        more = [t.name for t in target.inputs][:6]
        return Mismatch(f"the Target takes {len(target.inputs)} inputs {more}, the Source {len(ours)} {list(ours)[:6]}")
    by_name = {spec.name for spec in target.inputs} == set(ours)
    mapping = []
    for spec, name in zip(target.inputs, ours, strict=True):
        origin = spec.name if by_name else name
        turn = (turns or {}).get(origin)
        shape = tuple(shapes[origin])
        axes = _axes(shape if turn is None else tuple(shape[a] for a in turn), spec)
        if isinstance(axes, Mismatch):
            return axes
        if turn is not None:
            axes = turn if axes is None else tuple(turn[a] for a in axes)
        mapping.append(InputMapping(spec, origin, axes))
    return tuple(mapping)


def _axes(shape: tuple[int | None, ...], spec: TensorSpec) -> tuple[int, ...] | Mismatch | None:
    if spec.shape is None or _fits(shape, spec.shape):
        return None
    if len(shape) == 4:
        for axes in to_other_layout(shape):
            if _fits(tuple(shape[a] for a in axes), spec.shape):
                return axes
    return Mismatch(f"input {spec} of the Target does not take the Source's {list(shape)}")


def _fits(shape: tuple[int | None, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(shape) == len(wanted) and all(
        a is None or b is None or a == b for a, b in zip(shape[1:], wanted[1:], strict=True)
    )


def apply_mapping(mapping: Sequence[InputMapping], arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The Source's arrays as the Target takes them: its names, its layout, its dtype."""
    given = {}
    for one in mapping:
        array = arrays[one.source]
        if one.axes is not None:
            extra = array.ndim - len(one.axes)  # 1 where each row is a whole input, without a batch axis
            axes = (*range(extra), *(axis + extra for axis in one.axes))
            array = np.ascontiguousarray(array.transpose(axes))
        given[one.target.name] = array.astype(one.target.dtype, copy=False)
    return given


def single_input(inputs: Sequence[TensorSpec], arrays: Mapping[str, Array], row: int, batch: int) -> dict[str, Array]:
    """One row of the arrays as one call of the model takes it, ``batch`` times where the input has a batch axis."""
    shapes = {spec.name: spec.shape for spec in inputs}
    single = {}
    for name, array in arrays.items():
        shape = shapes.get(name)
        is_whole = shape is not None and array.ndim == len(shape) + 1
        single[name] = array[row] if is_whole else np.repeat(array[row : row + 1], batch, axis=0)
    return single


def match_outputs(source: Sequence[str], target: Sequence[str], arrays: Sequence[Array]) -> list[Array]:
    """The Target's outputs in the Source's order: by name where the names are the same, else as they come."""
    if len(set(target)) == len(target) and set(source) == set(target):
        return [arrays[list(target).index(name)] for name in source]
    return list(arrays)


def to_other_layout(shape: Sequence[int | None]) -> tuple[tuple[int, ...], ...]:
    """The turns that give an image tensor the other layout: one, where its channels stand at one place only.

    With both, square NCHW sizes would also come out as width, channels, height, which is no layout.
    """
    first, last = shape[1] in CHANNELS, shape[3] in CHANNELS
    if first != last:
        return (TO_NHWC,) if first else (TO_NCHW,)
    return TO_NHWC, TO_NCHW


def layout_of(shape: Sequence[int | None], format: Format) -> Layout:
    """Tell an image tensor's layout by where its 1, 3 or 4 channels stand, else by the format's custom."""
    first, last = shape[1] in CHANNELS, shape[3] in CHANNELS
    if first != last:
        return "nchw" if first else "nhwc"
    return format.default_layout


def sizes(mapping: Sequence[InputMapping], shapes: Mapping[str, Sequence[int | None]]) -> dict[str, list[int | None]]:
    """The shapes of a model's inputs in this run, by its own names; a batch that it leaves free stays None."""
    found = {}
    for one in mapping:
        shape = list(shapes[one.source])
        if one.axes is not None:
            shape = [shape[axis] for axis in one.axes]
        if one.target.shape:
            shape[0] = one.target.shape[0]
        found[one.target.name] = shape
    return found
