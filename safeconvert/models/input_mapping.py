"""Tell which of the Target's inputs is which of the Source's, and in which layout the Target takes it."""

from __future__ import annotations

import re
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
    permutations: Mapping[str, tuple[int, ...]] | None = None,
) -> tuple[InputMapping, ...] | Mismatch:
    """Match the Target's inputs to the Source's, by name where the names agree, else by position.

    Where the names are lost and shapes and dtypes allow one order only, inputs are matched by those.

    What TensorFlow puts around a name (``serving_default_image:0``) does not make it another one: converters leave it
    there, and list the inputs in another order.

    ``shapes`` are the Source's input shapes in this run; ``permutations`` are those of Source inputs that were brought
    into another layout on purpose. Another number of inputs is a mismatch: a Target that needs an input which the
    Source does not have is another model.
    """
    source_specs = {spec.name: spec for spec in source.inputs}
    if len(target.inputs) != len(source_specs):
        target_names = [t.name for t in target.inputs][:6]
        return Mismatch(
            f"the Target takes {len(target.inputs)} inputs {target_names}, "
            f"the Source {len(source_specs)} {list(source_specs)[:6]}"
        )
    mapping = []
    permuted = {
        name: tuple(shapes[name][axis] for axis in (permutations or {}).get(name, range(len(shapes[name]))))
        for name in source_specs
    }
    for spec, origin in zip(target.inputs, _origins(target.inputs, source_specs, permuted), strict=True):
        permutation = (permutations or {}).get(origin)
        axes = _axes(permuted[origin], spec)
        if isinstance(axes, Mismatch):
            return axes
        if permutation is not None:
            axes = permutation if axes is None else tuple(permutation[a] for a in axes)
        mapping.append(InputMapping(spec, origin, axes))
    return tuple(mapping)


def _origins(
    inputs: Sequence[TensorSpec], source_specs: Mapping[str, TensorSpec], shapes: Mapping[str, tuple[int | None, ...]]
) -> Sequence[str]:
    """The name of the Source's input for each of the Target's; ``shapes`` are the Source's, permuted on purpose."""
    source_names = list(source_specs)
    for plain in (str, _without_decoration):
        by_name = {plain(name): name for name in source_names}
        if len(by_name) == len(source_names) and {plain(spec.name) for spec in inputs} == set(by_name):
            return [by_name[plain(spec.name)] for spec in inputs]
    fitting = [
        [name for name in source_names if not isinstance(_axes(shapes[name], spec), Mismatch)] for spec in inputs
    ]
    same_dtype = [
        [name for name in names if source_specs[name].dtype == spec.dtype] or names
        for spec, names in zip(inputs, fitting, strict=True)
    ]
    if (order := _only_order(same_dtype)) is not None:
        return order
    if all(name in names for name, names in zip(source_names, fitting, strict=True)):
        return source_names
    return _only_order(fitting) or source_names


def _only_order(fitting: Sequence[Sequence[str]]) -> tuple[str, ...] | None:
    """The one choice of a fitting name an input in which no name comes twice; None where there are more, or none.

    It is the only one if each name in it is indispensable: without it there is no choice left.
    """
    names = sorted({name for options in fitting for name in options})
    fits = np.array([[name in options for name in names] for options in fitting], dtype=bool)
    order = _distinct_choice(fits)
    if order is None:
        return None
    for row, column in enumerate(order):
        without = fits.copy()
        without[row, column] = False
        if _distinct_choice(without) is not None:
            return None
    return tuple(names[column] for column in order)


def _distinct_choice(fits: np.ndarray[Any, Any]) -> list[int] | None:
    """A column that fits each row, no column twice; None where there is no such choice."""
    from scipy.sparse import csr_array  # slow to import, and needed only where names are lost
    from scipy.sparse.csgraph import maximum_bipartite_matching

    if not fits.any(axis=-1).all():
        return None
    columns = maximum_bipartite_matching(csr_array(fits), perm_type="column")
    return None if (columns < 0).any() else [int(column) for column in columns]


def _without_decoration(name: str) -> str:
    """A tensor's name without what TensorFlow puts around the name of a signature's input."""
    return re.sub(r":\d+$", "", name.removeprefix("serving_default_"))


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
    """Return the Source's arrays as the Target takes them: under its names, in its layout and its dtype."""
    target_arrays = {}
    for mapped in mapping:
        array = arrays[mapped.source]
        if mapped.axes is not None:
            extra = array.ndim - len(mapped.axes)  # 1 where each row is a whole input, without a batch axis
            axes = (*range(extra), *(axis + extra for axis in mapped.axes))
            array = np.ascontiguousarray(array.transpose(axes))
        target_arrays[mapped.target.name] = array.astype(mapped.target.dtype, copy=False)
    return target_arrays


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
    """Return the Target's outputs in the Source's order: by name where the names are the same, else by position."""
    if len(set(target)) == len(target) and set(source) == set(target):
        return [arrays[list(target).index(name)] for name in source]
    return list(arrays)


def to_other_layout(shape: Sequence[int | None]) -> tuple[tuple[int, ...], ...]:
    """Return the permutations that give an image tensor the other layout; only one where the sizes tell the channels.

    Trying both would also turn square NCHW sizes into width, channels, height, which is no layout.
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
    """Return the shapes of a model's inputs in this run, by its own names; a batch that it leaves free stays None."""
    shapes_by_name = {}
    for mapped in mapping:
        shape = list(shapes[mapped.source])
        if mapped.axes is not None:
            shape = [shape[axis] for axis in mapped.axes]
        if mapped.target.shape:
            shape[0] = mapped.target.shape[0]
        shapes_by_name[mapped.target.name] = shape
    return shapes_by_name
