"""What an option of the command line takes: shapes, axes, names, and settings of one input or output by its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..records import OUTPUT_KINDS


class Shape(click.ParamType):  # type: ignore[type-arg]
    """``NAME:1,3,224,224``, or the sizes alone for a model with one input."""

    name = "NAME:SIZES"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, tuple[int, ...]]:
        name, _, sizes = str(value).rpartition(":")
        try:
            shape = tuple(int(size) for size in sizes.replace("x", ",").split(","))
        except ValueError:
            shape = ()
        if len(shape) < 1 or min(shape) < 1:
            self.fail(f"{value!r} is not of the form NAME:1,3,224,224 with sizes of at least 1.", param, ctx)
        return name, shape


class Named(click.ParamType):  # type: ignore[type-arg]
    """``NAME:SETTING``, split at the last colon: names of tensors may hold colons themselves."""

    def __init__(self, setting: click.ParamType, word: str) -> None:  # type: ignore[type-arg]
        self.setting = setting
        self.name = f"NAME:{word}"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        name, _, setting = str(value).rpartition(":")
        if not name:
            self.fail(f"{value!r} is not of the form {self.name}.", param, ctx)
        return name, self.setting.convert(setting, param, ctx)


class PathOrKind(click.ParamType):  # type: ignore[type-arg]
    """A path; or ``NAME:KIND``, what the output NAME is, where NAME has no folder in it.

    A word in KIND's place that is no kind is refused: it is more often a slip than a file's name.
    """

    name = "PATH|NAME:KIND"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path | tuple[str, str]:
        name, _, kind = str(value).rpartition(":")
        if not name or "/" in name:
            return Path(value)
        if kind in OUTPUT_KINDS:
            return name, kind
        if kind.isalpha():
            kinds = ", ".join(OUTPUT_KINDS)
            self.fail(
                f"{value!r}: {kind!r} is not one of {kinds}. Write ./{value} for a file of that name.", param, ctx
            )
        return Path(value)


class Axis(click.ParamType):  # type: ignore[type-arg]
    """``NAME:1`` or ``NAME:none``, or the axis alone for a model with one input."""

    name = "NAME:AXIS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int | None]:
        name, _, axis = str(value).rpartition(":")
        if axis != "none" and not axis.isdecimal():
            self.fail(f"{value!r} is not of the form NAME:1 or NAME:none.", param, ctx)
        return name, None if axis == "none" else int(axis)


class Names(click.ParamType):  # type: ignore[type-arg]
    """``A,B,C``: names with commas between."""

    name = "A,B"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        return tuple(name for part in str(value).split(",") if (name := part.strip()))
