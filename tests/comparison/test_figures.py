"""What is measured of quantised outputs, and the limits it is held to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from safeconvert.comparison.comparators import TOP1
from safeconvert.comparison.figures import Figures, box_iou, judged_ranges
from safeconvert.comparison.label_rows import compare_labels
from safeconvert.comparison.limits import beyond_limits
from safeconvert.comparison.output_kinds import OutputKind
from safeconvert.comparison.output_rows import compare_rows_of_output
from safeconvert.comparison.output_rules import OutputRule, rules_from_arrays
from safeconvert.comparison.tolerance import ScaleMeter, Tolerance

VALUES = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)


def rule(name: str = "values") -> OutputRule:
    return replace(rules_from_arrays([name], [VALUES], Tolerance())[0], is_quantized=True)


def test_errors_are_shares_of_each_channel_s_own_range() -> None:
    scaled = VALUES * np.array([1, 100, 1e-3, 1], np.float32)
    judged = replace(rules_from_arrays(["values"], [scaled], Tolerance())[0], is_quantized=True)
    off = scaled.copy()
    off[:, 2] += 0.1 * np.ptp(scaled[:, 2])
    rows = compare_rows_of_output(judged, scaled, off, TOP1)
    (reason,) = beyond_limits(judged, rows.figures, several=False)
    assert "channel 2 is off by 10.00 % of its range" in reason
    assert rows.figures.to_json(judged.ranges)["range_error_percent"] == pytest.approx(10, abs=0.01)


def test_a_channel_without_signal_is_told_by_its_ratio() -> None:
    sparse = np.zeros((30, 2000, 2), np.float32)
    sparse[:, 7, 1] = np.linspace(0.5, 1, 30)
    sparse[..., 0] = np.random.default_rng(1).normal(size=(30, 2000))
    judged = replace(rules_from_arrays(["values"], [sparse], Tolerance())[0], is_quantized=True)
    lost = sparse * np.array([1, 0], np.float32)
    reasons = beyond_limits(judged, compare_rows_of_output(judged, sparse, lost, TOP1).figures, several=False)
    assert "channel 1 has lost its signal" in reasons[0]


def test_figures_of_batches_add_up_to_those_of_all() -> None:
    judged, off = rule(), VALUES * 1.01
    whole = compare_rows_of_output(judged, VALUES, off, TOP1).figures
    parts = [compare_rows_of_output(judged, VALUES[a:b], off[a:b], TOP1).figures for a, b in ((0, 10), (10, 30))]
    joined = Figures() + parts[0] + parts[1]
    assert joined.rms_error() == pytest.approx(whole.rms_error())
    assert joined.snr_db() == pytest.approx(whole.snr_db())


def test_iou_of_boxes_in_both_forms_and_of_what_is_no_box() -> None:
    corners = np.array([[0.0, 0, 10, 10], [10, 10, 30, 20]])
    moved = corners + np.array([5, 0, 5, 0])
    assert box_iou(corners, moved) == pytest.approx([1 / 3, 0.6])
    centres = np.array([[5.0, 5, 4, 10]])  # 4 wide: no corners, since 4 < 5
    assert box_iou(centres, centres + np.array([2, 0, 0, 0])) == pytest.approx([1 / 3])
    assert box_iou(np.array([[0.0, 0, -1, -1]]), np.array([[0.0, 0, -1, -1]])) is None


def test_a_long_vector_s_quiet_channels_are_judged_beside_the_others() -> None:
    ranges = judged_ranges(np.array([1.0] * 19 + [1e-4]))
    assert ranges[-1] == pytest.approx(0.05)
    assert judged_ranges(np.array([640.0, 1e-4]))[-1] == pytest.approx(1e-4)  # few channels: each is its own quantity


def test_labels_of_a_map_are_taken_along_its_class_axis_only() -> None:
    kind = OutputKind("map", 1, "test")
    source = np.zeros((2, 3, 4), np.float32)
    source[:, 1] = 1
    target = source.copy()
    target[0, 2, 3] = 5
    rows = compare_labels(kind, source, target, np.full((1, 1), 1e-3), 1)
    assert rows.differ.tolist() == [True, False]
    assert rows.share.tolist() == [25.0, 0.0]


def test_scales_are_over_the_inputs_and_not_over_positions() -> None:
    grid = np.broadcast_to(np.arange(0, 640, 10, dtype=np.float32), (5, 64))[:, None] + np.zeros((5, 1, 1), np.float32)
    moving = grid + np.arange(5, dtype=np.float32)[:, None, None]
    meter = ScaleMeter()
    meter.add(moving[:2])
    meter.add(moving[2:])
    scales = meter.scales(1)
    assert scales.spread.max() == pytest.approx(4)
    constant = ScaleMeter()
    constant.add(grid)
    assert constant.scales(1).is_constant


def test_a_channel_that_does_not_move_is_held_to_rounding() -> None:
    constant = np.concatenate([VALUES, np.full((30, 1), 0.3, np.float32)], axis=1)
    (judged,) = rules_from_arrays(["values"], [constant], Tolerance())
    for by, differs in ((1e-6, False), (1e-4, True)):
        off = constant + np.array([0, 0, 0, 0, by], np.float32)
        assert compare_rows_of_output(judged, constant, off, TOP1).values_differ.any() == differs


def test_outputs_with_more_rows_for_some_inputs_are_judged_by_channel() -> None:
    random = np.random.default_rng(3)
    scale = np.array([100, 1], np.float32)
    batches = [random.normal(size=(4, rows, 2)).astype(np.float32) * scale for rows in (5, 3)]
    batches[0][1, 3:] = -np.inf  # padding
    meter = ScaleMeter()
    for batch in batches:
        meter.add(batch)
    (judged,) = rules_from_arrays(["values"], batches[:1], Tolerance())
    judged = replace(judged, scales=meter.scales(None))
    for batch in batches:
        assert not compare_rows_of_output(judged, batch, batch.copy(), TOP1).values_differ.any()
        small_off = compare_rows_of_output(judged, batch, batch + np.array([0, 0.1], np.float32), TOP1)
        assert small_off.values_differ.all()
    quantized = replace(judged, is_quantized=True)
    figures = Figures()
    for batch in batches:
        lost = np.where(np.isfinite(batch) & (np.arange(2) == 1), 0, batch)
        figures += compare_rows_of_output(quantized, batch, lost, TOP1).figures
    assert beyond_limits(quantized, figures, several=False)
