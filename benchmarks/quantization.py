"""What each quantisation of a real model costs, before and after mending, beside TFLiteConverter's own int8.

    python benchmarks/quantization.py MODEL --images PHOTOS --preprocess FILE.json [--budget 1] [--atol 1e-4]

Half of the photos calibrate, the other half are held out; every row is judged on the same held-out photos. Prints a
Markdown table and, below it, each step of the search.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safeconvert

COLUMNS = ("quantisation", "MB", "% of float", "calibration", "held-out", "95 % bound", "latency ratio")
HEADER = f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--preprocess", required=True)
    parser.add_argument("--budget", type=float, default=1.0, help="percent of held-out predictions that may differ")
    parser.add_argument("--atol", type=float, help="absolute tolerance of the float Target's values")
    parser.add_argument("--repair-time", type=float, default=300.0)
    arguments = parser.parse_args()
    options = {"images": arguments.images, "preprocess": arguments.preprocess, "repair_time": arguments.repair_time}
    options |= {} if arguments.atol is None else {"atol": arguments.atol}
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "model.tflite"
        mended = convert(arguments.model, output, max_discrepancy=arguments.budget, **options)
        kinds = convert(arguments.model, output, **options)
        converter = convert(arguments.model, output, quantizer="tflite-converter", **options)
        files = [path for path in (output, output.with_suffix(".unverified.tflite")) if path.exists()]
        size = files[-1].stat().st_size if files else 0
    print(f"load of the machine (1 minute): {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n\n{HEADER}")
    part = kinds["quantization"]
    for step in part["table"] or part["frontier"]:
        print(row(step))
    print(converter_row(converter, size, part["float"]["size"]))
    print(f"\nint8 within {arguments.budget} %: {mended['verdict']}\n\n{HEADER}")
    for step in mended["quantization"]["frontier"]:
        print(row(step))
    operators = mended["quantization"]["operators"]
    print(f"\nmultiplications in integers: {operators['integer_multiplications_percent']:.1f} %")


def convert(model: Path, output: Path, **options: Any) -> Mapping[str, Any]:
    """Convert to int8 with these options and return the report."""
    return safeconvert.convert(model, "tflite", output=output, quantize="int8", force=True, **options).report


def row(step: Mapping[str, Any]) -> str:
    heldout = step["heldout"] or {"percent": None, "upper_bound_95": None}
    shown = " (shipped)" if step["shipped"] else ""
    return (
        f"| {step['plan']}{shown} | {step['size'] / 1e6:.2f} | {100 * step['share_of_float']:.1f} "
        f"| {percent(step['calibration']['percent'])} | {percent(heldout['percent'])} "
        f"| {percent(heldout['upper_bound_95'])} | {step['latency_ratio']:.2f} |"
    )


def converter_row(report: Mapping[str, Any], size: int, float_size: int) -> str:
    after = report["check"]["after"]
    calibration, heldout = after["calibration"], after["heldout"]
    return (
        f"| TFLiteConverter int8 | {size / 1e6:.2f} | {100 * size / float_size:.1f} "
        f"| {percent(calibration['percent'])} "
        f"| {percent(heldout['percent'])} | {percent(heldout['upper_bound_95'])} | - |"
    )


def percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} %"


if __name__ == "__main__":
    main()
