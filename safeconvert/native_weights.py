"""Repair of weights in a model's own format: the file stays what it is, but for the arrays that were wrong.

A view may hold weights otherwise than the model does (a batch normalisation folded into a convolution), so the arrays
are looked for in two ways: those that the view's repair changes, and those that no array of the Source equals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from safeconvert.children import Workshop
from safeconvert.model import Recognised
from safeconvert.native.arrangement import arrangements
from safeconvert.sides import Side

Array = np.ndarray[Any, Any]
MODULES = {
    "torch": "native.torch_layers",
    "keras": "native.tensorflow_layers",
    "tf": "native.tensorflow_layers",
    "tflite": "native.light_layers",
    "onnx": "repair.initializers",
}
SUFFIX = {"torch": ".pt2", "keras": ".keras", "tf": "", "tflite": ".tflite"}


@dataclass(frozen=True)
class Parameter:
    """One trained array of a model, by its native name; ``layer`` is the layer or module that owns it."""

    name: str
    layer: str
    array: Array
    quantized: bool


def parameters(workshop: Workshop, side: Side) -> list[Parameter]:
    """The model's trained arrays. Raises :class:`ChildFailed`."""
    store = workshop.scratch("parameters.npz")
    records = side.child().call(MODULES[side.format], "parameters", path=side.location, store=str(store))
    with np.load(store) as stored:
        found = [
            Parameter(one["name"], one["layer"], stored[one["key"]], bool(one.get("quantized"))) for one in records
        ]
    store.unlink()
    return found


def replaced(workshop: Workshop, side: Side, values: Mapping[str, Array]) -> Recognised:
    """A copy of the model with these arrays in place of its own. Raises :class:`ChildFailed`."""
    target = workshop.scratch("model" + SUFFIX[side.format])
    flavour = side.child().call(
        MODULES[side.format], "replaced", path=side.location, target=str(target), values=dict(values)
    )
    return Recognised(target, side.format, str(flavour))


def by_change(own: Sequence[Parameter], before: Array, after: Array) -> tuple[Parameter, Array] | None:
    """The parameter that holds ``before``, in whatever layout, with ``after`` in its place."""
    for one in own:
        limit = 0.0 if not one.quantized else 1e-6 * float(np.abs(before).max(initial=0.0))
        for way in arrangements((1, *one.array.shape), (1, *before.shape)):
            laid = way.of(one.array[None])[0]
            if np.allclose(laid, before, rtol=1e-6, atol=max(limit, 1e-9)):
                turned = tuple(one.array[None].shape[axis] for axis in way.perm)
                back = after[None].reshape(turned).transpose(np.argsort(way.perm))[0]
                return one, np.ascontiguousarray(back)
    return None


def leftovers(own: Sequence[Parameter], source: Sequence[Parameter]) -> list[tuple[Parameter, Array]]:
    """The parameters that no array of the Source equals, each with the Source's array that no parameter equals.

    Empty where they do not pair off one to one: then the two do not hold their weights in the same pieces.
    """
    index: dict[int, list[int]] = {}
    for number, one in enumerate(source):
        index.setdefault(one.array.size, []).append(number)
    used: set[int] = set()
    left: list[Parameter] = []
    for one in own:
        same = [n for n in index.get(one.array.size, ()) if _laid(source[n].array, one.array, exact=True) is not None]
        used.update(same)
        if not same:
            left.append(one)
    free = [n for n in range(len(source)) if n not in used]
    pairs = []
    for one in left:
        options = []
        for number in free:
            laid = _laid(source[number].array, one.array, exact=False)
            if laid is not None:
                options.append((float(np.abs(laid - one.array).mean()), number, laid))
        if not options:
            return []
        _, number, laid = min(options, key=lambda option: option[:2])
        free.remove(number)
        pairs.append((one, laid))
    return pairs


def _laid(array: Array, wanted: Array, *, exact: bool) -> Array | None:
    """The array in the layout of another: the one in which they are equal, or else nearest."""
    if array.size != wanted.size or (exact and not _alike(array, wanted)):
        return None
    best: tuple[float, Array] | None = None
    for way in arrangements((1, *array.shape), (1, *wanted.shape)):
        laid: Array = way.of(array[None])[0]
        if exact:
            if np.allclose(laid, wanted, rtol=1e-5, atol=1e-7):
                return laid
            continue
        apart = float(np.abs(laid - wanted).mean())
        if best is None or apart < best[0]:
            best = apart, laid
    return None if best is None else best[1]


def _alike(a: Array, b: Array) -> bool:
    scale = float(np.abs(a).max(initial=0.0))
    sums = a.sum(dtype=np.float64), b.sum(dtype=np.float64)
    return bool(np.isclose(*sums, rtol=1e-4, atol=1e-4 * scale * a.size**0.5))
