#!/usr/bin/env python3
"""FetaFix's own localisation (arXiv 2312.15101, written from the paper's description), to compare ours with.

    python benchmarks/kruskal_ranking.py SOURCE.onnx TARGET.onnx IMAGES.npz

IMAGES.npz holds one array, NCHW or NHWC, batch first. Layers of the two graphs are matched by type and weights. For
each image the difference of each matched layer's activations is taken; the images whose labels agree and those whose
labels differ are two samples, and each activation element is put to a Kruskal-Wallis test of them. Layers are ranked
by their share of significant elements, and in this order the Source's weights are tried. The test is the product's own
(``repair/statistics/kruskal.py``), with one sampling and no correction for many tests, as in the paper.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safeconvert.repair.statistics import kruskal

ROOT = Path(__file__).resolve().parents[1]
LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization", "PRelu")
LEVEL = 0.05  # of each element, uncorrected, as the paper has it
CLOSE = 0.2  # weights nearer than this are the same layer's
IMAGES = 24
SUSPECTS = 20  # whose weights are tried
Array = np.ndarray[Any, Any]
Model = Any


def matched(source: Model, target: Model) -> list[tuple[str, str, str]]:
    """(source tensor, target tensor, target node) of each layer of the Target, with the first Source layer of its type
    whose weights are of one shape and within 0.2; where none is, with the one at the same place among its type."""
    source_layers, target_layers = _layers(source), _layers(target)
    pairs = []
    for at, (type_, name, tensor, weights) in enumerate(target_layers):
        same = [layer for layer in source_layers if layer[0] == type_ and layer[3].shape == weights.shape]
        near = [layer for layer in same if not weights.size or float(np.abs(layer[3] - weights).max()) <= CLOSE]
        place = sum(layer[0] == type_ and layer[3].shape == weights.shape for layer in target_layers[:at])
        if near or place < len(same):
            pairs.append(((near[0] if near else same[place])[2], tensor, name))
    return pairs


def _layers(model: Model) -> list[tuple[str, str, str, Array]]:
    from onnx import numpy_helper

    held = {tensor.name: tensor for tensor in model.graph.initializer}
    layers = []
    for node in model.graph.node:
        if node.op_type in LAYERS:
            own = [numpy_helper.to_array(held[name]) for name in node.input[1:2] if name in held]
            layers.append((node.op_type, node.name or node.output[0], node.output[0], own[0] if own else np.zeros(0)))
    return layers


def rank(source: str, target: str, images: Array) -> list[tuple[str, float]]:
    """Target layers, most suspicious first, with their share of significant elements.

    Raises ValueError where all labels agree or all differ: there is nothing to compare then.
    """
    import onnx

    models = onnx.load(source), onnx.load(target)
    pairs = matched(*models)
    agree = _labels(models[0], images) == _labels(models[1], images)
    half = IMAGES // 2
    chosen = np.concatenate([np.flatnonzero(agree)[:half], np.flatnonzero(~agree)[:half]])
    similar = agree[chosen]
    if similar.all() or not similar.any():
        raise ValueError("needs images whose labels agree and images whose labels differ")
    scores = []
    for source_tensor, target_tensor, name in pairs:
        a, b = _run(models[0], images[chosen], [source_tensor])[0], _run(models[1], images[chosen], [target_tensor])[0]
        if a.shape == b.shape:
            p, _ = kruskal.probabilities((a - b).reshape(len(chosen), -1), similar, [np.arange(len(chosen))])
            scores.append((name, float((p < LEVEL).mean())))  # NaN, where all differences are equal, is none
    return sorted(scores, key=lambda score: -score[1])


def _run(model: Model, images: Array, tensors: Sequence[str]) -> list[Array]:
    """Values of tensors of the graph, one image at a time, the graph cut behind them."""
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.value_info[:]
    del copy.graph.output[:]
    copy.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in tensors)
    session = onnxruntime.InferenceSession(copy.SerializeToString(), options, providers=["CPUExecutionProvider"])
    model_input = session.get_inputs()[0]
    batches = [image[None] for image in _laid_out(images, model_input.shape)]
    rows = [session.run(list(tensors), {model_input.name: image}) for image in batches]
    return [np.concatenate(column) for column in zip(*rows, strict=True)]


def _laid_out(images: Array, shape: Sequence[Any]) -> Array:
    """NHWC images as NCHW where the graph's input says so."""
    first = shape[1] in (1, 3) and shape[3] not in (1, 3)
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2) if first and images.shape[3] in (1, 3) else images)


