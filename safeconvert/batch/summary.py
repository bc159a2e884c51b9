"""The report of many conversions: one JSON document, one small page, and the exit code."""

from __future__ import annotations

import collections
import json
from collections.abc import Mapping, Sequence
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from ..errors import BadInput

SCHEMA = "safeconvert.batch/1"


def exit_code(records: Sequence[Mapping[str, Any]]) -> int:
    """Return the worst exit code of all conversions: the last of 0, 1, 2, 3, 4 that one of them has."""
    return max((int(record["exit_code"]) for record in records), default=0)


def document(records: Sequence[Mapping[str, Any]], backend: str, seconds: float) -> dict[str, Any]:
    """Return the summary as plain JSON values."""
    words = [record["verdict"] or "no verdict" for record in records]
    return {
        "schema": SCHEMA,
        "exit_code": exit_code(records),
        "counts": dict(collections.Counter(words)),
        "backend": backend,
        "seconds": round(seconds, 3),
        "safeconvert": metadata.version("safeconvert"),
        "conversions": [dict(record) for record in records],
    }


def shown_discrepancy(figures: Mapping[str, Any] | None) -> str:
    """Return ``0 of 250``, or a dash where nothing was compared."""
    return "-" if figures is None or not figures["count"] else f"{figures['labels_differ']} of {figures['count']}"


def render_html(summary: Mapping[str, Any], base: Path) -> str:
    """Return the summary as a page; links to reports are relative to the folder of ``base``."""
    import jinja2

    text = resources.files("safeconvert.batch").joinpath("summary.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    reports = {record["key"]: _link(record, base) for record in summary["conversions"]}
    return environment.from_string(text).render(summary=summary, shown=shown_discrepancy, reports=reports)


def _link(record: Mapping[str, Any], base: Path) -> str | None:
    if record["report"] is None:
        return None
    page = Path(record["report"]).with_suffix(".html")
    try:
        return page.relative_to(base.absolute().parent).as_posix()
    except ValueError:
        return page.as_uri()


def write_text(path: Path, text: str) -> None:
    """Write a file, whole or not at all. Raises :class:`BadInput` where its folder cannot be written."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise BadInput(f"{path} cannot be written: {error.strerror or error}. Choose another place.") from error


def write(summary: Mapping[str, Any], base: Path) -> list[Path]:
    """Write ``<base>.json`` and ``<base>.html``; return their paths."""
    pages = {".json": json.dumps(summary, indent=1) + "\n", ".html": render_html(summary, base)}
    paths = []
    for ending, text in pages.items():
        path = base.with_name(base.name + ending)
        write_text(path, text)
        paths.append(path)
    return paths
