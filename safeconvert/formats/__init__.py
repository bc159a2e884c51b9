"""The formats of models, as one list of values: ``FORMATS``. What differs between formats is a field of these.

To add a format, write one :class:`Format` in a file of its own and put it on the list; ``workers/runtime.py`` has the
functions of the framework that runs it, and ``converters/__init__.py`` the hops that lead to it and from it.
"""

from __future__ import annotations

import importlib.util

from .format import Format, Layout, ModelFile
from .keras_model import KERAS
from .onnx_model import ONNX
from .pytorch import TORCH
from .saved_model import TF
from .tflite import TFLITE

FORMATS: tuple[Format, ...] = (
    TORCH,
    KERAS,
    TF,
    TFLITE,
    ONNX,  # last: an ONNX file begins with no mark of its own
)
FORMAT_NAMES = tuple(format.name for format in FORMATS)


def format_named(name: str) -> Format:
    """The format of that name. Raises KeyError for any other name."""
    for format in FORMATS:
        if format.name == name:
            return format
    raise KeyError(f"{name!r} is no format. Known: {', '.join(FORMAT_NAMES)}")


def format_of_suffix(suffix: str) -> Format | None:
    """The format whose files usually end so, such as ``.pth``; None for other endings."""
    return next((format for format in FORMATS if suffix.lower() in format.known_suffixes), None)


def extra_with(module: str) -> str | None:
    """Return the extra of safeconvert that installs the module of a runtime; None for other modules."""
    return next((format.extra for format in FORMATS if module in format.requires), None)


def has_second_runtime(format: Format) -> bool:
    """Can models of this format be run in a second runtime on this machine?"""
    second = format.second_runtime
    return second is not None and importlib.util.find_spec(second.module) is not None


__all__ = [
    "FORMATS",
    "FORMAT_NAMES",
    "KERAS",
    "ONNX",
    "TF",
    "TFLITE",
    "TORCH",
    "Format",
    "Layout",
    "ModelFile",
    "extra_with",
    "format_named",
    "format_of_suffix",
    "has_second_runtime",
]
