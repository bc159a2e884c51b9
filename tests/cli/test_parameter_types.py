"""What the command line's options take, and what they refuse with which form named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest

from safeconvert.cli.parameter_types import Axis, Named, Names, PathOrKind, Shape


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (Shape(), "1,3,224,224", ("", (1, 3, 224, 224))),
        (Shape(), "image:0:1x3x8x8", ("image:0", (1, 3, 8, 8))),
        (Axis(), "none", ("", None)),
        (Axis(), "x:1", ("x", 1)),
        (Named(click.FLOAT, "PERCENT"), "a:b:2.5", ("a:b", 2.5)),
        (Names(), " Conv, ,Gemm", ("Conv", "Gemm")),
        (PathOrKind(), "boxes:ids", ("boxes", "ids")),
        (PathOrKind(), "./boxes:ids", Path("boxes:ids")),
        (PathOrKind(), "model.keras", Path("model.keras")),
    ],
)
def test_text_becomes_a_value(kind: click.ParamType, text: str, value: Any) -> None:  # type: ignore[type-arg]
    assert kind.convert(text, None, None) == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Shape(), "x:1,0"),
        (Shape(), "x:wide"),
        (Axis(), "x:-1"),
        (Axis(), "x:last"),
        (Named(click.INT, "AXIS"), "1"),
        (Named(click.INT, "AXIS"), "x:first"),
    ],
)
def test_a_text_of_another_form_is_refused(kind: click.ParamType, text: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(click.BadParameter, match=r"form|valid"):
        kind.convert(text, None, None)
