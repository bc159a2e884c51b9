"""The outputs of a Source's view in the Target's order: by name, or by place where an exporter renamed them."""

from __future__ import annotations

from pathlib import Path

import pytest

from safeconvert.conversion.onnx_view import View, ordered


def view(*outputs: str) -> View:
    return View(Path("view.onnx"), (), outputs, None)


@pytest.mark.parametrize(
    ("own", "names", "target", "order"),
    [
        (("a", "b"), ["a", "b"], ["b", "a"], ["b", "a"]),
        (("out0", "out1"), ["a", "b"], ["b", "a"], ["out1", "out0"]),
        (("a", "b"), ["a", "b"], ["x", "y"], ["a", "b"]),
        (("b", "a"), ["a", "b"], ["p", "q"], ["a", "b"]),
    ],
)
def test_outputs_come_in_the_order_of_the_target(
    own: tuple[str, ...], names: list[str], target: list[str], order: list[str]
) -> None:
    assert ordered(view(*own), names, target) == order
