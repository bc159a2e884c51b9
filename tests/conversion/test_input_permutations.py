"""Which inputs are brought into the layout that is asked for: images alone, and only where they have another."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from safeconvert.conversion.hop_runner import input_permutations
from safeconvert.formats import KERAS, ONNX
from safeconvert.models.input_mapping import TO_NCHW, TO_NHWC

SHAPES = {"image": (None, 3, 8, 8), "ids": (None, 5)}


@pytest.mark.parametrize(
    ("layout", "format", "shapes", "permutations"),
    [
        ("keep", ONNX, SHAPES, {}),
        ("nhwc", ONNX, SHAPES, {"image": TO_NHWC}),
        ("nchw", ONNX, SHAPES, {}),
        ("nchw", KERAS, {"image": (None, 8, 8, 3)}, {"image": TO_NCHW}),
        ("nhwc", KERAS, {"image": (None, 8, 8, 3)}, {}),
    ],
)
def test_images_of_another_layout_are_permuted(
    layout: str, format: Any, shapes: Any, permutations: dict[str, tuple[int, ...]]
) -> None:
    source: Any = SimpleNamespace(format=format)
    assert input_permutations(layout, source, shapes) == permutations
