"""Routes: chains of hops from one format to another, shortest first."""

from __future__ import annotations

import importlib.util
import itertools
import sys
from collections.abc import Iterable
from importlib import metadata

from ..converters import HOPS
from ..converters.hop import Hop
from ..formats import FORMAT_NAMES, extra_with
from ..workers.environments import installed_version, interpreter

MAX_HOPS = 4  # of a route


def hops_between(source: str, target: str, *, last: bool = True) -> tuple[Hop, ...]:
    """Return the hops from one format straight to another, in the order in which they are tried.

    ``last``: the written file is the Target, and no other converter reads it.
    """
    hops = [hop for hop in HOPS if (hop.source, hop.target) == (source, target)]
    return tuple(hops if last else sorted(hops, key=lambda hop: hop.rank_in_chain))


def routes(source: str, target: str) -> tuple[tuple[str, ...], ...]:
    """Return all chains of formats from ``source`` to ``target`` that visit none twice, shortest first.

    Among equally long ones, the order of the hops in the list of hops decides.
    """
    paths: list[tuple[str, ...]] = []

    def extend(path: tuple[str, ...]) -> None:
        if path[-1] == target:
            paths.append(path)
            return
        if len(path) > MAX_HOPS:
            return
        for following in dict.fromkeys(hop.target for hop in HOPS if hop.source == path[-1]):
            if following not in path:
                extend((*path, following))

    extend((source,))
    return tuple(sorted(paths, key=len))


def pairs() -> tuple[tuple[str, str], ...]:
    """Return the ordered pairs of formats."""
    return tuple((a, b) for a in FORMAT_NAMES for b in FORMAT_NAMES if a != b)


def missing(hop: Hop) -> str | None:
    """Return what this hop needs and the machine lacks, as an instruction; None where it can run."""
    if python_of(hop) is not None:
        return None
    if hop.environment is not None:
        return f"needs its own environment: safeconvert env install {hop.environment.name}, or --auto-env"
    absent = [name for name in hop.requires if importlib.util.find_spec(name) is None]
    return f"needs {', '.join(absent)}: pip install 'safeconvert[{hop.extra}]'"


def python_of(hop: Hop) -> str | None:
    """Return the interpreter that the hop runs under: its environment's, or this one; None where it cannot run."""
    if hop.environment is not None and (python := interpreter(hop.environment.name)) is not None:
        return python
    is_installed_here = bool(hop.requires) and all(importlib.util.find_spec(name) is not None for name in hop.requires)
    return sys.executable if is_installed_here else None


def extra_of(module: str) -> str | None:
    """Return the extra of safeconvert that installs the module of a runtime or a converter; None for others."""
    return extra_with(module) or next((hop.extra for hop in HOPS if module in hop.requires), None)


def version(hop: Hop) -> str:
    """Return the version of the hop's converter, or "" where it is not installed."""
    environment_version = None if hop.environment is None else installed_version(hop.environment.name)
    return environment_version or package_version(hop.distribution)


def package_version(distribution: str) -> str:
    """Return the version of an installed package, or ""."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def frameworks(path: Iterable[str]) -> tuple[str, ...]:
    """Return the frameworks of the workers that the first-choice hops along a chain of formats run in."""
    steps = list(path)
    names = []
    for index, (a, b) in enumerate(itertools.pairwise(steps)):
        hops = hops_between(a, b, last=index == len(steps) - 2)
        if hops and hops[0].environment is None:
            names.append(hops[0].framework)
    return tuple(names)
