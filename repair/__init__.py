"""Locate the faults of a Target and repair them; ``FAULT_TYPES`` are the six types of FetaFix (arXiv 2312.15101).

A Target is walked along its Source on the Source's activations (``localization/locate``), and a converter is tried on
each node alone (``localization/node_replay``). The files of ``faults/`` propose what may be wrong at the located place,
from the mildest change to the largest, and a proposal is taken only where the Target's nodes then compute what the
Source computes there (``localization/explanation``).
"""

from __future__ import annotations

import sys
import types
from collections.abc import Mapping
from typing import Any

from .faults.codes import FaultCode

FAULT_TYPES: Mapping[str, str] = {kind.name: kind.value for kind in FaultCode}
"""Code -> name, in the paper's order; workers have the same types as values in ``faults/fault_types``."""


class _CallableModule(types.ModuleType):
    """This package as the function ``safeconvert.repair``.

    Importing any module of the package sets ``safeconvert.repair`` to the package, so the two must be one object.
    """

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self.__wrapped__(*arguments, **options)

    @property
    def __wrapped__(self) -> Any:
        """The function, whose signature and help are shown for this package."""
        from ..api import repair

        return repair


sys.modules[__name__].__class__ = _CallableModule
