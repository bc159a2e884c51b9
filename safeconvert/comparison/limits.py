"""What a quantised output may be off, over all inputs, and what is beyond it, in words."""

from __future__ import annotations

import numpy as np

from .figures import MIN_CLASS_IOU, MIN_CLASS_SHARE, MIN_SNR_DB, SAME_SIZE, SINGLE_INPUT_FACTOR, Figures
from .output_rules import OutputRule

EIGHT_BIT_ROUNDING_PERCENT = 100 / 256  # of a range: errors below it are the rounding of 8 bits


def beyond_limits(rule: OutputRule, figures: Figures, *, several: bool) -> list[str]:
    """Why a quantised output is too far off; nothing where it is within its limits.

    Labels [n, classes] are counted input by input, elsewhere. ``several``: there are more outputs, so name this one.
    """
    where = f"output {rule.name!r} ({rule.kind.kind})" if several else "the output"
    reasons = []
    if rule.kind.kind == "ids" and figures.labels_differ:
        reasons.append(f"{where}: {figures.labels_differ} of {figures.labels} ids differ")
    if rule.kind.kind == "map":
        reasons += _map_reasons(rule, figures)
    if rule.kind.kind == "boxes":
        reasons += _box_reasons(rule, figures)
    if rule.kind.kind != "ids" and rule.judges_values:
        reasons += _value_reasons(rule, figures)
    return [reason if reason.startswith(where) else f"{where}: {reason}" for reason in reasons]


def _map_reasons(rule: OutputRule, figures: Figures) -> list[str]:
    percent, limit = figures.labels_percent, rule.max_error_percent
    if percent is None:
        return []
    reasons = []
    if percent > limit:
        reasons.append(f"{percent:.2f} % of the positions have another label (limit {limit:g} %)")
    mean, least = figures.mean_iou, 1 - SINGLE_INPUT_FACTOR * limit / 100
    if mean is not None and mean < least:
        reasons.append(f"mean IoU over classes is {mean:.3f} (limit {least:.2f})")
    share = figures.source_classes / max(figures.source_classes.sum(), 1)
    iou = figures.class_iou()
    lost = np.flatnonzero((share >= MIN_CLASS_SHARE) & (iou < MIN_CLASS_IOU))
    if lost.size:
        worst = int(lost[np.argmin(iou[lost])])
        reasons.append(f"IoU of class {worst} is {iou[worst]:.3f} (limit {MIN_CLASS_IOU:g})")
    return reasons


def _box_reasons(rule: OutputRule, figures: Figures) -> list[str]:
    mean, least = figures.mean_box_iou, 1 - SINGLE_INPUT_FACTOR * rule.max_error_percent / 100
    if mean is None or mean >= least:
        return []
    return [f"mean IoU of the boxes is {mean:.3f} (limit {least:.2f})"]


def _value_reasons(rule: OutputRule, figures: Figures) -> list[str]:
    """Channels whose error is too large a share of their range, or has drowned their signal."""
    errors, ranges, limit = figures.rms_error(), rule.ranges, rule.value_limit_percent
    if not errors.size:
        return []
    if errors.shape != ranges.shape:
        ranges = np.full(errors.shape, float(ranges.min()))
    shares = 100 * errors / np.maximum(ranges, SAME_SIZE)
    snr = figures.snr_db()
    is_far, is_drowned = shares > limit, (snr < MIN_SNR_DB) & (shares > EIGHT_BIT_ROUNDING_PERCENT)
    if rule.scales.channels.shape == ranges.shape:
        # Of a vector's channel that hardly moves, judged beside the others, there is no signal to lose.
        is_drowned &= rule.scales.channels >= ranges
    is_drowned &= not rule.kind.has_labels  # the range says enough beside labels that agree
    if not is_far.any() and not is_drowned.any():
        return []
    worst = int(np.argmax(np.where(is_far, shares, -1) if is_far.any() else np.where(is_drowned, -snr, -np.inf)))
    channel_words = _channel(rule, worst, len(shares))
    count = int((is_far | is_drowned).sum())
    of = f" ({count} of {len(shares)} channels)" if len(shares) > 1 else ""
    lost = f"has lost its signal: signal-to-noise ratio {snr[worst]:.1f} dB (limit {MIN_SNR_DB:g} dB)"
    if not is_far[worst]:
        return [f"{channel_words} {lost}{of}"]
    off = f"is off by {shares[worst]:.2f} % of its range, root mean square (limit {limit:g} %)"
    return [
        f"{channel_words} {lost} and {off}{of}"
        if is_drowned[worst] and snr[worst] < 0
        else f"{channel_words} {off}{of}"
    ]


def _channel(rule: OutputRule, channel: int, count: int) -> str:
    if count == 1:
        return "it"
    if rule.kind.kind != "boxes":
        return f"channel {channel}"
    if rule.kind.first_score is not None and channel >= rule.kind.first_score:
        return f"the score of channel {channel}"
    return f"the coordinate of channel {channel}"
