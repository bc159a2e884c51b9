"""A picture is brought upright, to 8 bits and to its crop, compared with Pillow's own and with counted pixels."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from safeconvert.errors import BadInput
from safeconvert.inputs.pictures import center_crop, plain, upright


def numbered(height: int, width: int) -> Image.Image:
    """Pixel (y, x) is ``10 * y + x + 1``: none is 0, which padding is."""
    return Image.fromarray(np.add.outer(10 * np.arange(height), np.arange(width) + 1).astype(np.uint8))


@pytest.mark.parametrize("orientation", range(1, 10))
def test_a_picture_stands_upright_as_pillow_stands_it(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    numbered(3, 5).save(file, "PNG", exif=exif)
    picture = upright(Image.open(file))
    assert np.array_equal(np.asarray(picture), np.asarray(ImageOps.exif_transpose(Image.open(file))))
    assert picture.size == ((3, 5) if orientation in (5, 6, 7, 8) else (5, 3))


def test_a_crop_takes_the_middle_and_pads_what_is_too_small() -> None:
    assert np.asarray(center_crop(numbered(4, 6), 2, 2)).tolist() == [[13, 14], [23, 24]]
    assert np.asarray(center_crop(numbered(1, 4), 3, 2)).tolist() == [[0, 0], [2, 3], [0, 0]]


def test_deep_grey_keeps_its_high_byte_and_floats_are_refused() -> None:
    deep = Image.fromarray(np.array([[0, 255, 256, 65535]], np.uint16))
    assert np.asarray(plain(deep, 1)).tolist() == [[0, 0, 1, 255]]
    assert plain(numbered(2, 2), 3).mode == "RGB"
    with pytest.raises(BadInput, match="floating point"):
        plain(Image.new("F", (2, 2)), 3)
