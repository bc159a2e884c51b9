"""Repair of weights in a model's own format: the file stays what it is, but for the arrays that were wrong.

A view may hold weights otherwise than the model does (a batch normalisation folded into a convolution), so the arrays
are looked for in two ways: those that the view's repair changes, and those that no array of the Source equals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...formats import ModelFile
from ...models.loaded_model import LoadedModel
from ...runtimes.tensor_layout import TensorLayout, arrangements
from ...workers.pool import WorkerPool

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Parameter:
    """One trained array of a model, by its native name; ``layer`` is the layer or module that owns it."""

    name: str
    layer: str
    array: Array
    quantized: bool


def parameters(workers: WorkerPool, model: LoadedModel) -> list[Parameter]:
    """Read the model's trained arrays. Raises :class:`WorkerFailed`."""
    read, store = model.format.runtime.read_parameters, workers.scratch("parameters.npz")
    if read is None:
        return []
    records = read(model.worker(), None, path=model.location, store=str(store))
    with np.load(store) as stored:
        parameters_of_model = [
            Parameter(record.name, record.layer, stored[record.key], record.is_quantized) for record in records
        ]
    store.unlink()
    return parameters_of_model


def replaced(workers: WorkerPool, model: LoadedModel, path: str, values: Mapping[str, Array]) -> ModelFile | None:
    """Write a copy of the file, which is one of this model's, with these arrays in place of its own.

    None where the format's runtime cannot. Raises :class:`WorkerFailed`.
    """
    replace, target = model.format.runtime.replace_parameters, workers.scratch("model" + model.format.suffix)
    if replace is None:
        return None
    flavour = replace(model.worker(), None, path=path, target=str(target), values=dict(values))
    return ModelFile(target, model.format, flavour)


def by_change(
    model_parameters: Sequence[Parameter], before: Array, after: Array, layer: str
) -> tuple[Parameter, Array] | None:
    """The parameter that holds ``before``, in whatever layout, with ``after`` in its place.

    Several layers may hold the same numbers: then it is the one of ``layer``, the name of what was found.
    """
    changed = []
    for parameter in model_parameters:
        if parameter.array.size != before.size:
            continue
        slack = 1e-6 * float(np.abs(before).max(initial=0.0)) if parameter.quantized else 1e-9
        for laid, back in _laid_out(parameter.array, before.shape):
            if np.allclose(laid, before, rtol=1e-6, atol=slack):
                changed.append((parameter, back(after)))
                break
    named = [pair for pair in changed if layer and (pair[0].layer == layer or pair[0].name.startswith(layer))]
    return (named or changed)[0] if len(changed) == 1 or named else None


@dataclass(frozen=True)
class _Normalisation:
    """The four arrays of a batch normalisation of one layer."""

    gamma: Parameter
    beta: Parameter
    mean: Parameter
    variance: Parameter


ENDINGS = (
    ("gamma", "beta", "moving_mean", "moving_variance"),
    ("weight", "bias", "running_mean", "running_var"),
)
EPSILONS = (1e-3, 1e-5, 1e-4, 1e-6, 2e-5, 1e-2, 1e-7)


def unfolded(
    model_parameters: Sequence[Parameter], before: tuple[Array, Array], after: tuple[Array, Array]
) -> list[tuple[Parameter, Array]] | None:
    """A view's convolution, weights and bias before and after, as the convolution and batch normalisation it came from.

    The two are found by content: a kernel of which each output channel of the view's is a multiple, and a
    normalisation that multiplies by just these numbers. Where channels are only scaled and shifted otherwise, gamma and
    beta change; else the kernel, and beta. None where no such pair, or more than one, is found.
    """
    kernels = [
        (parameter, laid, back)
        for parameter in model_parameters
        for laid, back in _laid_out(parameter.array, before[0].shape)
        if _multiples(laid, before[0]) is not None
    ]
    folded = []
    for kernel, laid, back in kernels:
        ratio = _multiples(laid, before[0])
        assert ratio is not None
        for norm in _normalisations(model_parameters, len(ratio)):
            epsilon = next((e for e in EPSILONS if _scales(norm, e, ratio)), None)
            if epsilon is not None:
                folded.append((kernel, laid, back, ratio, norm))
    if len(folded) != 1:
        return None
    kernel, laid, back, ratio, norm = folded[0]
    scaled = _multiples(before[0], after[0])
    changes: list[tuple[Parameter, Array]] = []
    # The view's bias is beta - (mean - the convolution's own bias) * ratio.
    inner = (norm.beta.array - before[1]) / ratio
    new_ratio = ratio
    if scaled is None:
        changes.append((kernel, back(after[0] / ratio.reshape(-1, *[1] * (after[0].ndim - 1)))))
    elif not np.allclose(scaled, 1, rtol=1e-6):
        new_ratio = ratio * scaled
        changes.append((norm.gamma, norm.gamma.array * scaled))
    beta = after[1] + inner * new_ratio
    if not np.allclose(beta, norm.beta.array, rtol=1e-5, atol=1e-6 * float(np.abs(beta).max(initial=1.0))):
        changes.append((norm.beta, beta))
    return [
        (parameter, np.asarray(value, np.float32).reshape(parameter.array.shape)) for parameter, value in changes
    ] or None


