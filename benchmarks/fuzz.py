#!/usr/bin/env python3
"""Random models of 3 to 15 layers through safeconvert's own command line, and a judge that knows nothing of it.

    python -m benchmarks.fuzz --count 100 --seed 0 --results fuzz.jsonl [--pairs onnx2torch,keras2tflite] [--json]

Each seed draws a pair of formats and a model (ONNX, torch or Keras; a SavedModel or TFLite file comes of a Keras
model), runs ``safeconvert SRC2DST`` with 16 inputs, and gives what was handed over to a fresh process of each framework
alone, with other inputs and in other batches. A file of exit 0 that differs there is a wrong one. Seeds whose line
stands in the results are not run again: an interrupted run goes on where it stopped. Frameworks are imported once and
copied by fork for each model (see ``tests/support/zygote.py``).
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))

from benchmarks.fuzzing import judging  # noqa: E402
from benchmarks.fuzzing.drawing import Draw  # noqa: E402
from model_zoo import FORMATS  # noqa: E402
from model_zoo.making import SUFFIX  # noqa: E402
from tests.support.command import Done, safeconvert  # noqa: E402
from tests.support.warm_processes import PRELOADED, run_script, zygote  # noqa: E402

PAIRS = tuple(f"{a}2{b}" for a in FORMATS for b in FORMATS if a != b)
WORKER = {"onnx": "onnx_tflite", "torch": "torch", "keras": "tensorflow", "tf": "tensorflow", "tflite": "onnx_tflite"}
NETS = {"onnx": "onnx_nets", "torch": "torch_nets"}
AT_ONCE = 2
DRAW_SECONDS, JUDGE_SECONDS = 120.0, 120.0
VERDICTS = {0: "verified", 1: "diverged", 2: "bad input", 3: "failed", 4: "undecided"}
NUDGES = 3
Row = dict[str, Any]
Array = np.ndarray[Any, Any]


def main() -> int:
    args = _arguments()
    args.work.mkdir(parents=True, exist_ok=True)
    done = _read(args.results)
    wanted = [(seed, pair_of(seed, args.pairs)) for seed in range(args.seed, args.seed + args.count)]
    rows = [done[key] for key in wanted if key in done]
    seeds = [key[0] for key in wanted if key not in done]
    for framework in PRELOADED:  # before the threads, which would each start their own
        zygote(framework)
    with ThreadPoolExecutor(min(AT_ONCE, args.jobs)) as pool, args.results.open("a", encoding="utf-8") as file:
        running = [pool.submit(trial, seed, args) for seed in seeds]
        for finished in as_completed(running):
            row = finished.result()
            if row is None:
                continue
            rows.append(row)
            file.write(json.dumps(row) + "\n")
            file.flush()
            _progress(rows, args.count)
    print(file=sys.stderr)
    summary = summarise(rows)
    print(json.dumps(summary, indent=1) if args.json else shown(summary))
    return 1 if summary["wrong with exit 0"] or summary["unexpected or without a report"] else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100, help="models, from --seed on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pairs", type=lambda v: tuple(v.split(",")), default=PAIRS, metavar="A2B,...")
    parser.add_argument("--work", type=Path, default=Path("fuzz"), help="folder for models and results")
    parser.add_argument("--results", type=Path, metavar="FILE", help="JSON lines [default: results.jsonl in --work]")
    parser.add_argument("--limit", type=float, default=240.0, metavar="SECONDS", help="for one conversion")
    parser.add_argument("--limit-seconds", type=float, help="begin no model after so long")
    parser.add_argument("--jobs", type=int, default=AT_ONCE, help=f"models at a time, at most {AT_ONCE}")
    parser.add_argument("--keep", choices=("none", "suspect", "all"), default="suspect", help="models to keep")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    args = parser.parse_args()
    if unknown := [pair for pair in args.pairs if pair not in PAIRS]:
        parser.error(f"{unknown[0]!r} is none of {', '.join(PAIRS)}")
    args.work = args.work.resolve()
    args.results = (args.results or args.work / "results.jsonl").resolve()
    args.stop = None if args.limit_seconds is None else time.monotonic() + args.limit_seconds
    return args


def pair_of(seed: int, pairs: Sequence[str]) -> str:
    """The pair that the seed draws; one that stands there more than once is drawn more often."""
    return Draw(seed, 9).pick(pairs)


def _read(path: Path) -> dict[tuple[int, str], Row]:
    if not path.exists():
        return {}
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return {(row["seed"], row["pair"]): row for row in rows}


def trial(seed: int, args: argparse.Namespace) -> Row | None:
    """Draw a model, convert it and judge what came of it; None where there is no time left."""
    if args.stop is not None and time.monotonic() > args.stop:
        return None
    pair = pair_of(seed, args.pairs)
    row: Row = {"seed": seed, "pair": pair}
    folder = args.work / str(seed)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    begun = time.monotonic()
    try:
        row |= json.loads(_draw(seed, pair, folder).read_text())
    except (AssertionError, subprocess.TimeoutExpired) as error:
        return _kept(args, folder, {**row, "outcome": "not drawn", "message": _last_line(error)})
    row |= _converted(pair, folder, args.limit)
    row["seconds"] = round(time.monotonic() - begun, 1)
    return _kept(args, folder, row)


def _draw(seed: int, pair: str, folder: Path) -> Path:
    source = pair.split("2")[0]
    framework = "tensorflow" if source == "tflite" else WORKER[source]
    _run(framework, NETS.get(source, "keras_nets"), folder, [str(seed), str(folder), source], DRAW_SECONDS)
    return folder / "facts.json"


def _run(framework: str, module: str, folder: Path, arguments: Sequence[str], seconds: float) -> None:
    """Run a module of this benchmark in a fresh process that has the framework. AssertionError where it fails."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from benchmarks.fuzzing import {module} as m; m.main()"
    run_script(framework, code, folder, arguments, timeout=seconds)


