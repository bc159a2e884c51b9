#!/usr/bin/env python3
"""How much longer safeconvert takes than a plain script that runs the same converters and looks at the same photos.

    python benchmarks/overhead.py --data DIR --work DIR

Two conversions of MobileNetV2: ``torch2keras`` and ``keras2tflite``, against ``plain_torch2keras.py`` and
``plain_keras2tflite.py`` beside this file. Wall time of whole processes, the two sides in turn, each run's first
side alternating. Prints the ratio of each pair of runs, their median, and where both sides' seconds go.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))

from model_zoo import NETWORKS, build, choose, link  # noqa: E402
from model_zoo.making import SUFFIX, preprocess_file  # noqa: E402

NETWORK = NETWORKS["mobilenet_v2"]
PAIRS = ("torch2keras", "keras2tflite")
ENVIRONMENT = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", "KERAS_BACKEND": "tensorflow"}


@dataclass(frozen=True)
class Timed:
    """One process: its wall time, and where it says its seconds went."""

    seconds: float
    parts: Mapping[str, float]


def main() -> int:
    args = _arguments()
    results = {}
    with tempfile.TemporaryDirectory(dir=args.work) as scratch:
        images = link(choose(NETWORK, args.data, args.photos), Path(scratch) / "photos")
        count = len(list(images.iterdir()))
        for pair in args.pairs:
            runs = _measure(pair, args, images, Path(scratch))
            results[pair] = _report(pair, runs, count)
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with models and photos")
    parser.add_argument(
        "--work", type=Path, default=Path(tempfile.gettempdir()), help="folder for what is written meanwhile"
    )
    parser.add_argument("--pairs", nargs="+", choices=PAIRS, default=PAIRS)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--photos", type=int, default=200)
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    if args.runs < 1 or args.photos < 2:
        parser.error("--runs must be at least 1 and --photos at least 2")
    args.data, args.work = args.data.resolve(), args.work.resolve()
    args.work.mkdir(parents=True, exist_ok=True)
    return args


def _measure(pair: str, args: argparse.Namespace, images: Path, scratch: Path) -> list[tuple[Timed, Timed]]:
    """``runs`` times both sides: (safeconvert, plain)."""
    source, target = pair.split("2")
    built = build(NETWORK, source, args.data, scratch)
    preprocess = preprocess_file(NETWORK, scratch)

    def safe(output: Path) -> Timed:
        return _safeconvert([pair, str(built.path), *built.arguments, "--preprocess", str(preprocess)], images, output)

    def plain(output: Path) -> Timed:
        return _plain([str(HERE / f"plain_{pair}.py"), str(built.path), str(images), str(output)])

    runs = []
    for index in range(args.runs):
        sides: dict[str, Timed] = {}
        order: Sequence[tuple[str, Callable[[Path], Timed]]] = [("safeconvert", safe), ("plain", plain)]
        for name, side in order if index % 2 == 0 else reversed(order):
            folder = scratch / "out"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            sides[name] = side(folder / f"model{SUFFIX[target]}")
        runs.append((sides["safeconvert"], sides["plain"]))
        both = f"safeconvert {runs[-1][0].seconds:.1f} s, plain {runs[-1][1].seconds:.1f} s"
        print(f"{pair} run {index + 1}: {both}, ratio {runs[-1][0].seconds / runs[-1][1].seconds:.2f}", flush=True)
    return runs


def _safeconvert(arguments: Sequence[str], images: Path, output: Path) -> Timed:
    command = [sys.executable, "-m", "safeconvert", *arguments, "--images", str(images), "-o", str(output), "--json"]
    seconds, out = _run(command)
    report = json.loads(out)
    parts = {name: value for name, value in report["timings"].items() if name != "total"}
    parts["outside the run's own clock"] = seconds - report["timings"]["total"]
    for step in report["route"]:
        parts[f"of which {step['hop']} {step['converter']}{'' if step['used'] else ' (unneeded)'}"] = step["seconds"]
    return Timed(seconds, parts)


def _plain(arguments: Sequence[str]) -> Timed:
    seconds, out = _run([sys.executable, *arguments])
    parts = json.loads(out.splitlines()[-1])
    parts["process start and end"] = seconds - sum(parts.values())
    return Timed(seconds, parts)


def _run(command: Sequence[str]) -> tuple[float, str]:
    begun = time.monotonic()
    ran = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **ENVIRONMENT}, check=False)
    seconds = time.monotonic() - begun
    if ran.returncode:
        sys.exit(f"exit code {ran.returncode} from {' '.join(command)}\n{(ran.stdout + ran.stderr)[-3000:]}")
    return seconds, ran.stdout


def _report(pair: str, runs: Sequence[tuple[Timed, Timed]], photos: int) -> dict[str, object]:
    ratios = [safe.seconds / plain.seconds for safe, plain in runs]
    print(f"\n{pair}, {photos} photos: median ratio {statistics.median(ratios):.2f} of {len(ratios)} run(s)")
    sides = {}
    for name, timed in (("safeconvert", [safe for safe, _ in runs]), ("plain", [plain for _, plain in runs])):
        total = statistics.median(run.seconds for run in timed)
        parts = {part: statistics.median(run.parts.get(part, 0.0) for run in timed) for part in timed[0].parts}
        sides[name] = {"seconds": [run.seconds for run in timed], "median": total, "parts": parts}
        print(f"  {name}: {total:.1f} s")
        for part, value in parts.items():
            print(f"    {part}: {value:.1f}")
    print(flush=True)
    return {"photos": photos, "ratios": ratios, "median": statistics.median(ratios), **sides}


if __name__ == "__main__":
    sys.exit(main())
