"""The list of fault types, and that the files in ``repair/``, the report and the command line tell the same six."""

from __future__ import annotations

import ast
from pathlib import Path

import safeconvert.repair
from safeconvert.repair import FAULT_TYPES

from safeconvert.reporting.document import schema

FOLDER = Path(str(safeconvert.repair.__file__)).parent / "faults"


def test_the_six_types_are_those_of_the_paper_and_of_the_report() -> None:
    codes = [one.code for one in FAULT_TYPES]
    assert codes == ["PP", "ID", "TSS", "WB", "LH", "CG"]
    assert set(schema()["$defs"]["fault_type"]["enum"]) == set(codes)


def test_each_type_has_a_file_of_its_own_that_opens_with_its_code_and_name() -> None:
    assert len({one.module for one in FAULT_TYPES}) == len(FAULT_TYPES)
    for one in FAULT_TYPES:
        doc = ast.get_docstring(ast.parse((FOLDER / f"{one.module}.py").read_text(encoding="utf-8"))) or ""
        assert doc.startswith(f"{one.code}, {one.name}"), f"{one.module}.py opens with {doc[:60]!r}"
