"""Small pictures of the images whose prediction changed, as data URIs, so that the HTML report needs no other file."""

from __future__ import annotations

import base64
import contextlib
import io
from collections.abc import Mapping
from typing import Any

from PIL import Image

from ..errors import BadInput
from ..inputs.base import Inputs
from ..inputs.images import ImageInputs
from ..inputs.preprocess import Pixels

SIDE = 112  # pixels
JPEG_QUALITY = 70


def thumbnails(inputs: Inputs, document: Mapping[str, Any]) -> dict[str, str]:
    """Return pictures of the images listed in ``check.predictions.changed``, by the report's name of each.

    Empty where the inputs are no images. A picture shows what the model was given: turned upright, resized and cropped,
    before any arithmetic. An image that cannot be read any more has none.
    """
    section = document["check"]["predictions"]
    if section is None or not isinstance(inputs, ImageInputs):
        return {}
    pictures = {}
    for changed in section["changed"]:
        with contextlib.suppress(BadInput):
            pictures[changed["input"]] = _data_uri(inputs.pixels(changed["row"]))
    return pictures


def _data_uri(pixels: Pixels) -> str:
    picture = Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels)
    picture.thumbnail((SIDE, SIDE))
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"
