"""The paper's figures and ours, one line a case, in the terminal and as markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.paper_cases.cases import CASES
from benchmarks.paper_cases.counting import totals
from benchmarks.paper_cases.published import ROWS, TOTALS

Row = Mapping[str, Any]
HEADS = (
    "#", "model", "pair", "paper: ILSVRC2017", "paper: ImageNetV2", "paper: repaired", "ours: held out",
    "ours: calibration", "located", "repaired", "false", "verdict", "seconds", "what is wrong",
)  # fmt: skip


def cells(row: Row) -> tuple[str, ...]:
    paper = ROWS[row["case"]]
    case = next(case for case in CASES if case.number == row["case"])
    return (
        str(row["case"]),
        row["model"],
        row["pair"],
        _change(*paper.ilsvrc2017),
        _change(*paper.imagenet_v2),
        paper.types,
        _change(row.get("heldout_percent_before"), row.get("heldout_percent_after")),
        _change(row.get("percent_before"), row.get("percent_after")),
        _shares(row, "located"),
        _shares(row, "repaired"),
        str(row.get("false_faults", "-")),
        str(row.get("verdict", "-")),
        f"{row['seconds']:.0f}",
        f"{'natural' if row['natural'] else 'recreated'}: {case.words}",
    )


def _change(before: float | None, after: float | None) -> str:
    return " -> ".join("-" if value is None else f"{value:.2f}" for value in (before, after))


def _shares(row: Row, key: str) -> str:
    seeded = row.get("seeded", {})
    return ", ".join(f"{type_} {row[key][type_]}/{count}" for type_, count in seeded.items()) or "-"


def last_line(rows: Sequence[Row]) -> str:
    """Located and repaired of those that there are, by type, beside the paper's totals."""
    measured = totals(rows)
    said = [
        f"{type_} {located}/{repaired} of {seeded} (paper {TOTALS[type_][0]}/{TOTALS[type_][1]})"
        for type_, (seeded, located, repaired) in measured.items()
    ]
    false = sum(row.get("false_faults", 0) for row in rows)
    good = sum(row.get("exit_code") == 0 for row in rows)
    return (
        f"located/repaired: {', '.join(said)}; false faults {false}; {good} of {len(rows)} cases verified or repaired, "
        f"{sum(row['seconds'] for row in rows) / 60:.0f} minutes of repair"
    )


def markdown(rows: Sequence[Row]) -> str:
    photos = sorted({row["photos"] for row in rows})
    missing = sorted(set(ROWS) - {row["case"] for row in rows})
    lines = [
        "# The paper's fifteen erroneous conversions",
        "",
        "FetaFix (arXiv 2312.15101) reports fifteen conversions that changed labels. Each is made again here with the "
        "same pair of formats and the same kinds of fault, and `safeconvert repair` is run on it as a person would. "
        "*Natural*: a real tool's own doing; *recreated*: put there by us. Discrepancy is the percent of photos whose "
        f"labels differ, before -> after; ours on {', '.join(map(str, photos))} photos, half of them held out. A fault "
        "counts as located where the report names its type and its node; whatever else it names is false. The paper's "
        "models, converters and photos were others: its columns are there for comparison, not as a baseline.",
        "",
        "| " + " | ".join(HEADS) + " |",
        "|" + " --- |" * len(HEADS),
        *("| " + " | ".join(cell.replace("|", "\\|") for cell in cells(row)) + " |" for row in rows),
        "",
        last_line(rows),
        *([f"Not run: {', '.join(map(str, missing))}."] if missing else []),
        "",
        "Models:",
        *sorted({f"- {row['model']} in {row['pair'].split('-')[0]}: {row['origin']}" for row in rows}),
    ]
    if problems := [f"- {row['case']}: {row['message']}" for row in rows if row.get("message")]:
        lines += ["", "Where it did not come to a right Target:", *problems]
    return "\n".join([*lines, ""])
