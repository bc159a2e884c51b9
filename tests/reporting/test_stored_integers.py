"""The report says which integers a quantised model takes and gives."""

from __future__ import annotations

import jsonschema

from safeconvert.reporting.document import schema
from safeconvert.reporting.html_report import html_report
from safeconvert.reporting.stored_integers import stored_lines
from tests.support.report_documents import document

STORED = {"dtype": "uint8", "scale": 0.0078125, "zero_point": 128}


def test_the_page_the_terminal_and_the_schema_know_scale_and_zero_point() -> None:
    report = document("verified")
    assert stored_lines(report) == []
    assert "stored as" not in html_report(report)
    report["target"]["inputs"][0]["stored"] = STORED
    jsonschema.validate(report, schema())
    assert stored_lines(report) == [
        "target input x: float32 stored as uint8, scale 0.0078125, zero point 128",
    ]
    assert "stored as uint8, scale 0.0078125, zero point 128" in html_report(report)


def test_a_run_without_a_target_has_no_lines() -> None:
    assert stored_lines(document("failed")) == []
