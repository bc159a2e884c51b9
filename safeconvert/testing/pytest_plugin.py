"""The pytest plugin: the fixture ``safeconvert_check``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def safeconvert_check() -> Callable[..., Any]:
    """``safeconvert.check``: compares two models, paths or live ones, and returns the result with its verdict."""
    from ..api import check

    return check
