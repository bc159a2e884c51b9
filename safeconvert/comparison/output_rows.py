"""Compare one output of Source and Target over a batch, input by input, as its rule says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .comparators import Comparator
from .figures import SINGLE_INPUT_FACTOR, Figures, box_iou
from .label_rows import compare_labels
from .output_kinds import BOX_CORNERS
from .output_rules import OutputRule
from .tolerance import real_values

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class OutputRows:
    """What was seen of one output; every array holds a boolean for each input.

    ``values_differ``: a value is outside its tolerance. ``labels_differ``: the label is another one (of a map:
    at any position), near-ties included. ``predictions_differ``: the input differs by the rule for quantised outputs.
    ``source_not_finite``: the Source gives NaN or infinity, -inf of a mask excepted; ``target_not_finite`` likewise,
    where the Source does not. ``ratio``: the largest difference in units of the tolerance.
    """

    values_differ: Array
    labels_differ: Array
    predictions_differ: Array
    near_ties: Array
    order_differs: Array
    source_not_finite: Array
    target_not_finite: Array
    has_labels: bool
    max_abs: float | None
    ratio: float
    figures: Figures = field(default_factory=Figures)


def compare_rows_of_output(rule: OutputRule, source: Array, target: Array, by: Comparator) -> OutputRows:
    """Compare arrays of one shape, batch first."""
    if rule.kind.kind == "ids" or source.dtype.kind not in "fcViub" or target.dtype.kind not in "fcViub":
        return _exact(source, target)
    a, b = real_values(source), real_values(target)
    if a.shape != b.shape:  # complex against real
        return all_rows_of_output_differ(len(a))
    with np.errstate(invalid="ignore"):
        is_mask = np.isneginf(a) & np.isneginf(b)
        lost_mask = _any(np.isneginf(a) & ~np.isneginf(b))
    bad_source = _any(~np.isfinite(a) & ~np.isneginf(a))
    bad_target = _any(~np.isfinite(b) & ~is_mask)
    a, b = np.where(np.isfinite(a), a, 0), np.where(np.isfinite(b), b, 0)
    difference, allowed = np.abs(a - b), _allowed(rule, a)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.nan_to_num(difference / allowed, nan=0.0, posinf=np.inf)  # 0 of 0 allowed is no difference
    is_wrong = lost_mask | bad_source | bad_target
    values_differ = _any(ratios > 1) | is_wrong
    finite = ~(bad_source | bad_target)
    ratio = float(ratios.max(initial=0.0)) if not is_wrong.any() else float(np.inf)
    max_abs = float(difference[finite].max(initial=0.0)) if finite.any() else None
    seen = compare_labels(rule.kind, a, b, allowed, by.top)
    counted = ~seen.differ if rule.kind.kind == "labels" else slice(None)  # another label is counted as such
    figures = seen.figures + _errors(rule, a[counted], b[counted])
    has_labels, labels = seen.has_labels, seen.differ
    predictions = (seen.share > _single_limit(rule) if rule.kind.kind == "map" else labels) & values_differ
    if rule.judges_values and rule.kind.kind != "labels":
        predictions |= _far_rows(rule, a, b)
    if rule.kind.kind == "boxes":
        figures += _box_figures(rule, a, b)
    return OutputRows(
        values_differ,
        labels | (is_wrong & has_labels),
        predictions | is_wrong,
        seen.near_ties & ~bad_source,
        seen.order_differs | (is_wrong & has_labels),
        bad_source,
        bad_target,
        has_labels,
        max_abs,
        ratio,
        figures,
    )


def all_rows_of_output_differ(count: int) -> OutputRows:
    """What is said of an output that cannot be subtracted."""
    yes, no = np.ones(count, bool), np.zeros(count, bool)
    return OutputRows(yes, yes, yes, no, no, no, no, False, None, float(np.inf))


def _exact(source: Array, target: Array) -> OutputRows:
    """Integers, booleans and strings: equal or not. A float that holds the same whole number is equal."""
    differ = _any(source != target)
    no = np.zeros(len(source), bool)
    max_abs = None
    if source.dtype.kind in "iufb" and target.dtype.kind in "iufb":
        max_abs = float(np.abs(source.astype(np.float64) - target.astype(np.float64)).max(initial=0.0))
    elif not differ.any():
        max_abs = 0.0
    ratio = float(np.inf) if differ.any() else 0.0
    figures = Figures(labels=source.size, labels_differ=int((source != target).sum()))
    return OutputRows(differ, differ, differ, no, no, no, no, False, max_abs, ratio, figures)


def _allowed(rule: OutputRule, a: Array) -> Array:
    """The tolerance of each element; masked values are held to a share of themselves.

    A value outside of the range that its channel's scale was measured on widens that scale, for itself.
    """
    allowed = rule.allowed
    try:
        allowed = np.broadcast_to(allowed, a.shape[1:])
    except ValueError:  # another number of rows than in the inputs that the scales are from
        has_channels = allowed.ndim > 0 and allowed.shape[-1] == a.shape[-1]
        axes = tuple(range(allowed.ndim - 1)) if has_channels else None
        allowed = np.asarray(allowed.min(axis=axes, initial=np.inf))
    mask_from = rule.scales.mask_from if allowed.ndim else rule.scales.mask_from.min()
    allowed = allowed + rule.tolerance.rtol * rule.scales.beyond(a)
    if np.isfinite(mask_from).any():
        is_mask = np.abs(a) >= mask_from
        return np.where(is_mask, rule.tolerance.rtol * np.abs(a), allowed)
    return allowed


def _errors(rule: OutputRule, a: Array, b: Array) -> Figures:
    """Sums of values and squared errors by channel, for range errors and signal-to-noise ratios."""
    a, b = _by_channel(rule, a), _by_channel(rule, b)
    a64 = a.astype(np.float64, copy=False)
    return Figures(
        elements=a.shape[0] * a.shape[1],
        error_square=np.square(a64 - b).sum(axis=(0, 1)),
        source_sum=a64.sum(axis=(0, 1)),
        source_square=np.square(a64).sum(axis=(0, 1)),
    )


def _by_channel(rule: OutputRule, values: Array) -> Array:
    """The values as [input, position, channel]."""
    axis = rule.scales.channel_axis
    if axis is None or axis >= values.ndim:
        return values.reshape(len(values), -1, 1)
    moved = np.moveaxis(values, axis, -1)
    return moved.reshape(len(values), int(np.prod(moved.shape[1:-1])), moved.shape[-1])


def _far_rows(rule: OutputRule, a: Array, b: Array) -> Array:
    """Inputs whose error, root mean square over a channel's positions, is beyond what one input may be off."""
    a, b, ranges = _by_channel(rule, a), _by_channel(rule, b), rule.ranges
    if not a.size:
        return np.zeros(len(a), bool)
    errors = np.sqrt(np.square(a - b, dtype=np.float64).mean(axis=1))
    if ranges.size not in (1, errors.shape[1]):
        ranges = ranges.min(keepdims=True)
    return np.asarray((100 * errors / ranges > SINGLE_INPUT_FACTOR * rule.value_limit_percent).any(axis=1))


def _single_limit(rule: OutputRule) -> float:
    """Percent of the positions of one input's map that may have another label."""
    return SINGLE_INPUT_FACTOR * rule.max_error_percent


def _box_figures(rule: OutputRule, a: Array, b: Array) -> Figures:
    """IoU of the boxes that count: those with a score of at least half of the input's best, or all without scores."""
    axis = rule.scales.channel_axis
    if axis is None or a.shape[axis] < BOX_CORNERS:
        return Figures()
    a, b = _by_channel(rule, a), _by_channel(rule, b)
    iou = box_iou(a[..., :BOX_CORNERS], b[..., :BOX_CORNERS])
    if iou is None or not iou.size:
        return Figures()
    if rule.kind.first_score is not None:
        best = a[..., rule.kind.first_score :].max(axis=-1)
        iou = iou[best >= best.max(axis=1, keepdims=True) / 2]
    return Figures(boxes=iou.size, box_iou=float(iou.sum()), worst_box_iou=float(iou.min()))


def _any(values: Array) -> Array:
    """For each input: is any true?"""
    return np.asarray(values.reshape(len(values), -1).any(axis=1))
