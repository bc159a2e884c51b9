#!/usr/bin/env python3
"""TVM against onnxruntime on every network of the model zoo as ONNX: outputs, layers, and what it costs.

    python benchmarks/tvm_check.py --data DIR --cache DIR [--models mobilenet_v2 ...] [--photos 2] [--json FILE]

Each model is run once in TVM (``--engine tvm``: no operator fusion, nothing tuned) and held against onnxruntime on the
same photos, tensor by tensor. Seconds are ratios: TVM's compiling to onnxruntime's loading, TVM's run to onnxruntime's
(as it is used for verdicts, optimised; best of three).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))

from model_zoo import NETWORKS, Network, build, choose, link  # noqa: E402
from model_zoo.making import preprocess_file  # noqa: E402
from safeconvert import Options  # noqa: E402
from safeconvert.checking import tvm_check  # noqa: E402
from safeconvert.checking.evaluation_set import EvaluationSet  # noqa: E402
from safeconvert.models import loader  # noqa: E402
from safeconvert.models.detect import detect  # noqa: E402
from safeconvert.options import Silent  # noqa: E402
from safeconvert.workers.pool import WorkerPool  # noqa: E402
from safeconvert.workers.runtime_functions import FORGET  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with models and photos")
    parser.add_argument("--cache", type=Path, required=True, help="folder for the models made")
    parser.add_argument("--models", nargs="+", choices=list(NETWORKS), default=list(NETWORKS), metavar="MODEL")
    parser.add_argument("--photos", type=int, default=2, help="passed through both at once")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    tvm_check.require("tvm")
    rows = []
    for model in args.models:
        rows.append(measured(NETWORKS[model], args.data.resolve(), args.cache.resolve(), args.photos))
        print(json.dumps(rows[-1]), flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return 0 if all(row["compared"] for row in rows) else 1


def measured(network: Network, data: Path, cache: Path, photos: int) -> dict[str, Any]:
    """Both runtimes on the same photos."""
    built = build(network, "onnx", data, cache)
    images = link(choose(network, data, 2 * photos), cache / f"engines-{network.name}-{photos}")
    options = Options.of({"images": images, "preprocess": str(preprocess_file(network, cache)), "engine": "tvm"})
    with WorkerPool() as workers, ThreadPoolExecutor(1) as pool:
        side = loader.model_of(workers, "source", detect(built.path), options)
        FORGET(side.start(), None, path="")  # the process is up, its imports are done
        begun = time.monotonic()
        loader.load(side)
        loaded = time.monotonic() - begun
        shapes = loader.resolve_shapes(built.path, side.signature, options)
        evaluation_set = EvaluationSet(workers, side, shapes, options, pool, Silent())
        arrays = evaluation_set.inputs.read(range(photos))
        times = []
        for _ in range(3):
            begun = time.monotonic()
            side.run(arrays)
            times.append(time.monotonic() - begun)
        opinion = tvm_check.ask(workers, "source", Path(side.location), arrays, options.tolerance, options.timeout)
        evaluation_set.source_outputs.close()
    first = opinion.first
    return {
        "model": network.name,
        "photos": photos,
        "agrees": opinion.agrees,
        "compared": opinion.compared,
        "max_abs": opinion.max_abs,
        "first_differing_node": None if first is None else first.node,
        "message": opinion.message,
        "compile_to_load": _ratio(opinion.seconds.get("compile"), loaded),
        "run_to_run": _ratio(opinion.seconds.get("run"), min(times)),
    }


def _ratio(first: float | None, other: float) -> float | None:
    return None if first is None else round(first / other, 1)


if __name__ == "__main__":
    sys.exit(main())
