"""Windows, strides and pads of pooling operators that converters get wrong."""

from __future__ import annotations

from typing import Any

GEOMETRY: list[tuple[str, dict[str, Any]]] = [
    ("plain", {"kernel_shape": [3, 2], "strides": [1, 2]}),
    ("pads", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 0, 1, 2]}),
    ("ceil", {"kernel_shape": [3, 2], "strides": [2, 3], "ceil_mode": 1}),
    ("ceil-pads", {"kernel_shape": [3, 3], "strides": [2, 3], "ceil_mode": 1, "pads": [1, 1, 0, 1]}),
    ("ceil-pads-wide", {"kernel_shape": [2, 2], "strides": [3, 3], "ceil_mode": 1, "pads": [0, 1, 1, 1]}),
]
