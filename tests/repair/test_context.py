"""The state that repair hands from strategy to strategy, and the faults that the report gets at the end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from safeconvert.repair.context import Findings, Proposal, RepairState

from safeconvert.checking.verdict import Judgement
from safeconvert.comparison.comparison import all_rows_differ
from safeconvert.conversion.stage import ConvertedModel
from safeconvert.records import Diagnosis, Localisation, Verdict

NOTHING: Any = None
STAGE = ConvertedModel(NOTHING, ())
COMPARED = all_rows_differ(4, "differs"), all_rows_differ(2, "differs")
FOUND = Diagnosis(
    type="LH", hop="torch->keras", source_node="a", target_node="b", evidence={}, repair="none", percent_before=40.0
)


def state(verdict: Verdict = Verdict.DIVERGED, *changed_by: str, stage: ConvertedModel | None = STAGE) -> RepairState:
    judgement = Judgement(verdict, (), COMPARED)
    return RepairState(stage, judgement, judgement, NOTHING, changed_by=changed_by)


@pytest.mark.parametrize(
    ("state_seen", "differs"),
    [
        (state(), True),
        (state(Verdict.DIVERGED, "other"), True),
        (state(Verdict.DIVERGED, "this"), False),
        (state(Verdict.VERIFIED), False),
        (state(Verdict.UNDECIDED), False),
        (state(stage=None), False),
        (replace(state(), judgement=Judgement(Verdict.DIVERGED)), False),
    ],
)
def test_a_model_is_looked_at_where_it_was_compared_and_differs(state_seen: RepairState, differs: bool) -> None:
    assert state_seen.model_differs("this") is differs


def test_a_target_that_was_replaced_has_all_faults_repaired() -> None:
    state_after = state().with_findings(Proposal(findings=Findings((FOUND,))))
    later = replace(FOUND, target_node="c")
    replaced = state_after.with_findings(Proposal(STAGE, findings=Findings((later,)), replacement="converted again"))
    assert [(diagnosis.repair, diagnosis.is_repaired) for diagnosis in replaced.findings.diagnoses] == [
        ("converted again", True),
        ("converted again", True),
    ]


def test_the_first_localisation_stays_and_everything_else_adds_up() -> None:
    first, second = Localisation("replay", "onnxruntime", 1, ()), Localisation("replay", "native", 2, ())
    both = Findings((FOUND,), first, reasons=("a",)) + Findings(
        (FOUND,), second, reasons=("b",), layer_names={"x": "y"}
    )
    assert both == Findings((FOUND, FOUND), first, reasons=("a", "b"), layer_names={"x": "y"})
    assert (Findings() + Findings(localisation=second)).localisation == second


@pytest.mark.parametrize(
    ("is_repaired", "is_good", "status"),
    [
        (None, True, "repaired"),
        (None, False, "unrepaired"),
        (True, False, "repaired"),
        (False, True, "unrepaired"),
    ],
)
def test_a_fault_is_built_once_with_what_became_of_it(is_repaired: bool | None, is_good: bool, status: str) -> None:
    fault = replace(FOUND, is_repaired=is_repaired).as_fault(
        is_good=is_good, percent_after=10.0, reproduce={"run": "safeconvert"}, target_node="layer"
    )
    assert (fault.status, fault.target_node, fault.percent_before, fault.percent_after) == (status, "layer", 40.0, 10.0)
    assert fault.to_json("F1")["reproduce"] == {"run": "safeconvert"}
