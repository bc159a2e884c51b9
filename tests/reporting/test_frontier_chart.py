"""The plot of the quantised files that were tried."""

from __future__ import annotations

from typing import Any

from safeconvert.reporting.frontier_chart import frontier_chart
from safeconvert.reporting.html_report import html_report
from tests.support.report_documents import document


def step(
    plan: str, size: int, percent: float, heldout: float | None = None, *, shipped: bool = False
) -> dict[str, Any]:
    compared = {"count": 100, "labels_differ": 1, "percent": percent, "upper_bound_95": percent + 3}
    return {
        "plan": plan,
        "kind": "int8",
        "size": size,
        "share_of_float": size / 14e6,
        "calibration": compared,
        "heldout": None if heldout is None else {**compared, "percent": heldout, "upper_bound_95": heldout + 3},
        "output_error": 0.1,
        "latency_ratio": 0.5,
        "shipped": shipped,
    }


def quantization(*steps: dict[str, Any]) -> dict[str, Any]:
    return {
        "engine": "litert-quantizer 0.11.0",
        "float": {"size": 14_000_000, "verdict": "verified"},
        "frontier": list(steps),
        "table": [],
        "operators": {"integer": [], "float": [], "conversion": [], "integer_multiplications_percent": 100.0},
    }


STEPS = (
    step("int8", 4_000_000, 3.0),
    step("int8, ranges by mse", 4_000_000, 5.0),
    step("int8 <2 floats>", 5_000_000, 0.5, 1.0, shipped=True),
)


def test_smaller_files_lie_left_and_fewer_changes_lie_low() -> None:
    chart = frontier_chart(quantization(*STEPS))
    assert chart is not None
    plain, by_mse, mended = chart.points
    assert plain.x == by_mse.x < mended.x
    assert by_mse.y < plain.y < mended.y
    assert mended.heldout_y is not None
    assert mended.bound_y is not None
    assert mended.bound_y < mended.heldout_y < mended.y
    assert plain.heldout_y is None


def test_a_file_that_another_beats_is_not_on_the_line() -> None:
    chart = frontier_chart(quantization(*STEPS))
    assert chart is not None
    assert [point.is_best for point in chart.points] == [True, False, True]
    assert len(chart.line.split()) == 2


def test_a_single_file_and_files_that_were_not_compared_have_no_chart() -> None:
    assert frontier_chart(None) is None
    assert frontier_chart(quantization(STEPS[0])) is None
    unknown = step("int16x8", 5_000_000, 0)
    unknown["calibration"]["percent"] = None
    assert frontier_chart(quantization(STEPS[0], unknown)) is None


def test_the_page_marks_the_file_that_is_shipped() -> None:
    page = html_report(document("verified", quantization=quantization(*STEPS)))
    assert page.count('class="dot shipped"') == 1
    assert page.count('class="dot"') == 2
    assert "shipped: int8 &lt;2 floats&gt;" in page
    assert 'class="frontier"' not in html_report(document("verified", quantization=quantization(STEPS[0])))
