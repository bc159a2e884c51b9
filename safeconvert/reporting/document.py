"""The report: one JSON document (``report.schema.json`` describes it), also rendered as HTML."""

from __future__ import annotations

import json
import math
import platform
import shlex
from collections.abc import Mapping, Sequence
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from ..checking.evaluation_set import EvaluationSet
from ..checking.tvm_check import RuntimeComparison
from ..checking.verdict import Judgement
from ..comparison.comparison import Comparison
from ..converters import HOPS
from ..inputs.base import Inputs
from ..models.loaded_model import LoadedModel
from ..models.model_digest import model_digest
from ..options import Options
from ..records import Attempt, Fault, Localisation, Refusal
from .accuracies import accuracy_section
from .changed_predictions import predictions_section
from .html_report import html_report

SCHEMA = "safeconvert.report/1"
RUNTIME_PACKAGES = (
    "torch", "torchvision", "tensorflow", "keras", "onnx", "onnxruntime", "onnxscript", "ai-edge-litert",
    "litert-quantizer", "apache-tvm", "numpy", "pillow",
)  # fmt: skip
PACKAGES = tuple(dict.fromkeys([*RUNTIME_PACKAGES, *(hop.distribution for hop in HOPS if hop.environment is None)]))
"""Packages whose versions the report and ``doctor`` show: what models run in, and the converters."""


def build(
    *,
    judgement: Judgement,
    source: LoadedModel,
    target: LoadedModel | None,
    target_path: Path | None,
    attempts: Sequence[Attempt],
    faults: Sequence[Fault],
    localisation: Localisation | None,
    refused: Sequence[Refusal],
    engines: Sequence[RuntimeComparison],
    evaluation_set: EvaluationSet,
    options: Options,
    notes: Sequence[str],
    timings: Mapping[str, float],
    command: Sequence[str] = (),
    quantization: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The report as plain JSON values; its keys are the contract in ``report.schema.json``."""
    compared, inputs, rows = judgement.compared, evaluation_set.inputs, evaluation_set.rows
    tolerance = options.tolerance
    after = _sets(compared)
    before = after if judgement.before is None else _sets(judgement.before)
    document = {
        "schema": SCHEMA,
        "verdict": judgement.verdict.value,
        "command": shlex.join(command),
        "reasons": list(judgement.reasons),
        "notes": list(dict.fromkeys(notes)),
        "source": _model(source, source.path),
        "target": None if target is None or target_path is None else _model(target, target_path),
        "route": [attempt.to_json() for attempt in attempts],
        "check": {
            "inputs": {
                "kind": inputs.kind,
                "count": inputs.count,
                "distinct": len(evaluation_set.distinct),
                "calibration": len(rows[0]),
                "heldout": len(rows[1]),
                "skipped": [{"path": str(s.path), "reason": s.reason} for s in inputs.skipped],
                "preprocess": None if evaluation_set.preprocess is None else evaluation_set.preprocess.to_json(),
                "target_preprocess": options.target_preprocess,
                "strength": _strength(inputs, compared),
            },
            "before": before,
            "after": after,
            "differing": [] if compared is None else _differing(compared, inputs),
            "tolerance": {
                "atol": tolerance.atol if tolerance.has_atol else 0.0,
                "rtol": tolerance.rtol,
                "rule": "atol + rtol * spread of each channel over the Source's outputs",
                "origin": tolerance.origin,
                "decides": options.comparing.decides(quantized=_quantized(source, target)),
            },
            "outputs": [rule.to_json() for rule in judgement.rules],
            "further": [check.to_json() for check in judgement.checks],
            "comparator": options.comparing.name,
            "max_discrepancy": options.allowed_discrepancy,
            "predictions": predictions_section(judgement, inputs, _class_counts(judgement, source)),
            **accuracy_section(judgement, evaluation_set.true_labels),
        },
        "faults": [fault.to_json(f"F{number}") for number, fault in enumerate(faults, 1)],
        "localisation": None if localisation is None else localisation.to_json(),
        "refused": [refusal.to_json() for refusal in refused],
        "engines": [opinion.to_json() for opinion in engines],
        **({} if quantization is None else {"quantization": dict(quantization)}),
        "timings": {name: round(seconds, 3) for name, seconds in timings.items()},
        "environment": environment(),
        "seed": options.seed,
    }
    plain: dict[str, Any] = _plain(document)
    return plain


def _class_counts(judgement: Judgement, source: LoadedModel) -> dict[str, int | None]:
    """Return how many classes each output with labels has, None where its size is free."""
    shapes = {spec.name: spec.shape for spec in source.signature.outputs} if hasattr(source, "signature") else {}
    counts: dict[str, int | None] = {}
    for rule in judgement.rules:
        shape, axis = shapes.get(rule.name), rule.kind.class_axis
        counts[rule.name] = None if shape is None or axis is None or axis >= len(shape) else shape[axis]
    return counts


def _sets(compared: tuple[Comparison, Comparison] | None) -> dict[str, Any] | None:
    return None if compared is None else {"calibration": compared[0].to_json(), "heldout": compared[1].to_json()}


def environment() -> dict[str, Any]:
    """Versions that a verdict was reached with."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "safeconvert": metadata.version("safeconvert"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": versions,
    }


def render(document: Mapping[str, Any], form: str, thumbnails: Mapping[str, str] | None = None) -> str:
    """The document as ``json`` or ``html`` text. ``thumbnails`` are pictures of inputs as data URIs, by input."""
    if form == "json":
        return json.dumps(document, indent=1, allow_nan=False) + "\n"
    return html_report(document, thumbnails)


def schema() -> dict[str, Any]:
    """The published JSON Schema of the report."""
    text = resources.files("safeconvert").joinpath("report.schema.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def _model(model: LoadedModel, path: Path) -> dict[str, Any]:
    signature = getattr(model, "signature", None)
    return {
        "path": str(path),
        "format": model.format.name,
        "flavour": model.file.flavour,
        "sha256": model.digest or model_digest(model.file),
        "quantized": bool(signature and signature.quantized),
        "bytes": _size(model.path),
        "inputs": [] if signature is None else [spec.to_json() for spec in signature.inputs],
        "outputs": [] if signature is None else [spec.to_json() for spec in signature.outputs],
    }


def _size(path: Path) -> int | None:
    """The bytes of a file, or of all files of a folder; None where it cannot be read."""
    try:
        return sum(part.stat().st_size for part in ([path] if path.is_file() else path.rglob("*")) if part.is_file())
    except OSError:
        return None


def _quantized(source: LoadedModel, target: LoadedModel | None) -> bool:
    return any(
        model is not None and hasattr(model, "signature") and model.signature.quantized for model in (source, target)
    )


def _strength(inputs: Inputs, compared: object) -> str:
    if inputs.count == 0 or compared is None:
        return "nothing was compared"
    if inputs.kind == "probes":
        return "weaker: synthetic probes, not your data; pass --images or --inputs"
    return "your own inputs"


def _differing(compared: Sequence[Comparison], inputs: Inputs) -> list[str]:
    """The first inputs on which the two differ, by name."""
    return [inputs.label(row) for comparison in compared for row in comparison.differing][:20]


def _plain(value: Any) -> Any:
    """JSON has no NaN and no infinity: they become null."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
