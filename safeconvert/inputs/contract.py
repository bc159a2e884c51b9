"""The input contract of a model that takes images: what a deployment must do to feed it, as data."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .preprocess import Layout, Preprocess, Size


def contract(
    preprocess: Preprocess,
    input_name: str,
    height: int,
    width: int,
    channels: int,
    layout: Layout,
    dtype: str,
) -> dict[str, Any]:
    """What a deployment must do to feed the model: self-contained, all sizes absolute, JSON-ready.

    A uint8 model takes the pixels themselves, so its scale, mean and std are the identity. ``from_json``
    reads the dict back into a ``Preprocess`` that gives the same pixels and values.

    Raises ``BadInput`` where the preprocess cannot fit the model.
    """
    preprocess.check(height, width, channels, dtype)
    if dtype == "uint8":
        preprocess = replace(preprocess, scale=1.0, mean=(0.0,), std=(1.0,))
    box: Size | None = None
    if preprocess.resize != "none":
        box = preprocess.box(height, width)
        box = box[0] if box[0] == box[1] else box
    absolute = replace(preprocess, resize_ratio=None, resize_size=box, crop_size=(height, width))
    image = [channels, height, width] if layout == "nchw" else [height, width, channels]
    return {
        **absolute.to_json(),
        "input_name": input_name,
        "shape": [None, *image],
        "height": height,
        "width": width,
        "channels": channels,
        "layout": layout,
        "dtype": dtype,
        "decode": f"EXIF rotation applied, then Pillow convert({'L' if channels == 1 else 'RGB'!r})",
        "formula": "(pixel 0..255 * scale - mean) / std, per channel, in channel_order",
    }