def _laid_out(array: Array, wanted: tuple[int, ...]) -> Iterator[tuple[Array, Callable[[Array], Array]]]:
    """The array in every layout that has the wanted shape, each with the way back."""
    for layout in arrangements((1, *array.shape), (1, *wanted)):
        turned = tuple(array[None].shape[axis] for axis in layout.perm)

        def back(value: Array, layout: TensorLayout = layout, turned: tuple[int, ...] = turned) -> Array:
            return np.ascontiguousarray(value[None].reshape(turned).transpose(np.argsort(layout.perm))[0])

        yield layout.of(array[None])[0], back


def _multiples(base: Array, other: Array) -> Array | None:
    """By how much each channel (first axis) of ``base`` is multiplied in ``other``; None where it is not."""
    if base.shape != other.shape or base.ndim < 2:
        return None
    a, b = (array.reshape(len(array), -1).astype(np.float64) for array in (base, other))
    squares = (a * a).sum(axis=1)
    if not np.all(squares > 0):
        return None
    ratio: Array = (a * b).sum(axis=1) / squares
    distances = np.abs(b - a * ratio[:, None]).max(axis=1)
    if not np.all(distances <= 1e-4 * np.abs(b).max(axis=1) + 1e-12) or not np.all(ratio != 0):
        return None
    return ratio


def _normalisations(model_parameters: Sequence[Parameter], channels: int) -> Iterator[_Normalisation]:
    layers: dict[str, dict[str, Parameter]] = {}
    for parameter in model_parameters:
        if parameter.array.size == channels:
            layers.setdefault(parameter.layer, {})[parameter.name.replace(".", "/").rpartition("/")[2]] = parameter
    for named in layers.values():
        for endings in ENDINGS:
            if all(ending in named for ending in endings):
                yield _Normalisation(*(named[ending] for ending in endings))


def _scales(norm: _Normalisation, epsilon: float, ratio: Array) -> bool:
    by = norm.gamma.array.astype(np.float64) / np.sqrt(norm.variance.array.astype(np.float64) + epsilon)
    return bool(np.allclose(by, ratio, rtol=1e-3, atol=1e-6 * float(np.abs(ratio).max())))


def unlike(model_parameters: Sequence[Parameter], source: Sequence[Parameter]) -> tuple[list[Parameter], list[int]]:
    """The parameters that no array of the Source equals in any layout, and the numbers of those that equal none."""
    index: dict[int, list[int]] = {}
    for number, parameter in enumerate(source):
        index.setdefault(parameter.array.size, []).append(number)
    used: set[int] = set()
    left: list[Parameter] = []
    for parameter in model_parameters:
        same = [
            n
            for n in index.get(parameter.array.size, ())
            if _laid(source[n].array, parameter.array, exact=True) is not None
        ]
        used.update(same)
        if not same:
            left.append(parameter)
    return left, [n for n in range(len(source)) if n not in used]


def leftovers(model_parameters: Sequence[Parameter], source: Sequence[Parameter]) -> list[tuple[Parameter, Array]]:
    """The parameters that no array of the Source equals, each with the Source's array that no parameter equals.

    Empty where they do not pair off one to one: then the two do not hold their weights in the same pieces.
    """
    left, free = unlike(model_parameters, source)
    pairs = []
    for parameter in left:
        options = []
        for number in free:
            laid = _laid(source[number].array, parameter.array, exact=False)
            if laid is not None:
                options.append((float(np.abs(laid - parameter.array).mean()), number, laid))
        if not options:
            return []
        _, number, laid = min(options, key=lambda option: option[:2])
        free.remove(number)
        pairs.append((parameter, laid))
    return pairs


def _laid(array: Array, wanted: Array, *, exact: bool) -> Array | None:
    """The array in the layout of another: the one in which they are equal, or else nearest."""
    if array.size != wanted.size or (exact and not _alike(array, wanted)):
        return None
    best: tuple[float, Array] | None = None
    for layout in arrangements((1, *array.shape), (1, *wanted.shape)):
        laid: Array = layout.of(array[None])[0]
        if exact:
            if np.allclose(laid, wanted, rtol=1e-5, atol=1e-7):
                return laid
            continue
        difference = float(np.abs(laid - wanted).mean())
        if best is None or difference < best[0]:
            best = difference, laid
    return None if best is None else best[1]


def _alike(a: Array, b: Array) -> bool:
    scale = float(np.abs(a).max(initial=0.0))
    sums = a.sum(dtype=np.float64), b.sum(dtype=np.float64)
    return bool(np.isclose(*sums, rtol=1e-4, atol=1e-4 * scale * a.size**0.5))
