#!/usr/bin/env python3
"""What it costs to find and to mend one wrong layer: time against passes of both models, and memory of all processes.

    python benchmarks/localisation.py --data DIR --work DIR

For each model: the Source in Keras or PyTorch, a right Target made of it, the weights of one layer in its middle
scaled, and ``safeconvert repair`` on photos. Seconds of localisation (``timings.localise`` of the report) stand
beside the seconds of 40 passes of both models over 16 photos, each in its own runtime; memory is the largest sum of
the resident sets of the command and all its children, sampled every tenth of a second.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import psutil
from onnx import numpy_helper

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))

import safeconvert  # noqa: E402
from model_zoo import NETWORKS, build, choose, link  # noqa: E402
from model_zoo.making import preprocess_file  # noqa: E402
from safeconvert import Options  # noqa: E402
from safeconvert.checking.evaluation_set import EvaluationSet  # noqa: E402
from safeconvert.models import loader  # noqa: E402
from safeconvert.models.detect import detect  # noqa: E402
from safeconvert.models.input_mapping import apply_mapping, map_inputs  # noqa: E402
from safeconvert.options import Silent  # noqa: E402
from safeconvert.workers.pool import WorkerPool  # noqa: E402

PASSES, PHOTOS = 40, 16


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with models and photos")
    parser.add_argument("--work", type=Path, required=True, help="folder for the models made")
    parser.add_argument("--models", nargs="+", choices=list(NETWORKS), default=["mobilenet_v2", "resnet101"])
    parser.add_argument("--photos", type=int, default=40)
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    args.data, args.work = args.data.resolve(), args.work.resolve()
    rows = [measured(model, args) for model in args.models]
    for row in rows:
        print(json.dumps(row))
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return 0


def measured(model: str, args: argparse.Namespace) -> dict[str, Any]:
    network, cache = NETWORKS[model], args.work / "models"
    source = build(network, "keras", args.data, cache)
    right = args.work / f"{model}-right.onnx"
    if not right.exists():
        safeconvert.convert(source.path, "onnx", output=right)
    images = link(choose(network, args.data, args.photos), args.work / f"{model}-photos")
    shared = ["--images", str(images), "--preprocess", str(preprocess_file(network, cache))]
    wrong, fixed = args.work / f"{model}-wrong.onnx", args.work / f"{model}-fixed.onnx"
    node = damage(right, wrong)
    passes = passed(source.path, right, images, preprocess_file(network, cache))
    command = [sys.executable, "-m", "safeconvert", "repair", str(source.path), str(wrong), "-o", str(fixed), "--force"]
    done, peak, seconds = watched([*command, *shared, "--json"])
    report = json.loads(done)
    return {
        "model": model,
        "node": node,
        "verdict": report["verdict"],
        "named": [fault["target_node"] for fault in report["faults"]],
        "localise_seconds": report["timings"]["localise"],
        f"seconds_of_{PASSES}_passes": round(passes * PASSES, 1),
        "share": round(report["timings"]["localise"] / (passes * PASSES), 3),
        "model_runs": report["localisation"]["model_runs"],
        "whole_seconds": round(seconds, 1),
        "peak_gib": round(peak / 2**30, 2),
    }


def damage(right: Path, wrong: Path) -> str:
    """Scale the weights of the convolution in the middle; gives the node's name."""
    model = onnx.load(right)
    constants = {t.name: t for t in model.graph.initializer}
    layers = [n for n in model.graph.node if n.op_type == "Conv" and n.input[1] in constants]
    node = layers[len(layers) // 2]
    tensor = constants[node.input[1]]
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1.5), tensor.name))
    onnx.save(model, wrong)
    return str(node.name)


def passed(source: Path, target: Path, images: Path, preprocess: Path) -> float:
    """Seconds of one pass of both models over the photos, each in its own runtime, one after the other."""
    options = Options.of({"images": images, "preprocess": str(preprocess)})
    with WorkerPool() as workers, ThreadPoolExecutor(1) as pool:
        model = loader.model_of(workers, "source", detect(source), options)
        other = loader.model_of(workers, "target", detect(target), options)
        loader.load(model)
        loader.load(other)
        shapes = loader.resolve_shapes(source, model.signature, options)
        arrays = EvaluationSet(workers, model, shapes, options, pool, Silent()).inputs.read(range(PHOTOS))
        mapping = map_inputs(model.signature, shapes, other.signature)
        assert isinstance(mapping, tuple)
        target_arrays = apply_mapping(mapping, arrays)
        times = []
        for _ in range(4):
            begun = time.monotonic()
            model.run(arrays)
            other.run(target_arrays)
            times.append(time.monotonic() - begun)
    return min(times[1:])


def watched(command: list[str]) -> tuple[str, int, float]:
    """Output, peak of the resident memory of the process and all below it in bytes, seconds."""
    begun, peak = time.monotonic(), 0
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    root = psutil.Process(process.pid)
    stop = threading.Event()

    def look() -> None:
        nonlocal peak
        while not stop.wait(0.1):
            try:
                every = [root, *root.children(recursive=True)]
                peak = max(peak, sum(process.memory_info().rss for process in every if process.is_running()))
            except psutil.Error:
                continue

    thread = threading.Thread(target=look)
    thread.start()
    out, _ = process.communicate()
    stop.set()
    thread.join()
    return out, peak, time.monotonic() - begun


if __name__ == "__main__":
    sys.exit(main())
