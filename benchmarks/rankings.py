#!/usr/bin/env python3
"""The rank of the layer that is truly wrong, by replay and by the Kruskal-Wallis test, and what each costs.

    python benchmarks/rankings.py --work DIR --count 2                                     # three small networks
    python benchmarks/rankings.py --data DIR --work DIR --models mobilenet_v2 --count 3

Single faults are seeded as ``seeded_faults`` does it, and the Target is put through ``safeconvert repair --no-repair``
with either ranking. A layer's rank counts from 1; one that is not in the list has none.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))

from benchmarks.faults import FORMATS, small_nets  # noqa: E402
from benchmarks.faults.worker import Refused  # noqa: E402
from benchmarks.seeded_faults import Bench, Case, Trial, named, seed_faults, trials  # noqa: E402
from model_zoo import NETWORKS, NotBuilt  # noqa: E402
from model_zoo.making import SUFFIX  # noqa: E402

METHODS = {"replay": "localise", "kruskal": "rank"}  # and the entry of the report's timings
Row = dict[str, Any]


def main() -> int:
    args = arguments()
    args.work.mkdir(parents=True, exist_ok=True)
    bench, rows = Bench(args), []
    try:
        for trial in trials(args):
            try:
                row = ranked(bench, bench.case(trial.model), trial)
            except (Refused, NotBuilt) as error:
                print(f"{trial.key}: not seeded: {str(error).splitlines()[0][:200]}", file=sys.stderr)
                continue
            print(json.dumps(row), flush=True)
            rows.append(row)
    finally:
        bench.stop()
    for method in METHODS:
        print(summary(method, rows))
    return 0


def ranked(bench: Bench, case: Case, trial: Trial) -> Row:
    """Ranks of the seeded layer, lengths of the lists and seconds by either method. Raises :class:`Refused`."""
    folder = bench.args.work / "trial"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    target = folder / f"target{SUFFIX[trial.format]}"
    bench.right(case, trial.format)
    seeded = seed_faults(bench, case, trial, target)
    row: Row = {"key": trial.key, "percent": seeded["percent"], "node": seeded["seeded"][0]["node"]}
    if seeded["target_preprocess"] is not None:
        raise Refused("the deployment is at fault and no layer")
    for method, clock in METHODS.items():
        command = [
            sys.executable, "-m", "safeconvert", "repair", str(case.source), str(target), *case.arguments,
            "--images", str(case.images), "--preprocess", str(case.preprocess_file), "-o", str(folder / method),
            "--ranking", method, "--no-repair", "--force", "--json",
        ]  # fmt: skip
        ran = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
        if ran.returncode not in (0, 1):
            raise Refused(f"{method}: {ran.stderr.strip()}")
        report = json.loads(ran.stdout)
        looked = report["localisation"] or {"method": "", "ranking": []}
        names = [one["target_node"] for one in looked["ranking"]]
        places = [place for place, name in enumerate(names, 1) if named(name, seeded["seeded"][0])]
        row[method] = {
            "method": looked["method"],
            "rank": places[0] if places else None,
            "layers": len(names),
            "significant": sum(bool(one["score"]) for one in looked["ranking"]) if method == "kruskal" else None,
            "seconds": report["timings"].get(clock),
        }
    return row


def summary(method: str, rows: list[Row]) -> str:
    found = [row[method] for row in rows if row[method]["method"] == method]
    ranks = [one["rank"] for one in found if one["rank"] is not None]
    if not found or not ranks:
        return f"{method}: nothing ranked in {len(rows)} trials"
    return (
        f"{method}: {len(found)} of {len(rows)} trials ranked; the seeded layer in the list of {len(ranks)}, first in "
        f"{ranks.count(1)}, among the first three in {sum(rank <= 3 for rank in ranks)}, median rank {median(ranks):g} "
        f"of {median(one['layers'] for one in found):g} layers; median {median(one['seconds'] for one in found):.1f} s"
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
    parser.add_argument("--rows", type=int, default=80, help="photos; half of them calibration")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.small, args.at_once, args.draw_seconds = args.data is None, [1], 60.0
    args.models = args.models or (list(small_nets.SMALL) if args.small else ["mobilenet_v2"])
    args.work, args.data = args.work.resolve(), args.data and args.data.resolve()
    return args


if __name__ == "__main__":
    sys.exit(main())
