#!/usr/bin/env python3
"""``safeconvert check`` on healthy and mutated Targets of detectors, segmenters, multi-head and sequence models.

    python -m benchmarks.mutants --work DIR [--seed 0] [--per-target 2] [--markdown FILE]

Seven models with seeded weights: torchvision's SSDLite and DeepLabV3, a YOLO-like head, a U-Net, a multi-head model, a
token classifier and a model of two inputs. Each is written in the formats that its framework writes, float and int8,
healthy and with seeded mutations (a weight tensor scaled, one channel's bias moved, channels or axes swapped, padding
moved, an activation removed, a mask dropped, outputs swapped) that move the outputs by more than rounding. The healthy
must be ``verified``, the mutants ``diverged``. What stands in ``DIR/results.jsonl`` is not run again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))

from model_zoo.making import SUFFIX  # noqa: E402
from tests.support.command import safeconvert  # noqa: E402
from tests.support.warm_processes import PRELOADED, run_script, zygote  # noqa: E402

KERAS = ("U-Net", "YOLO-like head", "multi-head", "token classifier", "two inputs")
FORMATS = {
    **dict.fromkeys(KERAS, ("keras", "tf", "tflite", "tflite-int8", "onnx")),
    **dict.fromkeys(("SSDLite", "DeepLabV3"), ("torch", "onnx", "onnx-int8")),
}
INT8_ARGUMENTS = ("--max-discrepancy", "10")  # seeded weights leave near-ties, which rounding decides
AT_ONCE = 2
CHECK_SECONDS, BUILD_SECONDS = 300.0, 900.0
Row = dict[str, Any]


def main() -> int:
    args = _arguments()
    args.work.mkdir(parents=True, exist_ok=True)
    results = args.work / "results.jsonl"
    rows = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    done = {(row["model"], row["format"], row["seed"]) for row in rows}
    for framework in PRELOADED:  # before the threads, which would each start their own
        zygote(framework)
    with ThreadPoolExecutor(AT_ONCE) as pool, results.open("a", encoding="utf-8") as file:
        for name in args.models:
            todo = [trial for trial in trials(name, args) if (name, *trial) not in done]
            if not todo:
                continue
            failed = build(name, [(0, source_format(name)), *((seed, form) for form, seed in todo)], args.work)
            checks = pool.map(lambda trial, name=name, failed=failed: check(name, *trial, args.work, failed), todo)
            for row in checks:
                rows.append(row)
                file.write(json.dumps(row) + "\n")
                file.flush()
                words = f"{row['model']} {row['format']} {row['mutation'] or 'healthy'}: {row['verdict']}"
                print(f"{len(rows)}: {words}", file=sys.stderr, flush=True)
    text = table(rows)
    print(text)
    if args.markdown:
        args.markdown.write_text(text + "\n", encoding="utf-8")
    return 0 if all(map(is_told, rows)) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for models and results")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--per-target", type=int, default=2, help="mutants of each model and format")
    parser.add_argument("--models", type=lambda v: v.split(","), default=list(FORMATS), metavar="A,B")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    args = parser.parse_args()
    if unknown := [name for name in args.models if name not in FORMATS]:
        parser.error(f"{unknown[0]!r} is none of {', '.join(FORMATS)}")
    args.work = args.work.resolve()
    return args


def source_format(name: str) -> str:
    return FORMATS[name][0]


def trials(name: str, args: argparse.Namespace) -> Iterator[tuple[str, int]]:
    """Format and seed of each Target; seed 0 is the healthy one. No two formats have the same mutants."""
    for place, format_name in enumerate(FORMATS[name]):
        yield format_name, 0
        for number in range(args.per_target):
            yield format_name, args.seed * 1000 + place * args.per_target + number + 1


def folder_of(work: Path, name: str, format_name: str, seed: int) -> Path:
    return work / name.replace(" ", "-") / f"{format_name}-{seed}"


def model_in(folder: Path, format_name: str) -> Path:
    return folder / f"model{SUFFIX[format_name.removesuffix('-int8')]}"


def build(name: str, wanted: Sequence[tuple[int, str]], work: Path) -> str:
    """Write the models in a fresh process of their framework; return why where that failed, else ""."""
    framework, module = ("tensorflow", "keras_models") if name in KERAS else ("torch", "torch_models")
    arguments = [name]
    for seed, format_name in wanted:
        folder = folder_of(work, name, format_name, seed)
        if model_in(folder, format_name).exists():
            continue
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        arguments.append(f"{seed}:{format_name}:{folder}")
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from benchmarks.mutating import {module} as m; m.main()"
    try:
        run_script(framework, code, work, arguments, timeout=BUILD_SECONDS)
    except (AssertionError, subprocess.TimeoutExpired) as error:
        return str(error).strip()[-500:]
    return ""


def check(name: str, format_name: str, seed: int, work: Path, failed: str) -> Row:
    """Run ``safeconvert check SOURCE TARGET`` and keep what it said."""
    source = folder_of(work, name, source_format(name), 0)
    folder = folder_of(work, name, format_name, seed)
    row: Row = {"model": name, "format": format_name, "seed": seed, "mutation": None, "place": "", "change": 0.0}
    target = model_in(folder, format_name)
    if not target.exists() or not (folder / "mutation.json").exists():
        return row | {"mutation": "?" if seed else None, "verdict": "not built", "reasons": [failed], "seconds": 0}
    if mutation := json.loads((folder / "mutation.json").read_text()):
        row |= {"mutation": mutation["kind"], "place": mutation["place"], "change": round(mutation["change"], 3)}
    begun = time.monotonic()
    try:
        done = safeconvert(
            "check", model_in(source, source_format(name)), target, "--inputs", source / "inputs.npz", "--json",
            *(INT8_ARGUMENTS if format_name.endswith("int8") else ()), folder=folder, timeout=CHECK_SECONDS,
        )  # fmt: skip
        report = json.loads(done.out)
        row |= {"verdict": report["verdict"], "reasons": report["reasons"][:4]}
    except subprocess.TimeoutExpired:
        row |= {"verdict": "time", "reasons": []}
    except ValueError:
        row |= {"verdict": "no report", "reasons": [done.err[-800:]]}
    shutil.rmtree(folder.with_name(f"{folder.name}-tmp"), ignore_errors=True)
    return row | {"seconds": round(time.monotonic() - begun, 1)}


def is_told(row: Row) -> bool:
    """Whether the verdict is the one that the Target deserves."""
    return bool(row["verdict"] == ("verified" if row["mutation"] is None else "diverged"))


def table(rows: Sequence[Row]) -> str:
    """A line for each model: healthy Targets verified and mutants caught, float and int8."""
    lines = [
        "| model | Targets | healthy, float | healthy, int8 | mutants, float | mutants, int8 |",
        "|---|---|---|---|---|---|",
    ]
    names = [name for name in FORMATS if any(row["model"] == name for row in rows)]
    for name in [*names, ""]:
        held = [row for row in rows if name in (row["model"], "")]
        cells = [
            _share(
                [
                    r
                    for r in held
                    if (r["mutation"] is not None) == mutated and r["format"].endswith("int8") == quantized
                ]
            )
            for mutated in (False, True)
            for quantized in (False, True)
        ]
        lines.append(f"| {name or 'all'} | {', '.join(FORMATS[name]) if name else ''} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _share(rows: Sequence[Row]) -> str:
    return f"{sum(map(is_told, rows))}/{len(rows)}"


if __name__ == "__main__":
    sys.exit(main())