def model_path(folder: Path, format_name: str, stem: str = "model") -> Path:
    return folder / f"{stem}{SUFFIX[format_name]}"


def _converted(pair: str, folder: Path, limit: float) -> Row:
    """Run the command, and judge the file of exit 0 or the one that was kept as unverified."""
    source, target = pair.split("2")
    final = model_path(folder, target, "target")
    try:
        done = safeconvert(
            pair, model_path(folder, source), "--inputs", folder / "inputs.npz", "-o", final, "--json",
            "--timeout", "90", "--repair-time", "40", "-v", folder=folder, timeout=limit,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"outcome": "time", "message": f"no end within {limit:g} s"}
    row = _facts(done)
    kept = final if done.code == 0 else final.with_name(f"{final.stem}.unverified{final.suffix}")
    if not kept.exists():
        return row
    try:
        row["differs"] = judge(folder, source, target, kept)
        row["batches"] = json.loads((folder / "target.failed.json").read_text())
        row["dtypes"] = judging.other_kinds(*_sides(folder))
    except ContradictionError as error:
        return row | {"outcome": "source contradicts itself", "judge": str(error)}
    except (AssertionError, subprocess.TimeoutExpired, OSError, ValueError) as error:
        row["differs"] = None
        row["judge"] = _last_line(error)
    if done.code == 0:
        row["outcome"] = "not judged" if row["differs"] is None else "wrong" if row["differs"] else "right"
    return row


def _facts(done: Done) -> Row:
    """What the command said: exit code, verdict, reasons; ``unexpected`` where it had no answer ready."""
    row: Row = {"exit_code": done.code, "outcome": VERDICTS.get(done.code, "died")}
    try:
        report = json.loads(done.out)
    except ValueError:
        row["message"] = done.err.strip()[-1500:]
        row["has_report"] = False
    else:
        row |= {"has_report": True, "reasons": report.get("reasons", []), "route": _route(report)}
        row["notes"] = report.get("notes", [])
    text = " ".join([row.get("message", ""), *row.get("reasons", [])])
    row["is_unexpected"] = "unexpected" in text or "the run stopped" in text or "Traceback" in text
    if row["is_unexpected"]:
        row["traceback"] = done.err[-3000:]
    return row


def _route(report: Row) -> list[str]:
    return [
        f"{hop['hop']} {hop['converter']} {hop['status']}: {(hop.get('message') or '')[:200]}"
        for hop in report.get("route", [])
    ]


def judge(folder: Path, source: str, target: str, path: Path) -> str:
    """How the Target differs from the Source on fresh inputs, in one batch and in others; "" where it agrees.

    Raises :class:`ContradictionError` where no Target can agree.
    """
    with np.load(folder / "fresh.npz") as stored:
        fresh = dict(stored)
    nudged = [f"nudged{number}" for number in range(NUDGES)]
    for number, name in enumerate(nudged):
        np.savez(folder / f"{name}.npz", **judging.nudge(fresh, number))
    sides = (("source", source, model_path(folder, source), ["fresh", *nudged]), ("target", target, path, ["fresh"]))
    for label, format_name, model, names in sides:
        _run(
            WORKER[format_name],
            "running",
            folder,
            [f"{format_name}:{label}", str(model), str(folder), *names],
            JUDGE_SECONDS,
        )
    moved = [_outputs(folder, f"{name}.source") for name in nudged]
    single = _outputs(folder, "fresh.source.single")
    if words := judging.difference(_outputs(folder, "fresh.source"), single, moved):
        raise ContradictionError(f"the Source, all rows at a time and one at a time: {words}")
    for suffix in ("", ".single", ".three"):
        if words := judging.difference(*_sides(folder, suffix), moved):
            return f"{suffix[1:] or 'whole'} batch: {words}"
    return ""


