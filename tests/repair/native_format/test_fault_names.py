"""Names of located nodes in the models' own formats, once the operators behind them are known."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from safeconvert.repair.native_format.fault_names import Names

from safeconvert.formats import KERAS, ONNX, TFLITE, Format
from safeconvert.runtimes.trace_store import TraceRecord

NO_WORKERS: Any = None
RECORD = TraceRecord("conv/out", "net/conv/Conv2D", "conv", "Conv2D", (), (None, 4), "arr_0")
FAULT: Any = SimpleNamespace(target_node="Conv_3", source_node="Conv_1")


def names(source: Format, target: Format, *operators: tuple[TraceRecord | None, TraceRecord | None]) -> Names:
    def model(format: Format) -> Any:
        return SimpleNamespace(format=format)

    return Names(NO_WORKERS, model(source), model(target), True, [], list(operators))


def test_a_place_is_a_layer_in_keras_and_an_operator_elsewhere() -> None:
    pairs = (RECORD, RECORD), (RECORD, None)
    assert [names(ONNX, KERAS, *pairs).place(index) for index in (0, 1)] == ["conv", None]
    assert names(ONNX, TFLITE, *pairs).place(0) == "net/conv/Conv2D"


def test_operators_are_told_in_the_views_and_in_the_models_where_they_were_found() -> None:
    fault_names = names(KERAS, TFLITE, (RECORD, None))
    assert fault_names.operations(0, FAULT) == {
        "view_node": "Conv_3",
        "source_view_node": "Conv_1",
        "source_operation": "net/conv/Conv2D",
    }


def test_a_view_has_no_weights_of_its_own_to_compare() -> None:
    """No worker is asked: there is none."""
    for pair in ((ONNX, KERAS), (KERAS, ONNX)):
        assert (names(*pair).changed, names(*pair).trained) == (None, {})
