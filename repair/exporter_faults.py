"""Name what a converter got wrong of a torch, Keras or TensorFlow model, though another way was found around it.

There is no ONNX graph to feed such a converter differently node by node, and its result is no view to believe. So the
Source's own activations, from its own runtime, are what its result is walked along
(``repair/localization/trace_search.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..checking.evaluation_set import Sample
from ..conversion.onnx_view import view
from ..conversion.stage import ConversionOptions, ConvertedModel
from ..errors import WorkerFailed
from ..models.input_mapping import apply_mapping, match_outputs, sizes
from ..models.loaded import LoadedModel
from ..records import Attempt, Fault, Localisation
from ..workers.pool import WorkerPool
from .native_format.names import told, trace
from .second_runtime_faults import differing_operators

Array = np.ndarray[Any, Any]


def explain(
    workers: WorkerPool,
    source: LoadedModel,
    sample: Sample,
    diverged: ConvertedModel,
    attempt: Attempt,
    used: Attempt | None,
    settings: ConversionOptions,
) -> tuple[list[Fault], Localisation | None]:
    """The faults of a hop that started at the Source and gave ``diverged``; none where they cannot be told.

    ``attempt`` is the hop's entry in the report's route, ``used`` the one that took its place (None: nothing did).
    """
    if not diverged.mapping:
        return _inputs(source, diverged, attempt, used), None
    try:
        if diverged.side.other_runtime is None:
            found = _walked(workers, source, sample, diverged, settings)
        else:
            one = {name: array[:1] for name, array in sample.arrays.items()}
            wrong = differing_operators(source, diverged.side, diverged.mapping, one, settings.tolerance)
            found = {"faults": wrong, "model_runs": 1}
    except WorkerFailed:
        return [], None  # the Target stands without it
    if not found["faults"]:
        return [], None
    faults = [
        _fault(one["type"], attempt, used, one["source_name"], one["target_name"], one["evidence"])
        for one in found["faults"]
    ]
    ranking = tuple(
        (fault.source_node, fault.target_node, fault.evidence.get("local_difference") or float("inf"))
        for fault in faults
    )
    return faults, Localisation("replay", "onnxruntime", int(found["model_runs"]) + 1, ranking)


def _inputs(source: LoadedModel, diverged: ConvertedModel, attempt: Attempt, used: Attempt | None) -> list[Fault]:
    """Inputs that the Source does not have: constants of the model that the converter left outside."""
    own = {spec.name for spec in source.signature.inputs}
    taken = diverged.side.signature.inputs
    if len(taken) <= len(own):
        return []
    named = [spec.name for spec in taken if spec.name in own] or [spec.name for spec in taken[: len(own)]]
    found = []
    for spec in taken:
        if spec.name not in named:
            evidence = {"difference": "a constant became an input", "input": str(spec), "operator": "Constant"}
            found.append(_fault("WB", attempt, used, _scope(spec.name), spec.name, evidence))
    return found[:1] if len({fault.source_node for fault in found}) == 1 else found


def _scope(name: str) -> str:
    """The layer in a constant's name such as ``functional_1/norm_1/Sub/y:0``."""
    parts = name.split("/")
    inner = parts[-3] if len(parts) >= 3 else parts[0]
    stem, _, number = inner.rpartition("_")
    return stem if number.isdigit() and stem else inner


def _walked(
    workers: WorkerPool, source: LoadedModel, sample: Sample, diverged: ConvertedModel, settings: ConversionOptions
) -> Mapping[str, Any]:
    """What the trace search finds on one input, with native names; nothing where the result has no view."""
    own = LoadedModel(workers, "given", diverged.side.file, diverged.side.options)
    own.worker()
    assert diverged.comparison is not None
    row = diverged.comparison.differing[0] if diverged.comparison.differing else 0
    arrays = {name: array[row : row + 1] for name, array in sample.arrays.items()}
    taken = apply_mapping(diverged.mapping, sample.arrays)
    shapes = sizes(diverged.mapping, {name: [None, *array.shape[1:]] for name, array in sample.arrays.items()})
    looked = view(workers, own, shapes, Sample(taken, own.run(taken)), settings, lambda what: None)
    if looked is None:
        return {"faults": [], "model_runs": 0}
    store, records = trace(workers, source, arrays, with_integers=True)
    found: dict[str, Any] = workers.worker("onnx_tflite", "onnx_tflite").call(
        "repair.localization.trace_search",
        "locate",
        target=str(looked.path),
        given=apply_mapping(looked.mapping, apply_mapping(diverged.mapping, arrays)),
        store=store,
        records=records,
        outputs=match_outputs(
            own.output_names, source.output_names, [array[row : row + 1] for array in sample.outputs]
        ),
        is_unquantized=not (source.signature.quantized or own.signature.quantized),
        tflite=own.format.layer_naming == "tensor",
    )
    makers = {one.node: one for one in records}
    for one in found["faults"]:
        record = makers.get(one["source_node"])
        one["source_name"] = one["source_node"] if record is None else told(source.format, record)
        one["target_name"] = one["target_tensor"] if own.format.layer_naming == "tensor" else one["target_node"]
        one["evidence"]["source_operation"] = one["source_node"]
    return found


def _fault(
    kind: str, attempt: Attempt, used: Attempt | None, origin: str, node: str, evidence: Mapping[str, Any]
) -> Fault:
    if used is None:
        words = "no way around it was found"
    elif used.form:
        words = f"{used.converter} was fed the model's {used.form} form"
    else:
        words = f"{used.hop} was done by {used.converter} instead of {attempt.converter}"
    status = "unrepaired" if used is None else "repaired"
    return Fault(kind, attempt.hop, origin, node, evidence, status, None, None, words)


def settled(faults: Sequence[Fault], before: float | None, after: float | None) -> list[Fault]:
    """The faults with the discrepancies that the check measured."""
    return [replace(fault, percent_before=before, percent_after=after) for fault in faults]
