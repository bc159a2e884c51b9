"""Which Targets a strategy looks at: those that differ, and that it did not change itself."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from safeconvert.repair.context import RepairState
from safeconvert.repair.strategies import float_weights, input_shapes, view_edits

from safeconvert.checking.verdict import Judgement
from safeconvert.comparison.comparison import all_rows_differ
from safeconvert.conversion.stage import ConvertedModel
from safeconvert.formats import ONNX, TFLITE, Format
from safeconvert.records import Verdict

NOTHING: Any = None
COMPARED = all_rows_differ(4, "differs"), all_rows_differ(2, "differs")


def state(*changed_by: str, verdict: Verdict = Verdict.DIVERGED) -> RepairState:
    judgement = Judgement(verdict, (), COMPARED)
    return RepairState(ConvertedModel(NOTHING, ()), judgement, judgement, NOTHING, changed_by=changed_by)


def context(
    format: Format = TFLITE, *, target_is_quantized: bool = True, source_is_quantized: bool = False, repair: bool = True
) -> Any:
    def model(is_quantized: bool) -> Any:
        return SimpleNamespace(format=format, signature=SimpleNamespace(quantized=is_quantized))

    options = SimpleNamespace(no_repair=not repair)
    return SimpleNamespace(target=model(target_is_quantized), source=model(source_is_quantized), options=options)


@pytest.mark.parametrize(
    ("repair_context", "applies"),
    [
        (context(), True),
        (context(ONNX), False),
        (context(target_is_quantized=False), False),
        (context(source_is_quantized=True), False),
        (context(repair=False), False),
    ],
)
def test_weights_are_restored_in_a_rounded_tflite_file_of_a_float_source(repair_context: Any, applies: bool) -> None:
    assert float_weights.applies(repair_context, state()) is applies
    assert not float_weights.applies(repair_context, state(verdict=Verdict.VERIFIED))


def test_weights_are_looked_at_again_after_another_change_and_only_once() -> None:
    again = float_weights.applies_after("edit", "resize")
    assert again(context(), state("edit"))
    assert not again(context(), state())
    assert not again(context(), state("other"))
    assert not again(context(), state("edit", float_weights.NAME))


def test_a_view_is_edited_unless_only_rounding_differed() -> None:
    assert view_edits.applies(NOTHING, state("other"))
    assert not view_edits.applies(NOTHING, state(float_weights.NAME))
    assert not view_edits.applies(NOTHING, state(verdict=Verdict.UNDECIDED))


def test_input_sizes_are_changed_only_where_the_target_does_not_take_the_inputs() -> None:
    assert input_shapes.applies(NOTHING, replace(state(), stage=None))
    assert not input_shapes.applies(NOTHING, state())
