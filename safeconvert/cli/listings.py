"""Tables of what safeconvert can do: routes and environments."""

from __future__ import annotations

import itertools
from typing import Any

from rich.console import Console
from rich.table import Table

from ..conversion.routes import hops_between, missing, pairs, routes, version
from ..converters import ENVIRONMENTS
from ..errors import BadInput
from ..inputs.presets import ALIASES, PRESETS, is_ambiguous
from ..workers.environments import folder, installed_version


def _wanted(source: str | None, target: str | None) -> list[tuple[str, str]]:
    if source is not None and source == target:
        raise BadInput(f"{source} to {target} is no conversion.")
    return [(a, b) for a, b in pairs() if source in (None, a) and target in (None, b)]


def routes_as_json(source: str | None, target: str | None) -> list[dict[str, Any]]:
    """Every pair asked for, with its chains of formats and, for each hop, the converters in the order tried."""
    return [
        {
            "source": a,
            "target": b,
            "routes": [
                [
                    {
                        "hop": f"{x}->{y}",
                        "converters": [
                            {
                                "converter": hop.converter,
                                "version": version(hop),
                                "why": hop.why,
                                "missing": missing(hop),
                            }
                            for hop in hops_between(x, y, last=index == len(path) - 2)
                        ],
                    }
                    for index, (x, y) in enumerate(itertools.pairwise(path))
                ]
                for path in routes(a, b)
            ],
        }
        for a, b in _wanted(source, target)
    ]


def show_routes(source: str | None, target: str | None) -> None:
    """Print the chains for the pairs asked for; for a single pair also every converter and why."""
    console = Console(highlight=False)
    wanted = _wanted(source, target)
    table = Table("pair", "routes, in the order tried", box=None, pad_edge=False)
    for a, b in wanted:
        for index, path in enumerate(routes(a, b)):
            table.add_row(f"{a}2{b}" if index == 0 else "", " -> ".join(path))
    console.print(table)
    if len(wanted) > 1:
        return
    steps = dict.fromkeys(
        (x, y, index == len(path) - 2)
        for path in routes(*wanted[0])
        for index, (x, y) in enumerate(itertools.pairwise(path))
    )
    table = Table("hop", "converter", "why, or what it needs", box=None, pad_edge=False)
    for x, y, last in steps:
        for hop in hops_between(x, y, last=last):
            table.add_row(hop.label, f"{hop.converter} {version(hop)}".strip(), missing(hop) or hop.why)
    console.print()
    console.print(table)


def show_presets(word: str) -> None:
    """Print the presets whose name or alias contains the word. Raises :class:`BadInput` where none does."""
    wanted = word.lower().replace("-", "_")
    names = {name: preset for name, preset in PRESETS.items() if wanted in name and not is_ambiguous(name)}
    names |= {alias: PRESETS[name] for alias, name in ALIASES.items() if wanted in alias}
    if not names:
        raise BadInput(f"no preset has {word!r} in its name. `safeconvert presets` lists all.")
    table = Table("preset", "what it does to an image for a model of 224x224", box=None, pad_edge=False)
    for name, preset in sorted(names.items()):
        table.add_row(name, preset.describe(224, 224))
    Console(highlight=False).print(table)


def show_environments() -> None:
    """Print the environments, what they are for and whether they are installed."""
    table = Table("environment", "installed", "what for", "where", box=None, pad_edge=False)
    for name, recipe in ENVIRONMENTS.items():
        table.add_row(name, installed_version(name) or "no", recipe.why, str(folder(name)))
    Console(highlight=False).print(table)
