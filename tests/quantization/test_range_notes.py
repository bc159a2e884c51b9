"""Notes on the ranges of a Target's activations are for quantised TFLite files alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from safeconvert.errors import WorkerFailed
from safeconvert.formats import ONNX, TFLITE
from safeconvert.models.input_mapping import InputMapping
from safeconvert.quantization import range_notes as module
from safeconvert.quantization.range_notes import range_notes
from safeconvert.runtimes.litert.quantization_plan import SaturatedActivation

SET = SimpleNamespace(
    target_inputs=None,
    inputs=SimpleNamespace(read=lambda rows: {}),
    rows=((0, 1), (2,)),
    options=SimpleNamespace(timeout=1.0),
)


def stage(*, is_quantized: bool = True, format: Any = TFLITE) -> Any:
    signature = SimpleNamespace(quantized=is_quantized)
    model = SimpleNamespace(format=format, signature=signature, worker=lambda: None, location="x.tflite")
    return SimpleNamespace(model=model, mapping=cast("tuple[InputMapping, ...]", ()))


def test_activations_are_named_for_a_quantised_tflite_target_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    saturated = SaturatedActivation("sum", 0.25, -2.0, 8.0)
    monkeypatch.setattr(module, "SATURATED_ACTIVATIONS", lambda *_, **__: [saturated])
    (note,) = range_notes(cast(Any, SET), stage())
    assert note.startswith("25.0% of the values of sum reach an end of its range (-2 to 8)")
    assert range_notes(cast(Any, SET), stage(is_quantized=False)) == ()
    assert range_notes(cast(Any, SET), stage(format=ONNX)) == ()


def test_a_failure_to_look_at_ranges_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: Any, **__: Any) -> None:
        raise WorkerFailed("no such file")

    monkeypatch.setattr(module, "SATURATED_ACTIVATIONS", failing)
    (note,) = range_notes(cast(Any, SET), stage())
    assert "could not be looked at: no such file" in note
