"""Reports as documents, for tests of the page: they hold to ``report.schema.json``, and no framework is needed."""

from __future__ import annotations

import copy
from typing import Any

SHA = "0" * 64


def document(verdict: str = "repaired", **changes: Any) -> dict[str, Any]:
    """A report with this verdict: 200 images, of which 30 were predicted otherwise before the repair."""
    is_good = verdict in ("verified", "repaired")
    report = {
        "schema": "safeconvert.report/1",
        "verdict": verdict,
        "command": "safeconvert torch2keras net.pt2 -o net.keras --images photos",
        "reasons": [] if is_good else ["calibration: 30 of 200 labels differ (15.00 %)"],
        "notes": [],
        "source": model("/models/net.pt2", "torch"),
        "target": None if verdict == "failed" else model("/models/net.keras", "keras"),
        "route": [attempt("torch->onnx", "torch.onnx", "ok"), attempt("onnx->keras", "onnx2keras", "diverged")],
        "check": check(verdict),
        "faults": [fault("repaired" if is_good else "unrepaired")] if verdict in ("repaired", "diverged") else [],
        "localisation": localisation() if verdict == "repaired" else None,
        "refused": [{"type": "WB", "target_node": "LAYER_9", "reason": "differs by rounding"}],
        "engines": [],
        "timings": {"total": 12.5},
        "environment": {"safeconvert": "0.1.0", "python": "3.11", "platform": "Linux", "packages": {"onnx": "1.17"}},
        "seed": 0,
    }
    return copy.deepcopy({**report, **changes})


def model(path: str, format: str) -> dict[str, Any]:
    tensor = {"name": "x", "shape": [None, 3, 224, 224], "dtype": "float32"}
    output = {"name": "logits", "shape": [None, 1000], "dtype": "float32"}
    return {
        "path": path,
        "format": format,
        "flavour": "program",
        "sha256": SHA,
        "quantized": False,
        "bytes": 14_000_000,
        "inputs": [tensor],
        "outputs": [output],
    }


def attempt(hop: str, converter: str, status: str) -> dict[str, Any]:
    return {
        "hop": hop, "converter": converter, "version": "1.0", "status": status, "seconds": 1.5, "message": "",
        "form": "", "used": status == "ok",
    }  # fmt: skip


def fault(status: str) -> dict[str, Any]:
    return {
        "id": "F1",
        "type": "LH",
        "hop": "onnx->keras",
        "source_node": "/MaxPool",
        "target_node": "LAYER_1",
        "evidence": {
            "operator": "MaxPool",
            "local_max_abs": 4.2,
            "local_difference_in_tolerances": 850.0,
            "source_shape": [1, 8, 16, 16],
            "target_shape": [1, 8, 16, 16],
            "converter_says": "",
            "neighbours": [
                {"position": -1, "source": "Conv /Conv", "target": "LAYER_0"},
                {"position": 1, "source": "Relu /Relu", "target": "LAYER_2"},
            ],
        },
        "status": status,
        "percent_before": 15.0,
        "percent_after": 0.0 if status == "repaired" else 15.0,
        "repair": "onnx2keras was fed this MaxPool in another form: maxpool-pads-map",
        "reproduce": {"run": "safeconvert torch2keras net.pt2 -o net.keras", "issue": "# onnx2keras: MaxPool",
                      "model": "net.keras.fault-F1.onnx", "inputs": None},
    }  # fmt: skip


def localisation() -> dict[str, Any]:
    ranking = [{"source_node": "/MaxPool", "target_node": "LAYER_1", "score": 850.0}]
    layers = [
        {"source_node": "/Conv", "operator": "Conv", "before": 1e-4, "after": 1e-4},
        {"source_node": "/MaxPool", "operator": "MaxPool", "before": 850.0, "after": 0.1},
    ]
    return {"method": "replay", "engine": "onnxruntime", "model_runs": 4, "ranking": ranking, "layers": layers}


def comparison(count: int, differ: int) -> dict[str, Any]:
    return {
        "count": count, "labels_differ": differ, "near_ties": 0, "near_ties_differ": 0, "ties_agree": 0,
        "percent": 100 * differ / count if count else None, "upper_bound_95": 3.6 if count else None,
        "max_abs": 2.5 if differ else 1e-6, "order_differs": differ, "values_differ": differ,
        "source_not_finite": 0, "target_not_finite": 0, "outputs": [], "problems": [],
    }  # fmt: skip


def check(verdict: str) -> dict[str, Any]:
    good = {"calibration": comparison(100, 0), "heldout": comparison(100, 0)}
    bad = {"calibration": comparison(100, 15), "heldout": comparison(100, 15)}
    is_good = verdict in ("verified", "repaired")
    sets = None if verdict in ("failed", "undecided") else good if is_good else bad
    rule = {
        "name": "logits", "kind": "labels", "kind_origin": "its shape", "class_axis": 1, "is_quantized": False,
        "is_constant": False, "ill_conditioned": False,
        "tolerance": {
            "rule": "rounding + 0.001 * spread of the channel", "origin": "default", "rtol": 1e-3, "atol": None,
            "smallest": 0.01, "largest": 0.02, "smallest_spread": 10.0, "largest_spread": 20.0, "largest_noise": None,
            "max_error_percent": None, "max_error_origin": None,
        },
    }  # fmt: skip
    return {
        "inputs": {
            "kind": "images", "count": 200, "distinct": 200, "calibration": 100, "heldout": 100, "skipped": [],
            "preprocess": {"name": "torch"}, "target_preprocess": None, "strength": "your own inputs",
        },
        "before": bad if verdict == "repaired" else sets,
        "after": sets,
        "differing": [],
        "tolerance": {"atol": 0.0, "rtol": 1e-3, "rule": "rtol * spread", "origin": "default", "decides": "labels"},
        "outputs": [rule] if sets else [],
        "further": [],
        "comparator": "top1",
        "max_discrepancy": 0.0,
        "predictions": predictions(verdict) if sets else None,
    }  # fmt: skip


def predictions(verdict: str) -> dict[str, Any]:
    cat, dog = {"label": 281, "confidence": 0.91}, {"label": 235, "confidence": 0.41}
    is_repaired = verdict == "repaired"
    changed = [
        {"input": f"/photos/{row:04}.jpg", "row": row, "set": "calibration", "source": cat,
         "before": dog if is_repaired else None, "after": cat if is_repaired else dog}
        for row in range(6)
    ]  # fmt: skip
    bins = [10] * 20
    return {
        "output": "logits",
        "class_names": None,
        "changed_count": 0 if verdict == "verified" else 30,
        "changed": [] if verdict == "verified" else changed,
        "margins": {
            "edges": [round(i / 20, 6) for i in range(21)],
            "all": bins,
            "changed_before": [3] * 10 + [0] * 10 if is_repaired else None,
            "changed_after": [0] * 20 if verdict in ("verified", "repaired") else [3] * 10 + [0] * 10,
        },
    }
