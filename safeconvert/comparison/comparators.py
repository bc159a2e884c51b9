"""What makes two answers differ, beyond the best class: the best k classes, the values, or a person's own function."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BadInput

Array = np.ndarray[Any, Any]
Judging = Callable[[Mapping[str, Array], Mapping[str, Array]], Any]
"""Takes the outputs of Source and Target by the Source's names, batch first, and gives a boolean for each input of the
batch: do the two agree?"""


@dataclass(frozen=True)
class Comparator:
    """``top``: how many of the best classes must be the same, in order; 0 where labels are not looked at.

    ``judging`` decides alone, where it is given; with neither, the values do.
    """

    name: str = "top1"
    top: int = 1
    judging: Judging | None = None

    @property
    def by_values(self) -> bool:
        return not self.top and self.judging is None

    @property
    def noun(self) -> str:
        """What differs, for a count of it."""
        if self.judging is not None:
            return f"inputs, judged by {self.name},"
        if self.by_values:
            return "inputs' values"
        return "labels" if self.top == 1 else f"lists of the best {self.top} classes"

    def decides(self, *, quantized: bool) -> str:
        """By what a verdict is reached, for the report."""
        if self.judging is not None:
            return self.name
        if self.by_values:
            return "values"
        labels = "labels" if self.top == 1 else self.name
        return labels if quantized else f"{labels} and values"

    def agreed(self, source: Mapping[str, Array], target: Mapping[str, Array], count: int) -> Array:
        """The own function's word on each input: a boolean array of ``count``. Raises :class:`BadInput` where it gives
        anything else: what was not judged does not agree."""
        assert self.judging is not None
        try:
            with _stdout_is_stderr():
                agreement = np.asarray(self.judging(source, target))
        except (Exception, SystemExit) as error:
            first = str(error).strip().partition("\n")[0][:200]
            raise BadInput(f"--comparator {self.name} raised {type(error).__name__}: {first}") from error
        if agreement.dtype != np.bool_ or agreement.shape != (count,):
            raise BadInput(
                f"--comparator {self.name} gave {agreement.dtype} of shape {list(agreement.shape)} "
                f"for {count} inputs.\n"
                f"It must give one boolean for each: an array of shape [{count}], True where the two agree."
            )
        return agreement


TOP1 = Comparator()


def comparator(choice: str | Judging) -> Comparator:
    """``top1``, ``top5``, ``logits``, ``module:function`` or a function. Raises :class:`BadInput` for anything else."""
    if choice == TOP1.name:
        return TOP1
    if callable(choice):
        return Comparator(_name(choice), 0, choice)
    if not isinstance(choice, str):
        raise BadInput(f"comparator is of type {type(choice).__name__}, neither a name nor a function.")
    if choice == "logits":
        return Comparator(choice, 0)
    if (match := re.fullmatch(r"top([1-9]\d*)", choice)) is not None:
        return Comparator(choice, int(match[1]))
    module, _, function = choice.partition(":")
    if not module or not function:
        raise BadInput(f"--comparator {choice!r} is not top1, top5 (any number), logits or package.module:function.")
    return Comparator(choice, 0, _loaded(choice, module, function))


def _name(judging: Judging) -> str:
    """``module:function`` where it can be imported by that, or what kind of thing it is."""
    module, name = getattr(judging, "__module__", ""), getattr(judging, "__qualname__", "")
    if module not in ("", "__main__", None) and name.isidentifier():
        return f"{module}:{name}"
    return f"a {type(judging).__name__} of the caller's"


@contextlib.contextmanager
def _stdout_is_stderr() -> Iterator[None]:
    """What a person's code prints is not part of a report on standard output."""
    with contextlib.redirect_stdout(sys.stderr):
        try:
            real_stdout = os.dup(1)
        except OSError:  # there is none
            yield
            return
        try:
            os.dup2(2, 1)
            yield
        finally:
            os.dup2(real_stdout, 1)
            os.close(real_stdout)


def _loaded(choice: str, module: str, function: str) -> Judging:
    """The person's function; modules of the folder they work in are found, as they are for ``--model-fn``."""
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        with _stdout_is_stderr():
            loaded = getattr(importlib.import_module(module), function)
    except (Exception, SystemExit) as error:
        raise BadInput(f"--comparator {choice} cannot be imported: {type(error).__name__}: {error}") from error
    if not callable(loaded):
        raise BadInput(f"--comparator {choice} is of type {type(loaded).__name__}, not a function.")
    judging: Judging = loaded
    return judging
