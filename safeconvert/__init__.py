"""Model conversion that cannot lie: real converters, verified on your own images.

    import safeconvert

    result = safeconvert.convert(model, to="keras", images="photos/")    # a live model or a path
    result.raise_for_verdict()
    result.model, result.path, result.report

Nothing heavy is imported here: frameworks load in child processes only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import Result, check, convert, repair
    from .errors import BadInput, Diverged, SafeconvertError
    from .options import Options
    from .records import Verdict

__all__ = [
    "BadInput", "Diverged", "Options", "Result", "SafeconvertError", "Verdict", "check", "convert", "repair",
]  # fmt: skip
HOMES = {
    "Options": "options", "Result": "api", "check": "api", "convert": "api", "repair": "repair",
    "BadInput": "errors", "Diverged": "errors", "SafeconvertError": "errors", "Verdict": "records",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module 'safeconvert' has no attribute {name!r}")
    import importlib

    home = importlib.import_module(f"safeconvert.{HOMES[name]}")
    return home if name == "repair" else getattr(home, name)  # the package ``repair`` is the function too


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
