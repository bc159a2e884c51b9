#!/usr/bin/env python3
"""All twenty pairs on MobileNetV2, InceptionV3 and ResNet101, run as a person would: one command at a time.

    python benchmarks/pairs_table.py --data DIR --work DIR --markdown table.md

DIR of ``--data`` holds models and photos (see ``model_zoo``). What is done stands in ``pairs.jsonl`` in the work
folder and is not done again: an interrupted run goes on where it stopped; remove a line to do it again.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))

from model_zoo import FORMATS, NETWORKS, Network, NotBuilt, build, choose, link  # noqa: E402
from model_zoo.making import SUFFIX, preprocess_file  # noqa: E402

PAIRS = tuple(f"{a}2{b}" for a in FORMATS for b in FORMATS if a != b)
HEADS = (
    "model",
    "pair",
    "verdict",
    "labels differ",
    "discrepancy",
    "95 % bound",
    "max abs",
    "seconds",
    "route",
    "abandoned",
)
VERDICTS = {0: "verified", 1: "diverged", 2: "bad input", 3: "failed", 4: "undecided"}
Row = dict[str, Any]


def main() -> int:
    args = _arguments()
    args.work.mkdir(parents=True, exist_ok=True)
    done = _read(args.work / "pairs.jsonl")
    rows: list[Row] = []
    for model in args.models:
        for pair in args.pairs:
            row = done.get((model, pair, args.photos))
            if row is None:
                row = _measure(NETWORKS[model], pair, args)
                with (args.work / "pairs.jsonl").open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
                print(f"{model} {pair}: {row['verdict']} in {row['seconds']} s", file=sys.stderr, flush=True)
            rows.append(row)
    _write(rows, args)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with models and photos")
    parser.add_argument("--work", type=Path, required=True, help="folder for results and for the models made")
    parser.add_argument("--models", nargs="+", choices=list(NETWORKS), default=list(NETWORKS), metavar="MODEL")
    parser.add_argument("--pairs", nargs="+", choices=PAIRS, default=PAIRS, metavar="SRC2DST")
    parser.add_argument("--photos", type=int, default=100)
    parser.add_argument("--limit", type=float, default=3600.0, metavar="SECONDS", help="for one pair")
    parser.add_argument("--keep", action="store_true", help="keep the Targets, not only their reports")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    args = parser.parse_args()
    if args.photos < 2:
        parser.error("--photos must be at least 2: one to look at, one held out")
    args.data, args.work = args.data.resolve(), args.work.resolve()
    return args


def _read(path: Path) -> dict[tuple[str, str, int], Row]:
    if not path.exists():
        return {}
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return {(row["model"], row["pair"], row["asked"]): row for row in rows}


def _measure(network: Network, pair: str, args: argparse.Namespace) -> Row:
    """Run one pair's command and keep what it reported."""
    source, target = pair.split("2")
    row: Row = {"model": network.name, "pair": pair, "asked": args.photos}
    cache = args.work / "models"
    try:
        built = build(network, source, args.data, cache)
    except NotBuilt as error:
        return {**row, "verdict": "no source", "seconds": 0.0, "message": str(error)}
    chosen = choose(network, args.data, args.photos)
    images = link(chosen, args.work / "photos" / f"{network.name}-{len(chosen)}")
    folder = args.work / "targets" / network.name / pair
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    command = [
        sys.executable, "-m", "safeconvert", pair, str(built.path), *built.arguments, "--images", str(images),
        "--preprocess", str(preprocess_file(network, cache)), "-o", str(folder / f"{network.name}{SUFFIX[target]}"),
        "--json",
    ]  # fmt: skip
    begun = time.monotonic()
    try:
        ran = subprocess.run(command, capture_output=True, text=True, cwd=args.work, timeout=args.limit, check=False)
        code, out, err = ran.returncode, ran.stdout, ran.stderr
    except subprocess.TimeoutExpired:
        code, out, err = -1, "", f"stopped after {args.limit:g} s"
    row |= {"seconds": round(time.monotonic() - begun, 1), "exit_code": code, "origin": built.origin}
    row |= _facts(code, out, err)
    if not args.keep:
        _remove_targets(folder)
    return row