class ContradictionError(Exception):
    """The Source's answer to a row depends on the batch, so that no Target can agree with it."""


def _sides(folder: Path, suffix: str = "") -> tuple[list[Array], list[Array]]:
    """The outputs of Source and Target that :func:`judge` had them compute, both in the Source's order."""
    names = [json.loads((folder / f"{label}.json").read_text()) for label in ("source", "target")]
    target = judging.in_source_order(*names, _outputs(folder, f"fresh.target{suffix}"))
    return _outputs(folder, "fresh.source"), target


def _outputs(folder: Path, name: str) -> list[Array]:
    with np.load(folder / f"{name}.npz") as stored:
        return [stored[str(place)] for place in range(len(stored.files))]


def _kept(args: argparse.Namespace, folder: Path, row: Row) -> Row:
    is_suspect = row["outcome"] not in ("right", "not drawn") or row.get("is_unexpected", False)
    if args.keep == "none" or (args.keep == "suspect" and not is_suspect):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(folder.with_name(f"{folder.name}-tmp"), ignore_errors=True)
    return row


def _last_line(error: Exception) -> str:
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return lines[-1][:500] if lines else type(error).__name__


def summarise(rows: Sequence[Row]) -> Row:
    """The counts, and of the refused ones how many there are by exit code, by reason and by layer."""
    models = [row for row in rows if row["outcome"] != "not drawn"]
    refused = [
        row for row in models if row["outcome"] in ("diverged", "failed", "undecided", "bad input", "time", "died")
    ]
    return {
        "models": len(models),
        "not drawn": len(rows) - len(models),
        "the Source contradicts itself": [r["seed"] for r in models if r["outcome"] == "source contradicts itself"],
        "right": sum(row["outcome"] == "right" for row in models),
        "wrong with exit 0": [row["seed"] for row in models if row["outcome"] == "wrong"],
        "exit 0 and not judged": [row["seed"] for row in models if row["outcome"] == "not judged"],
        "another dtype without a note": [row["seed"] for row in models if is_silent_about_dtype(row)],
        "a batch that does not run without a note": [row["seed"] for row in models if is_silent_about_batch(row)],
        "unexpected or without a report": [row["seed"] for row in models if is_without_answer(row)],
        "refused": dict(Counter(row["outcome"] for row in refused).most_common()),
        "refused although the Target agrees": [r["seed"] for r in refused if r.get("differs") == ""],
        "pairs": {
            pair: _share([r for r in models if r["pair"] == pair]) for pair in sorted({r["pair"] for r in models})
        },
        "layers": _by_layer(models),
        "seconds": round(sum(row.get("seconds", 0.0) for row in models)),
    }


def is_without_answer(row: Row) -> bool:
    """Whether the run ended in an unexpected error, in no time, or without a report where it owed one."""
    owes_report = row["outcome"] not in ("bad input", "time", "not drawn")
    return bool(row.get("is_unexpected")) or (owes_report and not row.get("has_report", False))


def is_silent_about_dtype(row: Row) -> bool:
    """Whether a file was handed over that gives integers for floats, or the other way, and no note says so."""
    return bool(row.get("dtypes")) and row["exit_code"] == 0 and not any("in the Target and" in n for n in row["notes"])


def is_silent_about_batch(row: Row) -> bool:
    """Whether a file was handed over that does not run at a batch of 3 or 8, as the Source does, without a note."""
    fails = bool(row.get("batches")) and row["batch"] is None and row["exit_code"] == 0
    return fails and not any("batch" in note or "at a time" in note for note in row["notes"])


def _share(rows: Sequence[Row]) -> str:
    return f"{sum(row['outcome'] == 'right' for row in rows)}/{len(rows)}"


def _by_layer(models: Sequence[Row]) -> dict[str, str]:
    """How many of the models with a layer were handed over right; the layers with most refusals first."""
    layers = {layer for row in models for layer in row["layers"]}
    holding = {layer: [row for row in models if layer in row["layers"]] for layer in layers}
    refused = {layer: sum(row["outcome"] != "right" for row in rows) / len(rows) for layer, rows in holding.items()}
    return {layer: _share(holding[layer]) for layer in sorted(layers, key=lambda name: (-refused[name], name))}


def shown(summary: Row) -> str:
    return "\n".join(f"{key}: {value}" for key, value in summary.items())


def _progress(rows: Sequence[Row], count: int) -> None:
    counts = Counter(row["outcome"] for row in rows)
    width = 30 * len(rows) // max(1, count)
    bar = "#" * width + "." * (30 - width)
    words = ", ".join(f"{number} {name}" for name, number in counts.most_common())
    print(f"\r[{bar}] {len(rows)}/{count}: {words}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
