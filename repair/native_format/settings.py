"""Repair of settings in a model's own format: the file stays what it is, but for one layer's strides or slope.

A view's node has settings by ONNX's names; the layer or operator of the model itself has them by its framework's. What
cannot be said in the framework's words is left to the converters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...formats import ModelFile
from ...models.loaded_model import LoadedModel
from ...records import Setting, Settings
from ...workers.pool import WorkerPool
from ..localization.finding import SettingChange

NAMES = {
    "strides": ("stride", "strides"),
    "dilations": ("dilation", "dilation_rate", "dilations"),
    "group": ("groups",),
    "kernel_shape": ("kernel_size", "pool_size", "kernel_shape"),
    "pads": ("padding",),
    "alpha": ("negative_slope", "alpha"),
    "epsilon": ("eps", "epsilon"),
    "min": ("min_val", "min"),
    "max": ("max_val", "max", "max_value"),
    "axis": ("dim", "axis"),
    "ceil_mode": ("ceil_mode",),
    "count_include_pad": ("count_include_pad",),
    "fused_activation": ("fused_activation",),
}
"""What the frameworks call the settings of ONNX's operators."""


def reset(
    workers: WorkerPool, model: LoadedModel, file: ModelFile, place: str, changes: Sequence[SettingChange]
) -> tuple[ModelFile, Settings] | None:
    """Write a copy of the file with other settings of the layer or operator ``place``; return it, and these by name.

    Returns the file itself where a layer that is called twice has them already, and None where the framework has no
    word for one of them. Raises :class:`WorkerFailed`.
    """
    read, change_settings = model.format.runtime.read_settings, model.format.runtime.change_settings
    if read is None or change_settings is None:
        return None
    path = str(file.path.absolute())
    settings = read(model.worker(), None, path=path, place=place)
    values: Settings = {}
    for change in changes:
        if change.name == "pads" and len(changes) > 1 and isinstance(settings.get("padding"), str):
            continue  # "same" follows the other settings
        new_values = translated(settings, change.name, change.before, change.after)
        if new_values is None:
            return None
        values |= new_values
    if all(settings[name] == value for name, value in values.items()):
        return file, values
    target = workers.scratch("model" + model.format.suffix)
    flavour = change_settings(model.worker(), None, path=path, target=str(target), place=place, values=values)
    return ModelFile(target, model.format, flavour), values


def translated(settings: Mapping[str, Setting], name: str, before: Any, after: Any) -> Settings | None:
    """Return the changed setting in the framework's words, given the current ``settings``; None where it has none."""
    key = next((key for key in NAMES.get(name, ()) if key in settings), None)
    if key is None or before is None or after is None:
        return None
    have = settings[key]
    if name == "fused_activation":
        return {key: after} if have == before else None
    if isinstance(have, str):  # of Keras and TFLite: "same" or "valid"
        other = {"same": "valid", "valid": "same"}.get(have)
        return None if name != "pads" or other is None else {key: other}
    if name == "pads":
        before, after = _both_sides(before), _both_sides(after)
    if before is None or after is None or not (_same(before, have) or _same(after, have)):
        return None
    return {key: have if _same(after, have) else _like(have, after)}


def _both_sides(pads: Sequence[int]) -> list[int] | None:
    """ONNX's pads, those before and then those after each axis, as one number an axis."""
    half = len(pads) // 2
    return list(pads[:half]) if list(pads[:half]) == list(pads[half:]) else None


def _same(view: Any, native: Any) -> bool:
    a, b = np.atleast_1d(np.asarray(view, float)), np.atleast_1d(np.asarray(native, float))
    if len(a) != len(b) and 1 in (len(a), len(b)):
        a, b = np.broadcast_arrays(a, b)
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=1e-6, atol=0))


def _like(have: Setting, value: Any) -> Setting:
    """The value in the type in which the framework has it: one number for all axes, or one each."""
    numbers = list(np.atleast_1d(value).tolist())
    if isinstance(have, (list, tuple)):
        kind: Any = type(have[0])
        return [kind(number) for number in (numbers * len(have))[: max(len(have), len(numbers))]]
    if len(set(numbers)) > 1:
        return numbers
    single: Setting = type(have)(numbers[0])  # type: ignore[call-arg]
    return single
