"""Environments of their own for converters whose pins fit nothing else.

Each is a virtual environment in the user's cache folder. A converter's child process runs under its
interpreter; nothing of safeconvert is installed there.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from ..errors import BadInput


@dataclass(frozen=True)
class Recipe:
    """What to install for a converter: ``requirements`` by the oldest Python that takes them, newest first."""

    name: str
    requirements: tuple[tuple[tuple[int, int], tuple[str, ...]], ...]
    why: str


def folder(name: str) -> Path:
    return Path(platformdirs.user_cache_dir("safeconvert")) / "environments" / name


def interpreter(name: str) -> str | None:
    """The environment's Python, or None where it is not (wholly) installed."""
    python = folder(name) / "bin" / "python"
    return str(python) if python.exists() and (folder(name) / "installed.json").exists() else None


def installed_version(name: str) -> str | None:
    """The converter's version in its environment."""
    try:
        return str(json.loads((folder(name) / "installed.json").read_text())["version"])
    except (OSError, ValueError, KeyError):
        return None


def find_python(wanted: tuple[int, int]) -> str | None:
    """A Python of at least that version: this one, or a newer one on the machine that answers."""
    if sys.version_info[:2] >= wanted:
        return sys.executable
    for minor in range(wanted[1], wanted[1] + 3):
        for python in (shutil.which(f"python3.{minor}"), *_pyenv(minor)):
            if python and subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0:
                return python
    return None


def _pyenv(minor: int) -> list[str]:
    return [str(p) for p in sorted((Path.home() / ".pyenv" / "versions").glob(f"3.{minor}.*/bin/python"))]


def install(recipe: Recipe, *, quiet: bool = True) -> str:
    """Make the environment (anew, where it is there) and return the converter's version.

    Takes the newest requirements that a Python on this machine can run. Raises :class:`BadInput`.
    """
    name = recipe.name
    place = folder(name)
    chosen = next(
        ((python, packages) for wanted, packages in recipe.requirements if (python := find_python(wanted))), None
    )
    if chosen is None:
        oldest = recipe.requirements[-1][0]
        raise BadInput(f"{name} needs Python {oldest[0]}.{oldest[1]} or newer, and none was found on this machine.")
    python, packages = chosen
    shutil.rmtree(place, ignore_errors=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    _run([python, "-m", "venv", str(place)], name)
    inside = str(place / "bin" / "python")
    _run([inside, "-m", "pip", "install", *(["-q"] if quiet else []), *packages], name)
    code = f"from importlib.metadata import version; print(version({name!r}))"
    version = _run([inside, "-c", code], name).strip()
    (place / "installed.json").write_text(json.dumps({"version": version, "requirements": packages}))
    return version


def _run(command: list[str], name: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [
            line for line in done.stderr.strip().splitlines() if "ERROR" in line
        ] or done.stderr.strip().splitlines()
        raise BadInput(f"the environment {name} could not be made: {' '.join(lines[-1:])[:300]}")
    return done.stdout
