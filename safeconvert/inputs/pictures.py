"""A decoded picture, brought into the form that preprocessing starts from: upright, 8 bits, cropped."""

from __future__ import annotations

import struct

import numpy as np
from PIL import Image

from ..errors import BadInput

# EXIF orientation (tag 0x0112) to the transpose that makes the picture upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def upright(image: Image.Image) -> Image.Image:
    """Turn the picture as its EXIF orientation says."""
    image.load()  # PNG and WebP may carry their EXIF after the pixels
    try:
        orientation = image.getexif().get(0x0112)
    except (SyntaxError, ValueError, TypeError, LookupError, OSError, struct.error):
        return image  # damaged EXIF says nothing about the pixels, which did load
    transpose = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if transpose is None else image.transpose(transpose)


def plain(image: Image.Image, channels: int) -> Image.Image:
    """Return the picture as 8-bit ``L`` (one channel) or ``RGB``. Raises ``BadInput`` for float pixels."""
    mode = "L" if channels == 1 else "RGB"
    if image.mode == "F":
        raise BadInput("its pixels are floating point, which has no known range")
    if image.mode.startswith("I"):
        # Pillow's own conversion clips at 255, which turns nearly every 16-bit picture white.
        deep = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
        image = Image.fromarray((deep >> 8).astype(np.uint8))
    elif image.mode == "P":
        image = image.convert("RGBA")  # the colours convert("RGB") gives, but without a warning
    return image if image.mode == mode else image.convert(mode)


def center_crop(image: Image.Image, height: int, width: int) -> Image.Image:
    """Crop as torchvision's ``center_crop`` does, its padding and its rounding included."""
    if image.width < width or image.height < height:
        canvas = Image.new(image.mode, (max(width, image.width), max(height, image.height)))
        canvas.paste(image, (max(0, width - image.width) // 2, max(0, height - image.height) // 2))
        image = canvas
    top, left = round((image.height - height) / 2.0), round((image.width - width) / 2.0)
    return image.crop((left, top, left + width, top + height))
