#!/usr/bin/env python3
"""The fifteen erroneous conversions of FetaFix (arXiv 2312.15101), made again and given to ``safeconvert repair``.

    python benchmarks/paper_table.py --data DIR --json paper.json --quick          # 40 photos, under an hour
    python benchmarks/paper_table.py --data DIR --json paper.json --images ILSVRC/Data/CLS-LOC/val --photos 5000

DIR of ``--data`` holds models and photos (see ``model_zoo``). Cases that stand in the JSON file are not run again: an
interrupted run goes on where it stopped. The paper's figures and ours stand side by side in the table.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))

from benchmarks.paper_cases.cases import CASES, Case  # noqa: E402
from benchmarks.paper_cases.counting import counted, percentages  # noqa: E402
from benchmarks.paper_cases.making import Made, NotMade, Place, make  # noqa: E402
from benchmarks.paper_cases.showing import HEADS, cells, last_line, markdown  # noqa: E402
from model_zoo import NotBuilt  # noqa: E402
from model_zoo.making import SUFFIX  # noqa: E402

QUICK = 40
NO_REPORT = "no report"  # stopped from outside, or after the limit
Row = dict[str, Any]


def main() -> int:
    args = _arguments()
    place = Place(args.data, args.work, args.photos, args.images)
    place.zoo.mkdir(parents=True, exist_ok=True)
    rows = _read(args.json, args.photos)
    for case in CASES:
        if case.number not in args.cases or case.number in rows:
            continue
        try:
            rows[case.number] = run(case, place, args.limit)
        except (NotMade, NotBuilt, FileNotFoundError) as error:
            print(f"case {case.number} could not be made: {error}", file=sys.stderr, flush=True)
            continue
        _save(args.json, json.dumps({"cases": [rows[n] for n in sorted(rows)]}, indent=1) + "\n")
        row = rows[case.number]
        print(f"case {case.number}: {row['verdict']} in {row['seconds']} s", file=sys.stderr, flush=True)
    asked = [rows[number] for number in sorted(args.cases) if number in rows]
    show(asked)
    if args.markdown and asked:
        _save(args.markdown, markdown(asked))
    return 0 if len(asked) == len(args.cases) else 1


def run(case: Case, place: Place, limit: float) -> Row:
    """Make a case, run the command on it, and hold its report against what was wrong."""
    begun = time.monotonic()
    case_files = make(case, place)
    making = time.monotonic() - begun
    print(f"case {case.number}: {case.model} {case.pair}, {case.words}", file=sys.stderr, flush=True)
    code, report, message, seconds = repaired(case, case_files, place, limit)
    return {
        "case": case.number,
        "model": case.model,
        "pair": case.pair,
        **percentages(report),
        **counted(case_files.seeded, report),
        "natural": case.natural,
        "seconds": round(seconds, 1),
        "making_seconds": round(making, 1),
        "exit_code": code,
        "verdict": report.get("verdict", NO_REPORT),
        "message": "" if code == 0 else message,
        "photos": place.photos,
        "origin": case_files.origin,
        "faults_made": [{key: fault[key] for key in ("type", "node", "kind", "detail")} for fault in case_files.seeded],
        "timings": report.get("timings", {}),
    }


def repaired(case: Case, case_files: Made, place: Place, limit: float) -> tuple[int, Row, str, float]:
    """Exit code, report, message and seconds of ``safeconvert repair``, as a person runs it."""
    fixed = place.work / "fixed" / f"{case.number:02}{SUFFIX[case.target]}"
    fixed.parent.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable,
        "-m",
        "safeconvert",
        "repair",
        str(case_files.source),
        str(case_files.target),
        *case_files.arguments,
    ]
    command += ["-o", str(fixed), "--force", "--json"]
    begun = time.monotonic()
    try:
        ran = subprocess.run(command, capture_output=True, text=True, cwd=place.work, timeout=limit, check=False)
        code, out, err = ran.returncode, ran.stdout, ran.stderr
    except subprocess.TimeoutExpired:
        code, out, err = -1, "", f"stopped after {limit:g} s"
    seconds = time.monotonic() - begun
    try:
        report = json.loads(out)
    except ValueError:
        return code, {}, err.strip()[-500:] or "no message", seconds
    return code, report, "; ".join(report.get("reasons") or [])[-500:], seconds


def show(rows: Sequence[Row]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*HEADS, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*cells(row))
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 260)
    console.print(table, markup=False)
    for row in rows:
        if row["message"]:
            console.print(f"{row['case']}: {row['message']}", markup=False, soft_wrap=True)
    console.print(last_line(rows), markup=False, soft_wrap=True)


def _read(path: Path, photos: int) -> dict[int, Row]:
    """The finished cases by number: those with a report. A file of other photos is refused, not mixed."""
    if not path.exists():
        return {}
    rows = json.loads(path.read_text(encoding="utf-8"))["cases"]
    if other := sorted({row["photos"] for row in rows} - {photos}):
        sys.exit(f"{path} holds results on {other[0]} photos, not {photos}. Give another --json file or --photos.")
    return {row["case"]: row for row in rows if row["verdict"] != NO_REPORT}


def _save(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def _arguments() -> argparse.Namespace:
    numbers = sorted(case.number for case in CASES)

    def chosen(value: str) -> list[int]:
        chosen_numbers = [int(word) for word in value.split(",")]
        if unknown := [number for number in chosen_numbers if number not in numbers]:
            raise argparse.ArgumentTypeError(f"{unknown[0]} is not a case from 1 to {numbers[-1]}")
        return chosen_numbers

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with models and photos")
    parser.add_argument("--images", type=Path, help="photos, flat or by class (default: DATA/images/dev)")
    parser.add_argument("--work", type=Path, default=Path("paper-cases"), help="folder for all that is made")
    parser.add_argument("--cases", type=chosen, default=numbers, metavar="1,4,7")
    parser.add_argument("--photos", type=int, default=200, help="half of them held out")
    parser.add_argument("--quick", action="store_true", help=f"all on {QUICK} photos")
    parser.add_argument("--limit", type=float, default=1800.0, metavar="SECONDS", help="for one repair")
    parser.add_argument("--json", type=Path, default=Path("paper-cases.json"), metavar="FILE")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    args = parser.parse_args()
    args.photos = QUICK if args.quick else args.photos
    if args.photos < 4:
        parser.error("--photos must be at least 4: calibration and held-out photos")
    args.data, args.work = args.data.resolve(), args.work.resolve()
    args.images = args.images and args.images.resolve()
    return args


if __name__ == "__main__":
    sys.exit(main())
