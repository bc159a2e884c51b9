"""From an image file's pixels to the numbers a model expects: decode, resize, crop, scale.

Two stages, kept apart so that the costly one is done once and cached: ``pixels`` (geometry, uint8) and
``values`` (arithmetic, float32). A ``Preprocess`` is plain data and round-trips through JSON, because the
same data is written beside the Target as its input contract.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..errors import BadInput
from .pictures import center_crop, plain, upright

SCHEMA = "safeconvert.preprocess/1"

Resize = Literal["shorter", "stretch", "none"]
Crop = Literal["center", "none"]
Interpolation = Literal["bilinear", "bicubic", "nearest", "lanczos", "box", "hamming"]
ChannelOrder = Literal["rgb", "bgr"]
Layout = Literal["nchw", "nhwc"]
Size = int | tuple[int, int]
Pixels = npt.NDArray[np.uint8]

_CHOICES = {"resize": Resize, "crop": Crop, "interpolation": Interpolation, "channel_order": ChannelOrder}
_REQUIRED = ("schema", *_CHOICES, "scale", "mean", "std")
_OPTIONAL = ("name", "resize_ratio", "resize_size", "crop_size")
_CONTRACT = ("input_name", "shape", "height", "width", "channels", "layout", "dtype", "decode", "formula",
             "antialias", "rounding", "origin", "stored", "outputs", "test_vector", "snippet")  # fmt: skip


@dataclass(frozen=True)
class Preprocess:
    """How one image becomes one model input. ``value = (pixel * scale - mean) / std``, per channel.

    The picture is first resized against a box of (height, width): ``resize_size`` (an int ``n`` means
    ``(n, n)``), or else ``resize_ratio`` times the model's own size, 1 if neither is given. ``shorter`` keeps
    the aspect and covers the box (for an int: torchvision's ``Resize(n)``), ``stretch`` fills it exactly,
    ``none`` leaves the picture alone. ``center`` then crops to the model's size, padding with zeros where the
    picture is smaller, as torchvision does. ``crop_size`` only guards against use with a model of another
    size. ``mean`` and ``std`` hold 1 or 3 numbers, in ``channel_order``.

    Raises ``BadInput`` where fields contradict each other.
    """

    name: str
    resize: Resize
    crop: Crop
    interpolation: Interpolation
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    channel_order: ChannelOrder = "rgb"
    resize_ratio: float | None = None
    resize_size: Size | None = None
    crop_size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.resize_ratio is not None and self.resize_size is not None:
            raise self._wrong("gives both resize_ratio and resize_size; keep one")
        if self.resize == "none" and (self.resize_ratio is not None or self.resize_size is not None):
            raise self._wrong('has resize "none" and a resize size; remove one')
        if self.resize == "shorter" and self.crop == "none":
            raise self._wrong('keeps the aspect but does not crop; use crop "center" or resize "stretch"')
        if self.resize_ratio is not None and not 0 < self.resize_ratio <= 100:
            raise self._wrong(f"has resize_ratio {self.resize_ratio}; it must be above 0 and at most 100")
        if not {len(self.mean), len(self.std)} <= {1, 3}:
            raise self._wrong(f"has {len(self.mean)} means and {len(self.std)} stds; give 1 or 3 of each")
        if not all(math.isfinite(n) for n in (self.scale, *self.mean, *self.std)):
            raise self._wrong("has a number that is not finite in scale, mean or std")
        if 0 in self.std or self.scale == 0:
            raise self._wrong("has a zero in std or scale, which would lose the image")

    def pixels(self, image: Image.Image, height: int, width: int, channels: int) -> Pixels:
        """Decode, turn upright (EXIF), convert, resize and crop one image.

        Returns uint8 ``(height, width, channels)``: RGB for 3 channels whatever ``channel_order`` is, luma
        for 1. Alpha is dropped and colour profiles are ignored, as ``convert("RGB")`` does for torchvision
        and Keras users; 16-bit grey keeps its high byte.

        Raises ``BadInput`` for other channel counts, sizes that cannot fit and float pixels; Pillow's own
        errors where the file is damaged.
        """
        self._check_size(height, width)
        if channels not in (1, 3):
            raise self._not_an_image(channels)
        picture = plain(upright(image), channels)
        size = self._resized(picture.size, height, width)
        if size[0] * size[1] > (Image.MAX_IMAGE_PIXELS or 1 << 27):
            raise BadInput(f"too long a shape: {picture.width}x{picture.height} would become {size[0]}x{size[1]}")
        if size != picture.size:
            picture = picture.resize(size, Image.Resampling[self.interpolation.upper()])
        if self.crop == "center":
            picture = center_crop(picture, height, width)
        if picture.size != (width, height):
            raise BadInput(
                f"preprocess {self.name!r} gives {picture.height}x{picture.width} (height x width); the model "
                f'takes {height}x{width}; use crop "center" or another resize_size'
            )
        return np.array(picture, dtype=np.uint8).reshape(height, width, channels)

    def values(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        """Channel order, scale, mean and std: uint8 ``(N, H, W, C)`` to float32 of the same shape.

        Computed in float64 and rounded once, so no value depends on the order of operations.
        Raises ``BadInput`` for another rank or dtype, or where mean and std do not match the channels.
        """
        if pixels.ndim != 4 or pixels.dtype != np.uint8:
            raise BadInput(f"expected uint8 pixels (N, H, W, C), received {pixels.dtype} {pixels.shape}")
        _, height, width, channels = pixels.shape
        self.check(height, width, channels, "float32")
        # There are only 256 pixel values: looking them up is faster than the arithmetic and as exact.
        levels = np.arange(256, dtype=np.float64)[:, None] * self.scale
        levels = (levels - np.asarray(self.mean)) / np.asarray(self.std)
        table = np.broadcast_to(levels.astype(np.float32), (256, channels))
        ordered = self.ordered(pixels)
        out = np.empty(pixels.shape, np.float32)
        for channel in range(channels):
            out[..., channel] = table[:, channel][ordered[..., channel]]
        return out

    def ordered(self, pixels: Pixels) -> Pixels:
        """The same pixels ``(..., C)`` in the model's channel order (a view): all a uint8 model needs."""
        return pixels[..., ::-1] if self.channel_order == "bgr" else pixels

    def describe(self, height: int, width: int) -> str:
        """Return the steps in words for a model that takes ``height`` x ``width`` pixels.

        Such as ``shorter side 256 (bilinear), centre crop 224x224, RGB, scaled by 1/255, ImageNet mean and std``.
        """
        size = (height, width) if self.resize_size is None else self.resize_size
        sides = (size, size) if isinstance(size, int) else size
        box = [round(side * (self.resize_ratio or 1)) for side in sides]
        steps = {"shorter": f"shorter side {min(box)}", "stretch": f"stretched to {box[0]}x{box[1]}", "none": ""}
        words = [f"{steps[self.resize]} ({self.interpolation})" if self.resize != "none" else "not resized"]
        words += [f"centre crop {height}x{width}"] if self.crop == "center" else []
        words += [self.channel_order.upper(), *self._arithmetic()]
        return ", ".join(words)

    def _arithmetic(self) -> list[str]:
        """Return scale, mean and std in words; nothing for those that change no pixel."""
        factor = 1 / self.scale
        scaled = f"1/{factor:g}" if abs(factor - round(factor * 2) / 2) < 1e-9 else f"{self.scale:.6g}"
        words = [f"scaled by {scaled}"] if self.scale != 1 else []
        if (self.mean, self.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)):
            return [*words, "ImageNet mean and std"]
        mean, std = ("/".join(f"{number:g}" for number in numbers) for numbers in (self.mean, self.std))
        words += [f"mean {mean}"] if any(self.mean) else []
        return words + ([f"std {std}"] if set(self.std) != {1.0} else [])

    def to_json(self) -> dict[str, Any]:
        """A dict that ``json.dump`` writes and ``from_json`` reads back to an equal value."""
        values = {key: value for key, value in asdict(self).items() if value is not None}
        return {"schema": SCHEMA, **{k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Preprocess:
        """Read ``to_json``'s or ``contract``'s form. Raises ``BadInput`` naming the key that is wrong."""
        if not isinstance(data, Mapping):
            raise BadInput(f"preprocess JSON must be an object, received {type(data).__name__}. {form()}")
        known = (*_REQUIRED, *_OPTIONAL, *_CONTRACT)
        for key in data:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, 1)
                suggestion = f"; did you mean {near[0]!r}?" if near else "."
                raise BadInput(f"preprocess JSON: unknown key {key!r}{suggestion} {form()}")
        for key in _REQUIRED:
            if key not in data:
                raise BadInput(f"preprocess JSON: key {key!r} is missing. {form()}")
        if data["schema"] != SCHEMA:
            raise BadInput(f"preprocess JSON: 'schema' is {data['schema']!r}; this version reads {SCHEMA!r}")
        name = data.get("name", "custom")
        if not isinstance(name, str):
            raise BadInput(f"preprocess JSON: 'name' must be text, received {name!r}")
        for key, kind in _CHOICES.items():
            if data[key] not in get_args(kind):
                choices = ", ".join(get_args(kind))
                raise BadInput(f"preprocess JSON: {key!r} is {data[key]!r}; use one of {choices}")
        ratio, size, crop_size = (data.get(key) for key in ("resize_ratio", "resize_size", "crop_size"))
        if isinstance(crop_size, int):
            crop_size = [crop_size, crop_size]
        return cls(
            name=name,
            resize=data["resize"],
            crop=data["crop"],
            interpolation=data["interpolation"],
            channel_order=data["channel_order"],
            scale=_number("scale", data["scale"]),
            mean=_numbers("mean", data["mean"]),
            std=_numbers("std", data["std"]),
            resize_ratio=None if ratio is None else _number("resize_ratio", ratio),
            resize_size=_length("resize_size", size) if isinstance(size, int) else _pair("resize_size", size),
            crop_size=_pair("crop_size", crop_size),
        )

    def check(self, height: int, width: int, channels: int, dtype: str) -> None:
        """Raise ``BadInput`` where no image fits such a model. A uint8 one needs no mean and std."""
        self._check_size(height, width)
        if channels not in (1, 3):
            raise self._not_an_image(channels)
        if dtype != "uint8" and not {len(self.mean), len(self.std)} <= {1, channels}:
            raise self._wrong(
                f"has {len(self.mean)} mean(s) and {len(self.std)} std(s), and the model takes {channels} "
                "channel(s); grey models need 1 of each ('unit', 'raw', 'mnist' or a JSON file)"
            )

    def _wrong(self, problem: str) -> BadInput:
        return BadInput(f"preprocess {self.name!r} {problem}")

    def _not_an_image(self, channels: int) -> BadInput:
        return BadInput(f"images have 1 or 3 channels and the model takes {channels}; pass --inputs instead")

    def _check_size(self, height: int, width: int) -> None:
        if self.crop_size is not None and self.crop_size != (height, width):
            size_words = f"{self.crop_size[0]}x{self.crop_size[1]}"
            raise self._wrong(f"is for {size_words} (height x width), and the model takes {height}x{width}")

    def box(self, height: int, width: int) -> tuple[int, int]:
        """Height and width that a picture is resized against, for a model of this size."""
        if isinstance(self.resize_size, int):
            return self.resize_size, self.resize_size
        if self.resize_size is not None:
            return self.resize_size
        ratio = self.resize_ratio or 1.0
        return max(1, round(ratio * height)), max(1, round(ratio * width))

    def _resized(self, size: tuple[int, int], height: int, width: int) -> tuple[int, int]:
        """Pillow's (width, height) in and out; never fewer pixels than the box on either side."""
        if self.resize == "none":
            return size
        box_height, box_width = self.box(height, width)
        if self.resize == "stretch":
            return box_width, box_height
        w, h = size
        # Whole-number arithmetic: it floors as torchvision does and cannot fall a pixel short of the box.
        if box_height * w >= box_width * h:
            return box_height * w // h, box_height
        return box_width, box_width * h // w


def form() -> str:
    """What a JSON file looks like, for messages."""
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    example = Preprocess("torch", "shorter", "center", "bilinear", 1 / 255, mean, std, resize_ratio=256 / 224)
    return f"JSON form: {json.dumps(example.to_json())}"


def _number(key: str, value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300:  # also no NaN
        return float(value)
    raise BadInput(f"preprocess JSON: {key!r} must be a finite number, received {value!r:.60}")


def _numbers(key: str, value: object) -> tuple[float, ...]:
    if not isinstance(value, list | tuple):
        raise BadInput(f"preprocess JSON: {key!r} must be a list of 1 or 3 numbers, received {value!r:.60}")
    return tuple(_number(key, item) for item in value)


def _length(key: str, value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 1 << 16:
        return value
    raise BadInput(f"preprocess JSON: {key!r} must be whole pixels, 1 to 65536, received {value!r:.60}")


def _pair(key: str, value: object) -> tuple[int, int] | None:
    if value is None:
        return None
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise BadInput(f"preprocess JSON: {key!r} must be [height, width], received {value!r:.60}")
    return _length(key, value[0]), _length(key, value[1])
