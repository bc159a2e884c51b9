"""Name what a converter did wrong on a torch, Keras or TensorFlow Source, though another way around it was found.

Such a converter reads no ONNX graph, so no single node can be fed to it in another form, and what it wrote is no view
to trust. Its result is compared with the Source's own activations, which come from the Source's own runtime
(``repair/localization/trace_search.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..checking.evaluation_set import Sample
from ..conversion.onnx_view import view
from ..conversion.stage import ConversionOptions, ConvertedModel
from ..errors import WorkerFailed
from ..models.input_mapping import apply_mapping, match_outputs, sizes
from ..models.loaded_model import LoadedModel
from ..records import Attempt, Diagnosis, Localisation
from ..workers.pool import WorkerPool
from .localization.finding import NamedFault
from .native_format.names import display_name, trace
from .remote_functions import LOCATE_ALONG_TRACE
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
) -> tuple[list[Diagnosis], Localisation | None]:
    """Find the faults of a hop that started at the Source and gave ``diverged``; none where they cannot be found.

    ``attempt`` is the hop's entry in the report's route, ``used`` the one that took its place (None: nothing did).
    """
    if not diverged.mapping:
        return _additional_inputs(source, diverged, attempt, used), None
    try:
        if diverged.model.other_runtime is None:
            faults, model_runs = _searched(workers, source, sample, diverged, settings)
        else:
            first_input = {name: array[:1] for name, array in sample.arrays.items()}
            faults = differing_operators(source, diverged.model, diverged.mapping, first_input, settings.tolerance)
            model_runs = 1
    except WorkerFailed:
        return [], None  # the Target stands without it
    if not faults:
        return [], None
    diagnoses = [
        _diagnose(fault.type, attempt, used, fault.source_node, fault.target_node, fault.evidence) for fault in faults
    ]
    ranking = tuple((fault.source_node, fault.target_node, fault.local_difference or float("inf")) for fault in faults)
    return diagnoses, Localisation("replay", "onnxruntime", model_runs + 1, ranking)


def _additional_inputs(
    source: LoadedModel, diverged: ConvertedModel, attempt: Attempt, used: Attempt | None
) -> list[Diagnosis]:
    """Inputs that the Source does not have: constants of the model that the converter turned into inputs."""
    source_names = {spec.name for spec in source.signature.inputs}
    specs = diverged.model.signature.inputs
    if len(specs) <= len(source_names):
        return []
    shared_names = [spec.name for spec in specs if spec.name in source_names]
    shared_names = shared_names or [spec.name for spec in specs[: len(source_names)]]
    diagnoses = []
    for spec in specs:
        if spec.name not in shared_names:
            evidence = {"difference": "a constant became an input", "input": str(spec), "operator": "Constant"}
            diagnoses.append(_diagnose("WB", attempt, used, _scope(spec.name), spec.name, evidence))
    return diagnoses[:1] if len({each.source_node for each in diagnoses}) == 1 else diagnoses


def _scope(name: str) -> str:
    """The layer in a constant's name such as ``functional_1/norm_1/Sub/y:0``."""
    parts = name.split("/")
    inner = parts[-3] if len(parts) >= 3 else parts[0]
    stem, _, number = inner.rpartition("_")
    return stem if number.isdigit() and stem else inner


def _searched(
    workers: WorkerPool, source: LoadedModel, sample: Sample, diverged: ConvertedModel, settings: ConversionOptions
) -> tuple[list[NamedFault], int]:
    """Search along the trace on one input; return the faults (none where the result has no view) and the model runs."""
    target = LoadedModel(workers, "target to repair", diverged.model.file, diverged.model.options)
    target.worker()
    assert diverged.comparison is not None
    row = diverged.comparison.differing[0] if diverged.comparison.differing else 0
    arrays = {name: array[row : row + 1] for name, array in sample.arrays.items()}
    target_arrays = apply_mapping(diverged.mapping, sample.arrays)
    shapes = sizes(diverged.mapping, {name: [None, *array.shape[1:]] for name, array in sample.arrays.items()})
    target_view = view(
        workers, target, shapes, Sample(target_arrays, target.run(target_arrays)), settings, lambda step: None
    )
    if target_view is None:
        return [], 0
    store, records = trace(workers, source, arrays, with_integers=True)
    located = LOCATE_ALONG_TRACE(
        workers.worker("onnx_tflite", "onnx_tflite"),
        None,
        target=str(target_view.path),
        target_inputs=apply_mapping(target_view.mapping, apply_mapping(diverged.mapping, arrays)),
        store=store,
        records=records,
        outputs=match_outputs(
            target.output_names, source.output_names, [array[row : row + 1] for array in sample.outputs]
        ),
        is_unquantized=not (source.signature.quantized or target.signature.quantized),
        tflite=target.format.layer_naming == "tensor",
    )
    by_node = {record.node: record for record in records}
    is_named_by_tensor = target.format.layer_naming == "tensor"
    faults = []
    for fault in located.faults:
        record = by_node.get(fault.source_node)
        source_name = fault.source_node if record is None else display_name(source.format, record)
        target_name = fault.target_tensor if is_named_by_tensor else fault.target_node
        evidence = {**fault.evidence, "source_operation": fault.source_node}
        faults.append(NamedFault(fault.type, source_name, target_name, evidence, evidence.get("local_difference")))
    return faults, located.model_runs


def _diagnose(
    type: str, attempt: Attempt, used: Attempt | None, source_node: str, target_node: str, evidence: Mapping[str, Any]
) -> Diagnosis:
    if used is None:
        words = "no way around it was found"
    elif used.form:
        words = f"{used.converter} was fed the model's {used.form} form"
    else:
        words = f"{used.hop} was done by {used.converter} instead of {attempt.converter}"
    return Diagnosis(
        type=type,
        hop=attempt.hop,
        source_node=source_node,
        target_node=target_node,
        evidence=evidence,
        repair=words,
        is_repaired=used is not None,
    )
