"""The discrepancy matrix: each Source converted to every format that a route leads to."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from ..conversion.routes import hops_between, missing, routes
from ..errors import BadInput, collecting, refuse
from ..formats import FORMAT_NAMES, FORMATS, format_named
from ..models.detect import detect
from ..runs.early_checks import check_early
from .plan import Conversion

SCHEMA = "safeconvert.matrix/1"


def is_reachable(source: str, target: str) -> bool:
    """Is there a chain of converters from one format to the other that are all installed?"""
    return any(
        all(any(missing(hop) is None for hop in hops_between(a, b)) for a, b in itertools.pairwise(path))
        for path in routes(source, target)
    )


def matrix_conversions(models: Sequence[Path], folder: Path, options: Mapping[str, Any]) -> tuple[Conversion, ...]:
    """Return a conversion of each model to every format that can be reached from its own, written in ``folder``.

    Raises :class:`BadInput` where a model cannot be read, two have the same name, or no format can be reached.
    """
    conversions = []
    options = {name: value.absolute() if isinstance(value, Path) else value for name, value in options.items()}
    names = [_stem(model) for model in models]
    mistakes: list[str] = []
    for model in models:
        with collecting(mistakes):
            check_early((model,), options)
    if folder.exists() and not folder.is_dir():
        mistakes.append(f"--output {folder} is a file, and the Targets go into a folder. Choose another path with -o.")
    refuse(list(dict.fromkeys(mistakes)))
    if copies := sorted({name for name in names if names.count(name) > 1}):
        raise BadInput(f"several models are named {', '.join(copies)}. Rename them: Targets are named by their Source.")
    for model, name in zip(models, names, strict=True):
        source = detect(model).format
        for target in FORMATS:
            if target != source and is_reachable(source.name, target.name):
                output = folder.absolute() / f"{name}.to_{target.name}{target.suffix or '_savedmodel'}"
                conversions.append(Conversion(model.absolute(), target.name, output, options))
    if not conversions:
        raise BadInput("no installed converter leads from these models anywhere. See: safeconvert doctor")
    return tuple(conversions)


def _stem(model: Path) -> str:
    return model.name if model.is_dir() else model.stem


def document(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the matrix as plain JSON values: a row for each Source, a cell for each format (None: not reached)."""
    by_model: dict[str, dict[str, Any]] = {}
    for record in records:
        by_model.setdefault(record["model"], dict.fromkeys(FORMAT_NAMES))[record["to"]] = _cell(record)
    rows = [
        {"model": model, "format": detect(Path(model)).format.name, "cells": cells} for model, cells in by_model.items()
    ]
    return {
        "schema": SCHEMA,
        "formats": list(FORMAT_NAMES),
        "rows": rows,
        "safeconvert": metadata.version("safeconvert"),
    }


def _cell(record: Mapping[str, Any]) -> dict[str, Any]:
    before, after = record["before"], record["after"]
    return {
        "verdict": record["verdict"],
        "percent_before": None if before is None else before["percent"],
        "percent_after": None if after is None else after["percent"],
        "count": 0 if after is None else after["count"],
        "reasons": record["reasons"],
        "report": record["report"],
    }


def cell_text(cell: Mapping[str, Any] | None) -> str:
    """Return ``12.0 % -> 0.0 %`` where repair changed the discrepancy, ``0.0 %`` where not, or why there is none."""
    if cell is None:
        return "-"
    before, after = (_percent(cell[f"percent_{when}"]) for when in ("before", "after"))
    if before is None and after is None:
        return cell["verdict"] or "no verdict"
    return str(after or before) if before in (after, None) else f"{before} -> {after or '?'}"


def _percent(value: float | None) -> str | None:
    return None if value is None else f"{value:.1f} %"


def render_svg(matrix: Mapping[str, Any]) -> str:
    """Return the matrix as a picture: darker where more predictions changed in the conversion, before repair."""
    import jinja2

    text = resources.files("safeconvert.batch").joinpath("matrix.svg.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    labels = {name: format_named(name).display_name for name in FORMAT_NAMES}
    template = environment.from_string(text)
    return template.render(matrix=matrix, labels=labels, text=cell_text, shade=shade, name=lambda path: Path(path).name)


def shade(cell: Mapping[str, Any] | None) -> float:
    """Return the opacity of a cell, 0 to 1: the square root of the discrepancy, so that a few percent are seen."""
    if cell is None:
        return 0.0
    percent = cell["percent_after"] if cell["percent_before"] is None else cell["percent_before"]
    return 0.0 if percent is None else float((percent / 100.0) ** 0.5)
