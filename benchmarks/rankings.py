#!/usr/bin/env python3
"""The rank of the layer that is truly wrong, by replay and by the Kruskal-Wallis test, and what each costs.

    python benchmarks/rankings.py --work DIR --count 2                                     # three small networks
    python benchmarks/rankings.py --data DIR --work DIR --models mobilenet_v2 --count 3
    python benchmarks/rankings.py --data DIR --work DIR --cases 4,11,12,13,14              # of the paper's table

Single faults are seeded as ``seeded_faults`` does it, or the cases of ``paper_table`` are taken (``--work``: its own
folder, so that what it made is used again), and the Target is put through ``safeconvert repair`` with either ranking;
seeded ones with ``--no-repair``, while cases are repaired, since some must be before their layers can be looked at. A
layer's rank counts from 1; one that is not in the list has none.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))

from benchmarks.faults import FORMATS, small_nets  # noqa: E402
from benchmarks.faults.worker import Refused  # noqa: E402
from benchmarks.paper_cases.cases import CASES  # noqa: E402
from benchmarks.paper_cases.making import Place, make  # noqa: E402
from benchmarks.seeded_faults import Bench, Case, Trial, named, seed_faults, trials  # noqa: E402
from model_zoo import NETWORKS, NotBuilt  # noqa: E402
from model_zoo.making import SUFFIX  # noqa: E402

METHODS = {"replay": "localise", "kruskal": "rank"}  # and the entry of the report's timings
LAYERS = ("TSS", "WB", "LH", "CG")  # the types of fault that sit in a layer
Row = dict[str, Any]


def main() -> int:
    args = arguments()
    args.work.mkdir(parents=True, exist_ok=True)
    rows = list(of_cases(args) if args.cases else of_seeded(args))
    for method in METHODS:
        print(summary(method, rows))
    return 0


def of_seeded(args: argparse.Namespace) -> Iterator[Row]:
    bench = Bench(args)
    try:
        for trial in trials(args):
            try:
                yield said(seeded_trial(bench, bench.case(trial.model), trial))
            except (Refused, NotBuilt) as error:
                print(f"{trial.key}: not seeded: {str(error).splitlines()[0][:200]}", file=sys.stderr)
    finally:
        bench.stop()


def of_cases(args: argparse.Namespace) -> Iterator[Row]:
    place = Place(args.data, args.work, args.rows)
    place.zoo.mkdir(parents=True, exist_ok=True)
    for case in CASES:
        if case.number in args.cases:
            case_files = make(case, place)
            layers = [fault for fault in case_files.seeded if fault["type"] in LAYERS]
            start = {"key": f"case {case.number}", "nodes": [fault["node"] for fault in layers]}
            yield said(
                {
                    **start,
                    **ranked(
                        args.work, [str(case_files.source), str(case_files.target), *case_files.arguments], layers
                    ),
                }
            )


def said(row: Row) -> Row:
    print(json.dumps(row), flush=True)
    return row


def seeded_trial(bench: Bench, case: Case, trial: Trial) -> Row:
    """One seeded fault, ranked by either method. Raises :class:`Refused` where nothing could be seeded."""
    folder = bench.args.work / "trial"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    target = folder / f"target{SUFFIX[trial.format]}"
    bench.right(case, trial.format)
    seeded = seed_faults(bench, case, trial, target)
    if seeded["target_preprocess"] is not None:
        raise Refused("the deployment is at fault and no layer")
    start = {"key": trial.key, "percent": seeded["percent"], "nodes": [seeded["seeded"][0]["node"]]}
    command_words = [str(case.source), str(target), *case.arguments, "--images", str(case.images)]
    command_words += ["--preprocess", str(case.preprocess_file)]
    return {**start, **ranked(folder, [*command_words, "--no-repair"], seeded["seeded"])}


def ranked(folder: Path, command_words: Sequence[str], faults: Sequence[Row]) -> Row:
    """Ranks of the layers at fault, length of the list and seconds by either method. Raises :class:`Refused`."""
    row: Row = {}
    for method, clock in METHODS.items():
        command = [sys.executable, "-m", "safeconvert", "repair", *command_words, "-o", str(folder / method)]
        command += ["--ranking", method, "--force", "--json"]
        ran = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
        if ran.returncode not in (0, 1):
            raise Refused(f"{method}: {ran.stderr.strip()}")
        report = json.loads(ran.stdout)
        looked = report["localisation"] or {"method": "", "ranking": []}
        names = [entry["target_node"] for entry in looked["ranking"]]
        row[method] = {
            "method": looked["method"],
            "ranks": [next((n for n, name in enumerate(names, 1) if named(name, entry)), None) for entry in faults],
            "layers": len(names),
            "significant": sum(bool(entry["score"]) for entry in looked["ranking"]) if method == "kruskal" else None,
            "seconds": report["timings"].get(clock),
            "notes": [note for note in report.get("notes") or [] if "ranking" in note.lower()],
        }
    return row


def summary(method: str, rows: list[Row]) -> str:
    trials = [row[method] for row in rows if row[method]["method"] == method]
    all_ranks = [rank for trial in trials for rank in trial["ranks"]]
    ranks = [rank for rank in all_ranks if rank is not None]
    if not trials or not ranks:
        return f"{method}: nothing ranked in {len(rows)} trials"
    return (
        f"{method}: {len(trials)} of {len(rows)} trials ranked; of {len(all_ranks)} layers at fault {len(ranks)} in "
        f"the list, first {ranks.count(1)}, among the first three {sum(rank <= 3 for rank in ranks)}, "
        f"median rank {median(ranks):g} of {median(trial['layers'] for trial in trials):g} layers; "
        f"median {median(trial['seconds'] for trial in trials):.1f} s"
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with models and photos; without it, small networks")
    parser.add_argument("--work", type=Path, required=True, help="folder for all that is made")
    parser.add_argument("--models", nargs="+", choices=[*NETWORKS, *small_nets.SMALL], metavar="MODEL")
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=["onnx"])
    parser.add_argument("--types", nargs="+", choices=["WB", "LH"], default=["WB"])
    parser.add_argument("--sizes", nargs="+", default=["slight", "middling", "glaring"])
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--cases", type=lambda value: [int(number) for number in value.split(",")], metavar="4,11,12")
    parser.add_argument("--rows", type=int, default=80, help="photos; half of them calibration")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.cases and args.data is None:
        parser.error("--cases needs --data")
    args.small, args.at_once, args.draw_seconds = args.data is None, [1], 60.0
    args.models = args.models or (list(small_nets.SMALL) if args.small else ["mobilenet_v2"])
    args.work, args.data = args.work.resolve(), args.data and args.data.resolve()
    return args


if __name__ == "__main__":
    sys.exit(main())
