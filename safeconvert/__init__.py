"""Model conversion that cannot lie: real converters, verified on your own images.

    import safeconvert

    result = safeconvert.convert("model.pt2", to="keras", images="photos/")
    result.verdict, result.target, result.report

Nothing heavy is imported here: frameworks load in child processes only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import Result, check, convert
    from .errors import BadInput, SafeconvertError
    from .options import Options
    from .records import Verdict

__all__ = ["BadInput", "Options", "Result", "SafeconvertError", "Verdict", "check", "convert"]
HOMES = {
    "Options": "options", "Result": "api", "check": "api", "convert": "api",
    "BadInput": "errors", "SafeconvertError": "errors", "Verdict": "records",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module 'safeconvert' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"safeconvert.{HOMES[name]}"), name)
