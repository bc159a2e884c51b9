"""Preprocessing that Python code holds: torchvision's transforms, configurations of timm and Hugging Face."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ..errors import BadInput
from ..inputs.foreign_preprocess import interpolation_named, preprocess_of
from ..inputs.preprocess import Interpolation, Preprocess, Resize, Size

STEPS_WITHOUT_ARITHMETIC = ("ToImage", "PILToTensor", "ToPureTensor")
STEPS_TO_UNIT_RANGE = ("ToTensor", "ConvertImageDtype", "ToDtype")
KNOWN_STEPS = ("Resize", "CenterCrop", "Normalize", "scale")


def preprocess_of_object(transform: Any) -> Preprocess:
    """Return what a preset of torchvision, a chain of its transforms, or a configuration does to an image.

    Raises :class:`BadInput` for a step that has no counterpart here, naming it.
    """
    if isinstance(transform, Preprocess):
        return transform
    if isinstance(transform, Mapping):
        return preprocess_of(transform)
    if dataclasses.is_dataclass(transform) and not isinstance(transform, type):
        return preprocess_of(dataclasses.asdict(transform))  # timm's PretrainedCfg
    if callable(getattr(transform, "to_dict", None)):
        return preprocess_of(transform.to_dict())  # an image processor of transformers
    if all(hasattr(transform, name) for name in ("crop_size", "resize_size", "mean", "std", "interpolation")):
        return _of_preset(transform)
    if hasattr(transform, "transforms"):
        return _of_steps(transform.transforms)
    raise BadInput(
        f"preprocess= is a {type(transform).__name__}, which says nothing of its steps.\n"
        "Give a preset's name, a dict, weights.transforms(), timm's pretrained_cfg or a preprocessor_config.json."
    )


def _of_preset(preset: Any) -> Preprocess:
    """Return the preprocessing of ``weights.transforms()``."""
    box = _box(preset.resize_size)
    return Preprocess(
        f"torchvision {type(preset).__name__}",
        _resize(box),
        "center",
        _interpolation(preset),
        1 / 255,
        tuple(map(float, preset.mean)),
        tuple(map(float, preset.std)),
        resize_size=box,
        crop_size=_pair(preset.crop_size),
    )


def _of_steps(steps: Any) -> Preprocess:
    """Return the preprocessing of ``Compose([Resize, CenterCrop, ToTensor, Normalize])``, each step at most once."""
    chain: dict[str, Any] = {}
    for step in steps:
        name = type(step).__name__
        kind = "scale" if name in STEPS_TO_UNIT_RANGE else name
        if kind in chain or (kind not in KNOWN_STEPS and name not in STEPS_WITHOUT_ARITHMETIC):
            raise BadInput(
                f"preprocess=: the transform {step!r:.80} has no counterpart here. Pass ready arrays with inputs."
            )
        chain[kind] = step
    resize, crop, normalize = (chain.get(name) for name in ("Resize", "CenterCrop", "Normalize"))
    box = None if resize is None else _box(resize.size)
    return Preprocess(
        "torchvision transform",
        "none" if box is None else _resize(box),
        "none" if crop is None else "center",
        "bilinear" if resize is None else _interpolation(resize),
        1 / 255 if "scale" in chain and getattr(chain["scale"], "scale", True) else 1.0,
        (0.0,) if normalize is None else tuple(map(float, normalize.mean)),
        (1.0,) if normalize is None else tuple(map(float, normalize.std)),
        resize_size=box,
        crop_size=_pair(crop.size) if crop is not None else box if isinstance(box, tuple) else None,
    )


def _resize(box: Size) -> Resize:
    return "shorter" if isinstance(box, int) else "stretch"


def _box(size: Any) -> Size:
    """torchvision's size: one number is the shorter side, two are height and width."""
    if isinstance(size, int):
        return size
    sizes = tuple(int(number) for number in size)
    return sizes[0] if len(sizes) == 1 else (sizes[0], sizes[1])


def _pair(size: Any) -> tuple[int, int]:
    box = _box(size)
    return (box, box) if isinstance(box, int) else box


def _interpolation(step: Any) -> Interpolation:
    value = step.interpolation
    return interpolation_named(str(getattr(value, "value", value)))
