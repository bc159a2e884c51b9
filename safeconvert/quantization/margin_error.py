"""How far quantised outputs are off, by what it takes to change a prediction.

A changed label in a hundred photos is chance; how much of each photo's margin an error uses up is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..comparison.output_rules import OutputRule

Array = np.ndarray[Any, Any]
MAX_SHARE = 2.0  # of a margin that counts, so that near-ties do not outweigh everything else


def margin_shares(expected: Array, actual: Array) -> Array:
    """Return, for each row of scores ``[n, classes]``, the largest share of a margin that the error uses up.

    The margin of a class is how far its score lies below the row's best. A share of 1 or more changes the label; it is
    cut at ``MAX_SHARE``.
    """
    rows = np.arange(len(expected))
    best = expected.argmax(1)
    margin = (expected[rows, best][:, None] - expected).astype(np.float64)
    left = (actual[rows, best][:, None] - actual).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.where(margin > 0, (margin - left) / margin, 0.0)
    shares[rows, best] = 0.0
    largest: Array = np.clip(np.nan_to_num(shares, nan=MAX_SHARE).max(1, initial=0.0), 0.0, MAX_SHARE)
    return largest


def output_error(expected: Sequence[Array], actual: Sequence[Array], rules: Sequence[OutputRule]) -> float:
    """Return the error summed over a batch's rows: squared shares of margins for labels, else noise over signal."""
    total = 0.0
    for source, target, rule in zip(expected, actual, rules, strict=False):
        if source.shape != target.shape or not source.size or source.dtype.kind not in "fiu":
            total += MAX_SHARE**2 * max(1, len(source) if source.ndim else 1)
        elif rule.kind.kind == "labels" and source.ndim == 2 and source.shape[1] > 1:
            total += float(np.square(margin_shares(source, target)).sum())
        else:
            noise = float(np.mean(np.square(target.astype(np.float64) - source)))
            signal = float(np.var(source.astype(np.float64)))
            total += len(source) * min(noise / signal if signal else noise, MAX_SHARE**2)
    return total
