"""Environments of their own for converters whose pins fit nothing else.

Each is a virtual environment in the user's cache folder. A converter's child process runs under its
interpreter; nothing of safeconvert is installed there.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from ..errors import BadInput


@dataclass(frozen=True)
class Recipe:
    """What to install for a converter: ``requirements`` by the oldest Python that takes them, newest first.

    ``shared`` is a module of safeconvert's own environment, such as ``torch``, which the converter uses too: the
    packages installed beside it are visible in the converter's environment and are not installed again. ``constraints``
    is a file with the versions of what is installed, None where ``requirements`` pin everything.
    """

    name: str
    requirements: tuple[tuple[tuple[int, int], tuple[str, ...]], ...]
    why: str
    shared: str = ""
    constraints: Path | None = None


def folder(name: str) -> Path:
    return Path(platformdirs.user_cache_dir("safeconvert")) / "environments" / name


def interpreter(name: str) -> str | None:
    """The environment's Python, or None where it is not (wholly) installed, or shares packages that were moved."""
    python, record = folder(name) / "bin" / "python", _record(name)
    if not python.exists() or record is None:
        return None
    shared = record.get("shared", {})
    is_whole = all(packages_beside(module) == place for module, place in shared.items())
    return str(python) if is_whole else None


def installed_version(name: str) -> str | None:
    """The converter's version in its environment; None where :func:`interpreter` is None."""
    record = _record(name)
    return str(record["version"]) if record is not None and interpreter(name) is not None else None


def _record(name: str) -> dict[str, Any] | None:
    """What :func:`install` wrote down at its end: the version, the requirements and what is shared."""
    try:
        record = json.loads((folder(name) / "installed.json").read_text())
        return {**record, "version": record["version"]}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def packages_beside(module: str) -> str | None:
    """The folder that an installed module lies in, with all that is installed beside it; None where there is none."""
    spec = importlib.util.find_spec(module)
    return None if spec is None or spec.origin is None else str(Path(spec.origin).resolve().parents[1])


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
    shared = packages_beside(recipe.shared) if recipe.shared else ""
    if shared is None:
        extra = f"pip install 'safeconvert[{recipe.shared}]'"
        raise BadInput(f"{name} uses the {recipe.shared} of safeconvert's own environment, which lacks it: {extra}")
    shutil.rmtree(place, ignore_errors=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    _run([python, "-m", "venv", str(place)], name)
    inside = str(place / "bin" / "python")
    if shared:
        _share(place, shared)
    constraints = [] if recipe.constraints is None else ["-c", str(recipe.constraints)]
    _run([inside, "-m", "pip", "install", *(["-q"] if quiet else []), *packages, *constraints], name)
    code = f"from importlib.metadata import version; print(version({name!r}))"
    version = _run([inside, "-c", code], name).strip()
    record = {"version": version, "requirements": packages, "shared": {recipe.shared: shared} if shared else {}}
    (place / "installed.json").write_text(json.dumps(record))
    return version


def _share(place: Path, packages: str) -> None:
    """Make the packages of that folder visible in the environment, behind those that it has itself."""
    for site in (place / "lib").glob("python3*/site-packages"):
        (site / "safeconvert-shared.pth").write_text(f"{packages}\n")


def _run(command: list[str], name: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [
            line for line in done.stderr.strip().splitlines() if "ERROR" in line
        ] or done.stderr.strip().splitlines()
        raise BadInput(f"the environment {name} could not be made: {' '.join(lines[-1:])[:300]}")
    return done.stdout
