#!/usr/bin/env python3
"""Architectures that people convert, from PyTorch and Keras to the other formats, each judged by an independent run.

    python benchmarks/architectures.py --work DIR --markdown docs/architectures.md

Each Source has seeded weights and is built in a process of its own (``architecture_sources``); PyTorch Sources need
timm, torchvision and transformers, which ``--packages DIR`` may add for that process alone. The command line converts
it, with a few random inputs. What it wrote is then run in its own framework, in a fresh process without safeconvert, on
other random inputs, and compared with the Source run likewise. Peak memory is that of all processes of the command.

What is done stands in ``architectures.jsonl`` in the work folder and is not done again: an interrupted run goes on
where it stopped; remove a line to do it again.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))

from benchmarks.architecture_sources.inputs import arrays, read  # noqa: E402

HERE = Path(__file__).resolve().parent / "architecture_sources"
SUFFIX = {"torch": ".pt2", "keras": ".keras", "onnx": ".onnx", "tflite": ".tflite"}
TARGETS = {"torch": ("tflite", "keras", "onnx"), "keras": ("torch", "onnx", "tflite")}
VERDICTS = {0: "verified", 1: "diverged", 2: "bad input", 3: "failed", 4: "undecided"}
GIVEN, GIVEN_SEED = 8, 1  # inputs that the command gets
FRESH, FRESH_SEED = 8, 2  # inputs that the Target is judged on
TOLERANCE = 1e-3  # of the largest absolute value of an output
ENVIRONMENT = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", "KERAS_BACKEND": "tensorflow"}
Row = dict[str, Any]


def sources() -> dict[str, str]:
    """Return the format of each Source by its name, in the order of the lists; no framework is imported for that."""
    import ast

    sources_by_name = {}
    for format in TARGETS:
        tree = ast.parse((HERE / f"{format}_nets.py").read_text(encoding="utf-8"))
        assigned = [n for n in tree.body if isinstance(n, ast.AnnAssign) and ast.unparse(n.target) == "NETS"]
        assert isinstance(assigned[0].value, ast.Dict)
        sources_by_name |= {ast.literal_eval(key): format for key in assigned[0].value.keys if key is not None}
    return sources_by_name


def main() -> int:
    args = _arguments()
    args.work.mkdir(parents=True, exist_ok=True)
    record = args.work / "architectures.jsonl"
    done = _read(record)
    wanted = [(name, target) for name in args.models for target in TARGETS[args.known[name]] if target in args.targets]
    for name, target in wanted:
        if (name, target) not in done:
            done[name, target] = row = measure(name, args.known[name], target, args)
            with record.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            print(f"{name} to {target}: {row['verdict']}, {row.get('judged', '-')}", file=sys.stderr, flush=True)
        _write(list(done.values()), args)
    return 0


def _arguments() -> argparse.Namespace:
    known = sources()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for results and for the models made")
    parser.add_argument("--packages", type=Path, help="folder with packages that building the Sources needs")
    parser.add_argument("--models", nargs="+", choices=list(known), default=list(known), metavar="MODEL")
    parser.add_argument("--targets", nargs="+", choices=list(SUFFIX), default=list(SUFFIX), metavar="FORMAT")
    parser.add_argument("--limit", type=float, default=1200.0, metavar="SECONDS", help="for one conversion")
    parser.add_argument("--keep", action="store_true", help="keep the Targets, not only their reports")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    args = parser.parse_args()
    args.work, args.known = args.work.resolve(), known
    return args


def _read(path: Path) -> dict[tuple[str, str], Row]:
    if not path.exists():
        return {}
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return {(row["model"], row["target"]): row for row in rows}


def measure(name: str, source: str, target: str, args: argparse.Namespace) -> Row:
    """Build the Source if it is not there, convert it, and judge the Target."""
    row: Row = {"model": name, "source": source, "target": target}
    folder = args.work / name
    if (problem := _build(name, source, folder, args.packages)) is not None:
        return {**row, "verdict": "no source", "message": problem}
    model, output = folder / f"model{SUFFIX[source]}", folder / target / f"converted{SUFFIX[target]}"
    shutil.rmtree(output.parent, ignore_errors=True)
    output.parent.mkdir()
    command = [
        sys.executable, "-m", "safeconvert", f"{source}2{target}", str(model), "--inputs", str(folder / "given.npz"),
        "-o", str(output), "--json", "-q",
    ]  # fmt: skip
    code, out, err, seconds, memory = _timed(command, args.limit)
    row |= {"seconds": round(seconds, 1), "memory_gib": round(memory / 2**30, 2), **_facts(code, out, err)}
    if code == 0:
        row |= judge(model, output, folder)
    if not args.keep:
        output.unlink(missing_ok=True)
    return row


def _build(name: str, source: str, folder: Path, packages: Path | None) -> str | None:
    """Write the Source and its inputs into the folder; return why that failed, or None."""
    if (folder / "fresh.npz").exists():
        return None
    folder.mkdir(parents=True, exist_ok=True)
    more = {} if packages is None else {"PYTHONPATH": str(packages)}
    command = [sys.executable, str(HERE / f"{source}_nets.py"), name, str(folder)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **ENVIRONMENT, **more}
    )
    if done.returncode:
        return done.stderr.strip()[-500:]
    inputs = read(folder / "inputs.json")
    for file, count, seed in (("given.npz", GIVEN, GIVEN_SEED), ("fresh.npz", FRESH, FRESH_SEED)):
        np.savez(folder / file, **arrays(inputs, count, seed))
    return None


def _timed(command: Sequence[str], limit: float) -> tuple[int, str, str, float, int]:
    """Run the command; return its exit code, what it printed, its seconds and the peak memory of all its processes."""
    begun = time.monotonic()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **ENVIRONMENT}
    )
    peak = [0]
    watcher = threading.Thread(target=_watch, args=(process, peak))
    watcher.start()
    try:
        out, err = process.communicate(timeout=limit)
        code = process.returncode
    except subprocess.TimeoutExpired:
        process.terminate()
        process.communicate()
        code, out, err = -1, "", f"stopped after {limit:g} s"
    watcher.join()
    return code, out, err, time.monotonic() - begun, peak[0]


def _watch(process: subprocess.Popen[str], peak: list[int]) -> None:
    """Note the largest sum of resident bytes of the process and all that it started, until it ends."""
    root = psutil.Process(process.pid)
    while process.poll() is None:
        used = 0
        try:
            for member in (root, *root.children(recursive=True)):
                used += _resident(member)
        except psutil.Error:
            pass
        peak[0] = max(peak[0], used)
        time.sleep(0.2)


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def _facts(code: int, out: str, err: str) -> Row:
    """What the table needs of a report; where there is none, the end of standard error."""
    try:
        report = json.loads(out)
    except ValueError:
        return {"verdict": VERDICTS.get(code, "died") + ", no report", "message": err.strip()[-1000:]}
    if (report["verdict"] in ("verified", "repaired")) != (code == 0):
        return {"verdict": f"exit {code} with {report['verdict']}", "message": err.strip()[-1000:]}
    return {
        "verdict": report["verdict"],
        "reasons": report["reasons"],
        "notes": report["notes"],
        "route": [step for step in report["route"] if step["used"]],
        "abandoned": [step for step in report["route"] if not step["used"]],
        "timings": report["timings"],
    }


def judge(source: Path, target: Path, folder: Path) -> Row:
    """Compare the Target with the Source on inputs that the command has not seen, each run in its own framework."""
    outputs = []
    for model in (source, target):
        written = folder / f"{model.parent.name}-{model.stem}-outputs.npz"
        command = [sys.executable, str(HERE / "run_alone.py"), str(model), str(folder / "fresh.npz"), str(written)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **ENVIRONMENT})
        if done.returncode:
            return {"judged": "wrong", "judgement": f"{model.name} does not run: {done.stderr.strip()[-300:]}"}
        with np.load(written) as file:
            outputs.append({name: file[name] for name in file.files})
    return compare(*outputs)


def compare(source: Mapping[str, np.ndarray[Any, Any]], target: Mapping[str, np.ndarray[Any, Any]]) -> Row:
    """Return "right" or "wrong", with the largest error as a share of the output's largest absolute value."""
    names, others = [list(map(str, side["names"])) for side in (source, target)]
    count = len(source) - 1
    if len(target) - 1 != count:
        return {"judged": "wrong", "judgement": f"{len(target) - 1} outputs instead of {count}"}
    places = [others.index(name) for name in names] if names and set(names) == set(others) else range(count)
    worst = 0.0
    for index, place in enumerate(places):
        left, right = source[str(index)].astype("float64"), target[str(place)].astype("float64")
        if left.shape != right.shape:
            return {"judged": "wrong", "judgement": f"shape {right.shape} instead of {left.shape}"}
        error = float(np.abs(left - right).max() / (np.abs(left).max() or 1.0))
        worst = max(worst, error if np.isfinite(error) else float("inf"))
    return {"judged": "right" if worst <= TOLERANCE else "wrong", "error": worst}