def repaired_greedily(source: str, target: str, images: Array, suspects: Sequence[str]) -> dict[str, Any]:
    """The paper's repair of weights: for each suspect in order the Source's weights and biases are copied over the
    Target's, and kept where fewer labels differ than before."""
    import onnx

    models = onnx.load(source), onnx.load(target)
    nodes = [{node.output[0]: node for node in model.graph.node} for model in models]
    held = [{tensor.name: tensor for tensor in model.graph.initializer} for model in models]
    origin = {name: (source_tensor, target_tensor) for source_tensor, target_tensor, name in matched(*models)}
    labels = _labels(models[0], images)
    before = start = _percent(labels, models[1], images)
    accepted = []
    for name in suspects[:SUSPECTS]:
        if before == 0:
            break
        source_tensor, target_tensor = (nodes[i][tensor] for i, tensor in enumerate(origin[name]))
        undo = []
        for a, b in zip(source_tensor.input, target_tensor.input, strict=False):
            if a in held[0] and b in held[1] and held[0][a].dims == held[1][b].dims:
                kept = onnx.TensorProto()
                kept.CopyFrom(held[1][b])
                undo.append((held[1][b], kept))
                held[1][b].CopyFrom(held[0][a])
                held[1][b].name = b
        after = _percent(labels, models[1], images) if undo else before
        if after < before:
            accepted.append(name)
            before = after
        else:
            for tensor, kept in undo:
                tensor.CopyFrom(kept)
    return {"percent_before": start, "percent_after": before, "accepted": accepted}


def _labels(model: Model, images: Array) -> Array:
    output = _run(model, images, [model.graph.output[0].name])[0]
    return np.asarray(output.reshape(len(images), -1).argmax(1))


def _percent(labels: Array, model: Model, images: Array) -> float:
    return 100.0 * float((_labels(model, images) != labels).mean())


def rank_in_trial(bench: Any, case: Any, format: str, row: Mapping[str, Any], target: Path) -> dict[str, Any]:
    """Column of ``seeded_faults``: the rank of the first seeded layer in ONNX views, and the seconds of ranking.

    The views are conversions of the right and of the faulty Target; their time is not counted.
    """
    from benchmarks.faults.worker import Refused
    from benchmarks.seeded_faults import named
    from safeconvert.inputs.preprocess import Preprocess

    if row["target_preprocess"] is not None:
        return {"kruskal_message": "the Target itself is right"}
    try:
        source = bench.right(case, "onnx") if format != case.format else _view(case, bench.right(case, format), format)
        view = target if format == "onnx" else _view(case, target, format)
    except (Refused, ValueError) as error:
        return {"kruskal_message": f"no view: {str(error)[:200]}"}
    assert isinstance(case.preprocess, Preprocess)
    file = target.with_name("images.npz")
    np.savez(file, images=case.batch(case.preprocess))
    command = [sys.executable, str(Path(__file__).resolve()), str(source), str(view), str(file)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        return {"kruskal_message": (ran.stderr.strip().splitlines() or ["died"])[-1][:300]}
    answer = json.loads(ran.stdout)
    names = [name for name, _ in answer["ranking"]]
    place = next((i for i, name in enumerate(names, 1) if any(named(name, fault) for fault in row["seeded"])), None)
    return {
        "kruskal_rank": place,
        "kruskal_seconds": answer["seconds"],
        "kruskal_layers": len(names),
        "kruskal_percent_after": answer["percent_after"],
    }


def _view(case: Any, path: Path, format: str) -> Path:
    """The model as an ONNX file. Raises ValueError where no conversion verified."""
    from safeconvert.api import convert

    view = path.with_name(f"{path.stem}-view.onnx")
    if not view.exists() or view.stat().st_mtime < path.stat().st_mtime:
        result = convert(
            path, "onnx", output=view, force=True, images=case.images, preprocess=str(case.preprocess_file)
        )
        if result.target is None:
            raise ValueError(f"{format} to onnx: {result.verdict.value}")
    return view


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", metavar="SOURCE.onnx")
    parser.add_argument("target", metavar="TARGET.onnx")
    parser.add_argument("images", metavar="IMAGES.npz")
    args = parser.parse_args()
    with np.load(args.images) as arrays:
        images = arrays[arrays.files[0]]
    begun = time.monotonic()
    try:
        ranking = rank(args.source, args.target, images)
        seconds = round(time.monotonic() - begun, 2)
        repaired = repaired_greedily(args.source, args.target, images, [name for name, _ in ranking])
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps({"seconds": seconds, "ranking": ranking, **repaired}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
