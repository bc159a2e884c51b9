"""Preprocessing as other libraries describe it in plain data: timm's ``pretrained_cfg``, Hugging Face's JSON files."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast, get_args

from ..errors import BadInput
from .preprocess import ChannelOrder, Interpolation, Preprocess, Resize, Size

PILLOW_FILTERS: tuple[Interpolation, ...] = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
"""Pillow's filters by their numbers, which Hugging Face's ``resample`` holds."""
SMALL_CONVNEXT = 384  # Hugging Face's ConvNext processor crops below this size and stretches from it on


def preprocess_of(data: Mapping[str, Any]) -> Preprocess:
    """Return the preprocessing that the data describes: safeconvert's own form, timm's, or Hugging Face's.

    Raises :class:`BadInput` for what none of these is, and for steps that have no counterpart here.
    """
    if "schema" in data:
        return Preprocess.from_json(data)
    if "image_mean" in data or "image_processor_type" in data or "feature_extractor_type" in data:
        return of_hugging_face(data)
    if "input_size" in data and "mean" in data:
        return of_timm(data)
    return Preprocess.from_json(data)  # whose message shows the form


def of_timm(config: Mapping[str, Any]) -> Preprocess:
    """Return the evaluation transform of timm's ``pretrained_cfg``: resize to size / crop_pct, centre crop."""
    _, height, width = config["input_size"]
    mode, share = config.get("crop_mode") or "center", float(config.get("crop_pct") or 0.875)
    if mode not in ("center", "squash") or (mode == "center" and height != width):
        raise BadInput(f"timm's crop_mode {mode!r} at {height}x{width} has no counterpart. Pass arrays with inputs.")
    box = (math.floor(height / share), math.floor(width / share))
    return Preprocess(
        f"timm {config.get('architecture') or 'pretrained_cfg'}",
        "shorter" if mode == "center" else "stretch",
        "center",
        interpolation_named(config.get("interpolation") or "bilinear"),
        1 / 255,
        tuple(map(float, config["mean"])),
        tuple(map(float, config["std"])),
        resize_size=box[0] if mode == "center" else box,
        crop_size=(height, width),
    )


def of_hugging_face(config: Mapping[str, Any]) -> Preprocess:
    """Return the preprocessing of a ``preprocessor_config.json``. Raises :class:`BadInput` for padding and tiling."""
    kind = str(config.get("image_processor_type") or config.get("feature_extractor_type") or "Hugging Face")
    for step in ("do_pad", "do_image_splitting", "do_split_image"):
        if config.get(step):
            raise BadInput(f"{kind} has {step}, which has no counterpart here. Pass arrays with inputs.")
    resize, size, is_cropped, crop_size = _geometry(config, kind)
    is_normalized = config.get("do_normalize", True)
    order: ChannelOrder = "bgr" if config.get("do_flip_channel_order") else "rgb"
    return Preprocess(
        kind,
        resize,
        "center" if is_cropped else "none",
        _filter(config, kind) if resize != "none" else "bilinear",
        float(config.get("rescale_factor", 1 / 255)) if config.get("do_rescale", True) else 1.0,
        _channels(config, "image_mean", kind) if is_normalized else (0.0,),
        _channels(config, "image_std", kind) if is_normalized else (1.0,),
        order,
        resize_size=size if resize != "none" else None,
        crop_size=crop_size,
    )


def _geometry(config: Mapping[str, Any], kind: str) -> tuple[Resize, Size | None, bool, tuple[int, int] | None]:
    """Resize, size of the box, whether the picture is cropped, and to what."""
    size, crop = config.get("size"), config.get("crop_size")
    is_cropped = bool(config.get("do_center_crop", False))
    crop_size = _height_width(crop) if is_cropped and crop is not None else None
    if not config.get("do_resize", True):
        return "none", None, is_cropped, crop_size
    shortest = size.get("shortest_edge") if isinstance(size, Mapping) else None
    if isinstance(shortest, int) and "crop_pct" in config:
        if shortest >= SMALL_CONVNEXT:
            return "stretch", (shortest, shortest), False, (shortest, shortest)
        return "shorter", int(shortest / config["crop_pct"]), True, (shortest, shortest)
    if isinstance(shortest, int):
        return "shorter", shortest, is_cropped, crop_size
    if isinstance(size, int) and is_cropped:
        return "shorter", size, True, crop_size
    if size is None:
        raise BadInput(f"{kind} resizes and has no 'size'. Add it to the file.")
    box = _height_width(size)
    return "stretch", box, is_cropped, crop_size or box


def _height_width(size: Any) -> tuple[int, int]:
    if isinstance(size, int):
        return size, size
    if isinstance(size, Mapping) and isinstance(size.get("height"), int) and isinstance(size.get("width"), int):
        return size["height"], size["width"]
    raise BadInput(f"the size {size!r:.80} has no counterpart here: give height and width, or shortest_edge.")


def _filter(config: Mapping[str, Any], kind: str) -> Interpolation:
    number = config.get("resample")
    if not isinstance(number, int) or not 0 <= number < len(PILLOW_FILTERS):
        raise BadInput(f"{kind} has 'resample' {number!r}; give Pillow's number of a filter, such as 2 for bilinear.")
    return PILLOW_FILTERS[number]


def _channels(config: Mapping[str, Any], key: str, kind: str) -> tuple[float, ...]:
    if key not in config:
        raise BadInput(f"{kind} normalises and has no {key!r}. Add it, or set do_normalize to false.")
    return tuple(map(float, config[key]))


def interpolation_named(name: str) -> Interpolation:
    """Return the interpolation of that name. Raises :class:`BadInput` for one that Pillow does not have."""
    if name not in get_args(Interpolation):
        raise BadInput(f"the interpolation {name!r} is not one of {', '.join(get_args(Interpolation))}.")
    return cast(Interpolation, name)
