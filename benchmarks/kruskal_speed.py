#!/usr/bin/env python3
"""The Kruskal-Wallis test of every convolution element of a real network, at once and by one SciPy call per element.

    python benchmarks/kruskal_speed.py --data DIR --work DIR

MobileNetV2 as ONNX beside a copy whose first convolution is scaled. The differences of the activations of
all convolutions, on photos, are put to ``repair/statistics/kruskal.py`` (all elements) and, one
``scipy.stats.kruskal`` call
each, to SciPy (a random sample of the same elements, in the same run). Both p-values are compared.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from safeconvert.repair.statistics import kruskal
from safeconvert.repair.statistics.row_runner import RowRunner
from scipy import stats

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))

import safeconvert  # noqa: E402
from benchmarks.faults.small_nets import batch  # noqa: E402
from model_zoo import NETWORKS, build, choose, link  # noqa: E402
from model_zoo.making import preprocess_file  # noqa: E402

SIDE, EACH = 224, 12
ELEMENTS = 1 << 20  # whose differences are held at once
Array = np.ndarray[Any, Any]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with models and photos")
    parser.add_argument("--work", type=Path, required=True, help="folder for the models made")
    parser.add_argument("--sample", type=int, default=2000, help="elements that SciPy tests one by one")
    args = parser.parse_args()
    print(json.dumps(measured(args.data.resolve(), args.work.resolve(), args.sample), indent=1))
    return 0


def measured(data: Path, work: Path, sample: int) -> dict[str, Any]:
    """Microseconds an element of both ways and their ratio, and how far the p-values of the sample are apart."""
    work.mkdir(parents=True, exist_ok=True)
    source, photos = right(data, work)
    target, names = scaled(source, work / "scaled.onnx")
    feeds = {onnx.load(source).graph.input[0].name: photos}
    models = RowRunner(str(source), feeds, 1), RowRunner(str(target), feeds, 1)
    # What the groups are does not change the time: every second photo is taken for similar.
    similar = np.arange(len(photos)) % 2 == 0
    everything = [np.arange(len(photos))]
    random = np.random.default_rng(0)
    elements, vectorised, calls, apart, tests = 0, 0.0, 0.0, 0.0, 0
    ps: list[Array] = []
    sizes = {name: value.size for name, value in next(models[0].each(names)).items()}
    total = sum(sizes.values())
    for group in grouped(names, sizes):
        rows = zip(models[0].each(group), models[1].each(group), strict=True)
        differences = np.stack([np.concatenate([(b[name] - a[name]).reshape(-1) for name in group]) for a, b in rows])
        begun = time.perf_counter()
        p, _ = kruskal.probabilities(differences, similar, everything)
        vectorised += time.perf_counter() - begun
        elements += differences.shape[1]
        ps.append(p)
        there = np.flatnonzero(~np.isnan(p))
        count = min(len(there), max(1, round(sample * differences.shape[1] / total)))
        drawn = random.choice(there, count, replace=False) if count else there
        columns = differences[:, drawn].T.astype(np.float64)
        begun = time.perf_counter()
        expected = [stats.kruskal(column[similar], column[~similar]).pvalue for column in columns]
        calls += time.perf_counter() - begun
        tests += len(expected)
        apart = max(apart, float(np.abs(np.asarray(expected) - p[drawn]).max(initial=0.0)))
    begun = time.perf_counter()
    flags = kruskal.significant(np.concatenate(ps))
    correction = time.perf_counter() - begun
    each = {"vectorised": (vectorised + correction) / elements * 1e6, "one_call_each": calls / max(1, tests) * 1e6}
    return {
        "convolutions": len(names),
        "elements": elements,
        "tested": int(sum((~np.isnan(p)).sum() for p in ps)),
        "photos": len(photos),
        "vectorised_seconds": round(vectorised, 2),
        "correction_seconds": round(correction, 2),
        "microseconds_an_element": {key: round(value, 3) for key, value in each.items()},
        "ratio": round(each["one_call_each"] / each["vectorised"], 1),
        "sample": tests,
        "largest_difference_of_p": apart,
        "significant": int(flags.sum()),
    }


def right(data: Path, work: Path) -> tuple[Path, Array]:
    """MobileNetV2 as ONNX, made once by a verified conversion, and photos as its input takes them."""
    network, path = NETWORKS["mobilenet_v2"], work / "mobilenet_v2.onnx"
    photos = link(choose(network, data, 2 * EACH), work / "photos")
    if not path.exists():
        built = build(network, "keras", data, work / "zoo")
        preprocess = preprocess_file(network, work / "zoo")
        options = {"images": photos, "preprocess": str(preprocess), "force": True}
        result = safeconvert.convert(built.path, "onnx", output=path, **options)
        if result.target is None:
            raise SystemExit(f"no ONNX model to measure: {result.verdict.value}: {'; '.join(result.reasons)}")
    arrays = batch(photos, network.preprocess, SIDE, SIDE)
    shape = [d.dim_value for d in onnx.load(path).graph.input[0].type.tensor_type.shape.dim]
    return path, arrays if shape[3] == 3 else np.ascontiguousarray(arrays.transpose(0, 3, 1, 2))


def scaled(source: Path, target: Path) -> tuple[Path, list[str]]:
    """A copy with the first convolution scaled, so that every element differs; the outputs of all convolutions."""
    model = onnx.load(source)
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == convolutions[0].input[1])
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(1.3), weight.name))
    onnx.save(model, target)
    return target, [node.output[0] for node in convolutions]


def grouped(names: list[str], sizes: dict[str, int]) -> list[list[str]]:
    groups: list[list[str]] = [[]]
    for name in names:
        if groups[-1] and sum(sizes[member] for member in groups[-1]) + sizes[name] > ELEMENTS:
            groups.append([])
        groups[-1].append(name)
    return groups


if __name__ == "__main__":
    sys.exit(main())
