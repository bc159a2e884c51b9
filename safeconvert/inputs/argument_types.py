"""What kind of value each option takes, so that a wrong kind is told by the option's name before any work is done."""

from __future__ import annotations

import numbers
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

WORDS = {bool: "True or False", int: "a whole number", float: "a number", str: "a text", Path: "a path"}
PLURALS = {**WORDS, int: "whole numbers", float: "numbers", str: "texts"}
MAX_SHOWN = 60  # characters of a value in a message


def type_mistakes(values: Mapping[str, Any], hints: Mapping[str, Any]) -> dict[str, str]:
    """Return a sentence for each value, by its name, that is not of the type that its hint states."""
    return {
        name: f"{name}={_shown(value)} is not {' or '.join(dict.fromkeys(_words(hints[name])))}."
        for name, value in values.items()
        if not fits(value, hints[name])
    }


def fits(value: Any, hint: Any) -> bool:
    """Is the value of the hinted type? Whole numbers are numbers too, texts are paths, and lists are tuples."""
    parts = _parts(hint)
    return any(_fits_part(value, part) for part in parts)


def _parts(hint: Any) -> tuple[Any, ...]:
    is_union = typing.get_origin(hint) in (types.UnionType, typing.Union)
    return typing.get_args(hint) if is_union else (hint,)


def _fits_part(value: Any, hint: Any) -> bool:
    kind, arguments = typing.get_origin(hint) or hint, typing.get_args(hint)
    if hint is type(None):
        return value is None
    if kind is bool:
        return isinstance(value, bool)
    if kind in (int, float):
        number = numbers.Integral if kind is int else numbers.Real
        return isinstance(value, number) and not isinstance(value, bool)
    if kind is Path:
        return isinstance(value, str | Path)
    if kind is Mapping:
        return isinstance(value, Mapping) and all(fits(item, arguments[1]) for item in value.values())
    if kind in (tuple, Sequence):
        is_list = isinstance(value, Sequence) and not isinstance(value, str | bytes)
        return is_list and all(fits(item, arguments[0]) for item in value)
    if kind is str:
        return isinstance(value, str)
    return callable(value)  # a comparator that is a function


def _words(hint: Any, words: Mapping[Any, str] = WORDS) -> Iterator[str]:
    for part in _parts(hint):
        kind, arguments = typing.get_origin(part) or part, typing.get_args(part)
        if kind is Mapping:
            yield f"a dict of {' or '.join(_words(arguments[1], PLURALS))} by name"
        elif kind in (tuple, Sequence):
            yield f"{'lists' if words is PLURALS else 'a list'} of {' or '.join(_words(arguments[0], PLURALS))}"
        elif part is type(None):
            if words is PLURALS:
                yield "None"
        else:
            yield words.get(kind, "a function")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= MAX_SHOWN and "\n" not in text else f"<{type(value).__name__}>"
