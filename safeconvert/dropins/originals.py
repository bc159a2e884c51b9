"""Modules that are another module but for some functions, which run the original's and verify what it gives."""

from __future__ import annotations

import functools
import importlib
import inspect
import types
from collections.abc import Callable, Mapping
from typing import Any

from .verification import Conversion, settled, settled_after_crash

Replace = Callable[[Any], Any]
"""Makes a drop-in of the original: a function, a class or a module."""
Read = Callable[[Mapping[str, Any], Any], Conversion]
"""Takes the arguments of a call by name, defaults included, and what the original returned, None where it raised."""


class ModuleWithDropIns(types.ModuleType):
    """``original`` with other values under some names."""

    def __init__(self, original: types.ModuleType, replacements: Mapping[str, Replace]) -> None:
        super().__init__(original.__name__, original.__doc__)
        self._get = attributes_of(original.__name__, **replacements)

    def __getattr__(self, name: str) -> Any:
        return self._get(name)


def attributes_of(original: str, /, **replacements: Replace) -> Callable[[str], Any]:
    """Return a module's ``__getattr__``: the attributes of the module ``original``, imported when one is asked for."""

    def get(name: str) -> Any:
        if name == "__path__":  # a drop-in is no package
            raise AttributeError(name)
        value = _attribute(importlib.import_module(original), name)
        return replacements[name](value) if name in replacements else value

    return get


def _attribute(module: types.ModuleType, name: str) -> Any:
    """The attribute, or the module of that name below a package that does not import it."""
    if not hasattr(module, name) and hasattr(module, "__path__"):
        try:
            return importlib.import_module(f"{module.__name__}.{name}")
        except ModuleNotFoundError:
            pass
    return getattr(module, name)


def module_with(**replacements: Replace) -> Replace:
    """Return what makes a module with these drop-ins of a module."""
    return lambda original: ModuleWithDropIns(original, replacements)


def function_read_by(read: Read, before: Callable[[Mapping[str, Any]], None] | None = None) -> Replace:
    """Return what makes a drop-in of a function: it has the original's name, signature and help.

    ``before`` is called with the arguments before the original is.
    """

    def replace(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def verified(*arguments: Any, **keywords: Any) -> Any:
            bound = inspect.signature(original).bind(*arguments, **keywords)
            bound.apply_defaults()
            if before is not None:
                before(bound.arguments)
            try:
                returned = original(*arguments, **keywords)
            except Exception as crash:  # noqa: BLE001 - raised again unless a repair gives a verified model
                return settled_after_crash(read(bound.arguments, None), crash)
            return settled(read(bound.arguments, returned))

        return verified

    return replace
