"""Which activations of a quantised TFLite Target, whoever made it, have a range too narrow for the person's inputs."""

from __future__ import annotations

from ..checking.evaluation_set import EvaluationSet
from ..conversion.stage import ConvertedModel
from ..errors import WorkerFailed
from ..formats import TFLITE
from ..models.input_mapping import apply_mapping
from ..models.loaded_model import shorten
from .engine import SATURATED_ACTIVATIONS

MAX_ROWS = 16  # calibration inputs on which ranges are looked at
MAX_NOTES = 5


def range_notes(evaluation_set: EvaluationSet, stage: ConvertedModel) -> tuple[str, ...]:
    """Return a note for each activation whose range is too narrow, in execution order; none for a float Target."""
    target = stage.model
    if target.format != TFLITE or not target.signature.quantized:
        return ()
    inputs = evaluation_set.target_inputs or evaluation_set.inputs
    arrays = apply_mapping(stage.mapping, inputs.read(evaluation_set.rows[0][:MAX_ROWS]))
    try:
        saturated = SATURATED_ACTIVATIONS(
            target.worker(), evaluation_set.options.timeout, path=target.location, arrays=arrays
        )
    except WorkerFailed as error:
        return (f"the ranges of the Target's activations could not be looked at: {shorten(str(error))}",)
    return tuple(activation.words for activation in saturated[:MAX_NOTES])
