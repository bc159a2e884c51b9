"""Environments of converters in tests: none is visible, but to tests that ask for the ones that the user has.

What is installed on a machine must not decide which routes a test takes.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

USERS_CACHE: Mapping[str, str] = {"XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")}
"""The environment variable under which the user's own installations are seen."""


def hide_installations() -> None:
    """Give this process, and what it starts, an empty cache folder."""
    folder = tempfile.mkdtemp(prefix="cache-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["XDG_CACHE_HOME"] = folder
