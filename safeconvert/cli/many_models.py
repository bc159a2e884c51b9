"""``safeconvert batch`` and ``matrix``: many conversions, and what is shown and written at their end."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from ..batch import matrix, summary
from ..batch.backends import Backend
from ..batch.plan import read_plan
from ..batch.runner import run_conversions
from ..errors import BadInput
from ..formats import FORMAT_NAMES
from ..reporting.junit import case_of_record
from .machine_outputs import MachineOutputs
from .terminal import COLOURS, Terminal


def run_batch(
    file: Path,
    output: Path | None,
    backend: Backend,
    outputs: MachineOutputs,
    *,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Run the conversions that a TOML file lists; return the exit code."""
    outputs.check()
    base = output or file.with_name(f"{file.stem}.batch")
    begun = time.monotonic()
    with outputs.watching(), Terminal(quiet=quiet or as_json, verbose=verbose) as terminal:
        conversions = read_plan(file)
        _check_folder(base.parent)
        records = run_conversions(conversions, backend, base.with_name(f"{base.name}.state"), terminal)
    result = summary.document(records, backend.name, time.monotonic() - begun)
    written = summary.write(result, base)
    outputs.write([case_of_record(record) for record in records])
    _show(result, _table(result), written, as_json=as_json, quiet=quiet)
    return int(result["exit_code"])


def run_matrix(
    models: Sequence[Path],
    folder: Path,
    options: Mapping[str, Any],
    backend: Backend,
    *,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Convert each model to every format that it reaches; return the exit code."""
    conversions = matrix.matrix_conversions(models, folder, options)
    _check_folder(folder.absolute().parent)
    folder.mkdir(exist_ok=True)
    with Terminal(quiet=quiet or as_json, verbose=verbose) as terminal:
        records = run_conversions(conversions, backend, folder / "matrix.state", terminal)
    result = matrix.document(records)
    written = [folder / "matrix.json", folder / "matrix.svg"]
    summary.write_text(written[0], json.dumps(result, indent=1) + "\n")
    summary.write_text(written[1], matrix.render_svg(result))
    _show(result, _matrix_table(result), written, as_json=as_json, quiet=quiet)
    return summary.exit_code(records)


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise BadInput(f"the folder {folder} does not exist. Make it first, or choose another place with -o.")


def _show(result: Mapping[str, Any], table: Table, written: Sequence[Path], *, as_json: bool, quiet: bool) -> None:
    if as_json:
        click.echo(json.dumps(result, indent=1))
    elif not quiet:
        out = Console(highlight=False)
        if not out.is_terminal:
            out = Console(highlight=False, width=120)
        out.print(table)
        for path in written:
            out.print(f"wrote {path}", markup=False, soft_wrap=True)


def _table(result: Mapping[str, Any]) -> Table:
    table = Table("model", "to", "verdict", "differed before", "differ now", "faults", "s", "why", box=None)
    for record in result["conversions"]:
        verdict = record["verdict"] or "no verdict"
        word = f"[{COLOURS.get(verdict, 'red')}]{verdict}[/]{' (earlier)' if record['is_resumed'] else ''}"
        figures = [summary.shown_discrepancy(record[when]) for when in ("before", "after")]
        seconds = "-" if record["seconds"] is None else f"{record['seconds']:.1f}"
        why = "; ".join(record["reasons"]).partition("\n")[0].replace("[", r"\[")
        table.add_row(Path(record["model"]).name, record["to"], word, *figures, str(record["faults"]), seconds, why)
    return table


def _matrix_table(result: Mapping[str, Any]) -> Table:
    table = Table("Source", *FORMAT_NAMES, box=None)
    for row in result["rows"]:
        cells = []
        for name in FORMAT_NAMES:
            cell = row["cells"][name]
            word = (cell["verdict"] or "no verdict") if cell else ""
            text = matrix.cell_text(cell)
            cells.append(text if word in ("", text) else f"{text} {word}")
        table.add_row(Path(row["model"]).name, *cells)
    return table
