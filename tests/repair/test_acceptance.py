"""The gate: which of several candidates it keeps, and that it alone calls a Target repaired."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safeconvert.repair import acceptance
from safeconvert.repair.acceptance import Candidate, Decision, Gate, NeededRepairs, choose_rows, repaired

from safeconvert.checking.verdict import Judgement
from safeconvert.comparison.acceptance import refusal
from safeconvert.comparison.comparison import Comparison, OutputComparison
from safeconvert.records import Verdict

ROOT = Path(__file__).parents[2]


def compared(labels_differ: int, largest: float = 1.0) -> Comparison:
    outputs = (OutputComparison("out", (4,), (4,), largest if labels_differ else 0.0),)
    return Comparison(10, labels_differ, labelled=True, outputs=outputs, differing=tuple(range(labels_differ)))


class TableGate(Gate):
    """The gate with comparisons from a table, by the faults that a candidate repairs, in place of running models."""

    def __init__(self, table: dict[tuple[int, ...], Comparison]) -> None:
        self.table = table

    def consider(self, candidate: Candidate) -> Decision:
        after = self.table[candidate.faults]
        return Decision(candidate, None, after, refusal(self.table[()], after), is_equal=after.agrees())


def propose(faults: Sequence[int]) -> Candidate:
    model: Any = None
    return Candidate(model, tuple(faults))


def fewest(table: dict[tuple[int, ...], Comparison], faults: Sequence[int]) -> NeededRepairs | Decision:
    return TableGate(table).fewest_repairs(faults, propose, lambda: True)


def test_a_repair_without_which_the_target_is_as_close_is_left_out() -> None:
    table = {(): compared(8), (0, 1): compared(0), (0,): compared(0), (1,): compared(8)}
    needed = fewest(table, [0, 1])
    assert isinstance(needed, NeededRepairs)
    assert needed.decision.candidate.faults == (0,)


def test_repairs_that_are_all_needed_stay_and_each_is_measured_alone() -> None:
    table = {(): compared(8), (0, 1): compared(0), (0,): compared(3), (1,): compared(5)}
    needed = fewest(table, [0, 1])
    assert isinstance(needed, NeededRepairs)
    assert needed.decision.candidate.faults == (0, 1)
    assert needed.percents == {1: 30.0, 0: 50.0}


def test_repairs_that_do_not_help_are_refused_with_the_reason() -> None:
    refused = fewest({(): compared(8), (0,): compared(8)}, [0])
    assert isinstance(refused, Decision)
    assert refused.refusal == "the discrepancy does not fall"


def test_many_faults_are_accepted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceptance, "MAX_FAULTS_MEASURED_ALONE", 1)
    needed = fewest({(): compared(8), (0, 1): compared(0)}, [0, 1])  # (0,) and (1,) are not in the table
    assert isinstance(needed, NeededRepairs)
    assert needed.decision.candidate.faults == (0, 1)


def test_the_first_that_equals_the_source_is_kept_else_the_closest_of_the_preferred() -> None:
    table = {(): compared(9), (0,): compared(8), (1,): compared(2), (2,): compared(9), (3,): compared(0)}
    gate = TableGate(table)
    proposals = [propose([0]), propose([1]), propose([2])]
    closest = gate.closest(iter(proposals))
    assert closest is not None
    assert closest.candidate.faults == (1,)
    preferred = gate.closest([proposals[0], replace(proposals[1], preference=1)])
    assert preferred is not None
    assert preferred.candidate.faults == (0,)
    equal = gate.closest([proposals[1], propose([3]), propose([4])])  # (4,) is not in the table
    assert equal is not None
    assert equal.candidate.faults == (3,)
    assert gate.closest([proposals[2]]) is None


def test_inputs_that_differ_are_among_those_compared() -> None:
    assert choose_rows(range(10), [7], 20) == tuple(range(10))
    assert choose_rows(range(100), [70, 90], 4) == (0, 1, 70, 90)
    assert choose_rows(range(100), [70, 90, 95], 2) == (0, 70)
    assert choose_rows(range(100), [500], 2) == (0, 1)  # of the held-out set


@pytest.mark.parametrize("verdict", list(Verdict))
def test_only_verified_becomes_repaired(verdict: Verdict) -> None:
    before = compared(8), compared(7)
    judgement = repaired(Judgement(verdict, (), (compared(0), compared(0))), before)
    assert judgement.before == before
    assert judgement.verdict is (Verdict.REPAIRED if verdict is Verdict.VERIFIED else verdict)


def test_repaired_is_written_in_one_place() -> None:
    writers = []
    for folder in ("safeconvert", "converters", "repair"):
        for path in (ROOT / folder).rglob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            asked = {id(part) for node in ast.walk(tree) if isinstance(node, ast.Compare) for part in ast.walk(node)}
            writers += [
                path.relative_to(ROOT).as_posix()
                for node in ast.walk(tree)
                if isinstance(node, ast.Attribute) and node.attr == "REPAIRED" and id(node) not in asked
            ]
    assert writers == ["repair/acceptance.py"]
