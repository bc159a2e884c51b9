"""The list of fault types: every field of each, a file each, one signature for all, and the same six in the report."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safeconvert.repair
from safeconvert.repair import FAULT_TYPES as CODES
from safeconvert.repair.faults.codes import FaultCode
from safeconvert.repair.faults.fault_type import FaultType
from safeconvert.repair.faults.fault_types import FAULT_TYPES

from safeconvert.reporting.document import schema

FOLDER = Path(str(safeconvert.repair.__file__)).parent / "faults"
EACH = pytest.mark.parametrize("fault_type", FAULT_TYPES, ids=[each.code for each in FAULT_TYPES])


def parameters(function: Callable[..., Any]) -> list[tuple[str, Any]]:
    return [(name, each.annotation) for name, each in inspect.signature(function).parameters.items()]


def test_workers_the_parent_and_the_report_have_the_same_types() -> None:
    assert {each.kind for each in FAULT_TYPES} == set(FaultCode)
    assert len(FAULT_TYPES) == len(FaultCode)
    assert list(CODES.items()) == [(kind.name, kind.value) for kind in FaultCode]
    assert set(schema()["$defs"]["fault_type"]["enum"]) == set(CODES)


def test_milder_types_come_first_and_each_line_of_the_list_says_why_it_stands_there() -> None:
    assert [each.code for each in FAULT_TYPES] == ["TSS", "PP", "ID", "WB", "LH", "CG"]
    exchanging = [not each.keeps_operators for each in FAULT_TYPES]
    assert exchanging == sorted(exchanging), "a type that exchanges operators explains anything: it comes last"
    text = (FOLDER / "fault_types.py").read_text(encoding="utf-8")
    lines = text.partition("= (\n")[2].partition("\n)")[0].splitlines()
    assert len(lines) == len(FAULT_TYPES)
    assert [line for line in lines if not line.partition("  # ")[2]] == []


@EACH
def test_each_type_is_the_value_at_the_end_of_a_file_that_opens_with_its_code_and_name(fault_type: FaultType) -> None:
    path = Path(str(inspect.getsourcefile(fault_type.propose)))
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert path.parent == FOLDER
    assert (ast.get_docstring(tree) or "").startswith(f"{fault_type.code}, {fault_type.name}")
    last = tree.body[-1]
    assert isinstance(last, ast.Assign)
    assert isinstance(last.value, ast.Call)
    assert ast.unparse(last.value).startswith(f"FaultType(FaultCode.{fault_type.code}, ")


def test_no_two_types_share_a_file() -> None:
    assert len({inspect.getsourcefile(each.propose) for each in FAULT_TYPES}) == len(FAULT_TYPES)


@EACH
def test_every_field_is_there_and_all_types_are_asked_in_the_same_way(fault_type: FaultType) -> None:
    assert isinstance(fault_type.keeps_operators, bool)
    assert parameters(fault_type.localise) == [("walk", "Walk"), ("node", "onnx.NodeProto")]
    assert parameters(fault_type.propose) == [("walk", "Walk"), ("divergence", "Divergence")]
    assert inspect.signature(fault_type.localise).return_annotation == "Iterator[Divergence]"
    assert inspect.signature(fault_type.propose).return_annotation == "Iterator[Proposal]"