def _cells(row: Row) -> tuple[str, ...]:
    error = row.get("error")
    return (
        row["model"],
        f"{row['source']} to {row['target']}",
        row["verdict"],
        row.get("judged", "-"),
        "-" if error is None else f"{error:.1e}",
        f"{row['seconds']:.0f}" if "seconds" in row else "-",
        f"{row['memory_gib']:.1f}" if "memory_gib" in row else "-",
        ", ".join(_step(step) for step in row.get("route", [])) or "-",
        _abandoned(row.get("abandoned", [])),
    )


def _step(step: Row) -> str:
    return step["converter"] + (f" ({step['form']} form)" if step["form"] else "")


def _abandoned(steps: Sequence[Row]) -> str:
    """How often a try of a converter ended in what; environments that are not installed are left out."""
    counts = Counter(
        f"{step['converter']} {'unneeded' if step['status'] == 'ok' else step['status']}"
        for step in steps
        if step["status"] != "refused"
    )
    return ", ".join(f"{what} x{times}" if times > 1 else what for what, times in counts.items()) or "-"


HEADS = ("model", "pair", "verdict", "judged", "error", "seconds", "GiB", "route", "abandoned")


def summary(rows: Sequence[Row]) -> list[str]:
    """Return, for each pair of formats, how many Sources were run, verified and judged right."""
    lines = []
    for pair in dict.fromkeys((row["source"], row["target"]) for row in rows):
        own = [row for row in rows if (row["source"], row["target"]) == pair and row["verdict"] != "no source"]
        good = [row for row in own if row["verdict"] in ("verified", "repaired")]
        wrong = sum(row.get("judged") == "wrong" for row in good)
        lines.append(
            f"- {pair[0]} to {pair[1]}: {len(own)} run, {len(good)} verified or repaired, {wrong} of these wrong"
        )
    return lines


def _write(rows: Sequence[Row], args: argparse.Namespace) -> None:
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    if not args.markdown:
        return
    measured = {(row["model"], row["target"]) for row in rows}
    missing = [
        f"{name} to {target}"
        for name, source in args.known.items()
        for target in TARGETS[source]
        if (name, target) not in measured
    ]
    table = ["| " + " | ".join(HEADS) + " |", "|" + "---|" * len(HEADS)]
    table += ["| " + " | ".join(_cells(row)) + " |" for row in rows]
    text = [
        "# Architectures",
        "",
        f"`benchmarks/architectures.py`: Sources with seeded weights, converted by the command line with {GIVEN} "
        f"random inputs. `judged`: Source and Target run in fresh processes on {FRESH} other inputs; right is an error "
        f"of at most {TOLERANCE:g} of an output's largest absolute value, which is the unit of `error`. Seconds and "
        "GiB (peak of all processes) are of the whole command, on two cores that other work shared.",
        "",
        *summary(rows),
        "",
        *table,
        "",
        f"Not run: {', '.join(missing) or 'nothing'}.",
    ]
    args.markdown.write_text("\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