def _facts(code: int, out: str, err: str) -> Row:
    """What the table needs of a report; where there is none, the end of standard error."""
    try:
        report = json.loads(out)
    except ValueError:
        return {"verdict": "no report" if code == 0 else VERDICTS.get(code, "died"), "message": err.strip()[-1000:]}
    if (report["verdict"] in ("verified", "repaired")) != (code == 0):
        return {"verdict": f"exit {code} with {report['verdict']}", "message": err.strip()[-1000:]}
    facts: Row = {
        "verdict": report["verdict"],
        "reasons": report["reasons"],
        "message": err.strip()[-1000:],
        "route": [step for step in report["route"] if step["used"]],
        "abandoned": [step for step in report["route"] if not step["used"]],
        "timings": report["timings"],
        "faults": report["faults"],
    }
    after = report["check"]["after"]
    if after is not None:
        facts |= _joined([after["calibration"], after["heldout"]])
    return facts


def _joined(parts: Sequence[Row]) -> Row:
    """Calibration and held-out inputs together, with the bound of all of them."""
    from safeconvert.comparison.comparison import Comparison

    parts = [part for part in parts if part["count"]]
    total = Comparison(sum(part["count"] for part in parts), sum(part["labels_differ"] for part in parts))
    largest = [part["max_abs"] for part in parts]
    return {
        "count": total.count,
        "labels_differ": total.labels_differ,
        "near_ties": sum(part["near_ties"] for part in parts),
        "percent": total.percent,
        "upper_bound_95": total.upper_bound_95,
        "max_abs": None if not largest or None in largest else max(largest),
    }


def _remove_targets(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif not path.name.endswith((".json", ".html")):
            path.unlink()


def _cells(row: Row) -> tuple[str, ...]:
    counted = row.get("count")
    return (
        row["model"],
        row["pair"],
        row["verdict"],
        f"{row['labels_differ']} of {counted}" if counted else "-",
        f"{row['percent']:.1f} %" if counted else "-",
        f"< {row['upper_bound_95']:.1f} %" if counted else "-",
        f"{row['max_abs']:.1e}" if row.get("max_abs") is not None else "-",
        f"{row['seconds']:.0f}",
        ", ".join(_step(step) for step in row.get("route", [])) or "-",
        _abandoned(row.get("abandoned", [])),
    )


def _step(step: Row) -> str:
    return f"{step['hop']} {step['converter']}" + (f" (fed {step['form']})" if step["form"] else "")


def _abandoned(steps: Sequence[Row]) -> str:
    """How often a try ended in what, the optional environments that are not installed left out."""
    counts = Counter(
        f"{step['hop']} {step['converter']} {'unneeded' if step['status'] == 'ok' else step['status']}"
        for step in steps
        if not (step["status"] == "refused" and "env install" in step["message"])
    )
    return ", ".join(f"{what} x{times}" if times > 1 else what for what, times in counts.items()) or "-"


def _write(rows: Sequence[Row], args: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*HEADS, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*_cells(row))
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
    console.print(table, markup=False)
    for row in rows:
        if row["verdict"] not in ("verified", "repaired"):
            why = "; ".join(row.get("reasons") or [row.get("message") or "no reason given"])
            console.print(f"{row['model']} {row['pair']} {row['verdict']}: {why}", markup=False, soft_wrap=True)
    console.print(_summary(rows), markup=False)
    if args.json:
        _save(args.json, json.dumps(rows, indent=1) + "\n")
    if args.markdown:
        _save(args.markdown, _markdown(rows))


def _summary(rows: Sequence[Row]) -> str:
    counts = Counter(row["verdict"] for row in rows)
    return f"{len(rows)} runs: " + ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())


def _markdown(rows: Sequence[Row]) -> str:
    lines = ["| " + " | ".join(HEADS) + " |", "|" + " --- |" * len(HEADS)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in _cells(row)) + " |" for row in rows]
    origins = dict.fromkeys((row["model"], row["pair"].split("2")[0], row["origin"]) for row in rows if "origin" in row)
    lines += ["", "Sources:", *(f"- {model} in {format}: {origin}" for model, format, origin in origins)]
    return "\n".join([*lines, "", _summary(rows), ""])


def _save(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


if __name__ == "__main__":
    sys.exit(main())
