"""The ways in which a Target's input may come to take the Source's sizes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from ...formats import Format
from ...models.input_mapping import TO_NCHW, TO_NHWC, layout_of
from ...records import TensorSpec
from ..graph.input_change import InputChange

Shape = tuple[int | None, ...]


def input_changes(
    source: Shape, source_format: Format, spec: TensorSpec, target_format: Format
) -> Iterator[InputChange]:
    """Yield how a Target's input ``spec`` may come to take the Source's sizes, likeliest first.

    ``source`` is the shape of the Source's input, batch first. The formats' customs decide where sizes do not tell the
    layout.
    """
    shape = spec.shape or ()
    batch = shape[0] if len(shape) == len(source) else None
    if len(shape) == len(source) - 1:
        for sizes in _layouts(source, source_format, None):
            if fits(sizes[1:], shape):
                yield InputChange((1, *sizes[1:]), is_squeezed=True)
        return
    if len(shape) != len(source):
        return
    if len(source) != 4:
        yield InputChange((batch, *source[1:]))
        return
    axis = 1 if layout_of(shape, target_format) == "nchw" else 3
    layouts = _layouts(source, source_format, axis)
    permutations = list(itertools.permutations((1, 2, 3)))
    permutations.sort(key=lambda perm: perm[axis - 1] != axis)  # the channels stay where they are, if that will do
    for perm in permutations:
        if perm != (1, 2, 3) and fits([layouts[0][a] for a in perm], shape[1:]):
            yield InputChange((batch, *layouts[0][1:]), (0, *perm))
    for sizes in layouts:
        if shape[axis] in (None, sizes[axis]):
            yield InputChange((batch, *sizes[1:]))


def _layouts(shape: Shape, format: Format, axis: int | None) -> list[Shape]:
    """The shape as NCHW and as NHWC, first that with the channels at ``axis`` (None: as it is)."""
    if len(shape) != 4:
        return [shape]
    channel_axis = 1 if layout_of(shape, format) == "nchw" else 3
    other_layout = TO_NHWC if channel_axis == 1 else TO_NCHW
    both = [shape, tuple(shape[a] for a in other_layout)]
    return both if axis in (None, channel_axis) else both[::-1]


def fits(sizes: Sequence[int | None], wanted: Sequence[int | None]) -> bool:
    """Are these sizes the wanted ones, as far as both are fixed?"""
    return len(sizes) == len(wanted) and all(
        a is None or b is None or a == b for a, b in zip(sizes, wanted, strict=True)
    )
