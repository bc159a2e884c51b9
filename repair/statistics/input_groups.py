"""Divide inputs into those whose labels agree and those whose labels differ: the groups of the Kruskal-Wallis ranking.

*Similar* and *dissimilar* are the words of FetaFix (arXiv 2312.15101). Where labels give no two groups, inputs are
divided by how far the outputs are apart. Worker side.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import kruskal
from .ranking_values import InputGroups, OutputDifferences, ViewInputs
from .row_runner import RowRunner

Array = np.ndarray[Any, Any]


def output_differences(views: ViewInputs, order: Sequence[str]) -> OutputDifferences:
    """Run both views, and compare the outputs of each input.

    ``order`` are the Source's outputs in the Target's order. A label is the index of the largest value of an output; an
    output of one value has none. Outputs that are missing, of another size or not finite differ, and are infinitely far
    apart.
    """
    source, target = RowRunner.of_source(views), RowRunner.of_target(views)
    outputs = target.runner.outputs[: len(order)]
    labels_agree, distances = np.full(source.count, len(outputs) == len(order)), np.zeros(source.count)
    pairs = zip(source.each(order), target.each(outputs), strict=True)
    for row, (source_values, target_values) in enumerate(pairs):
        for source_name, target_name in zip(order, outputs, strict=False):
            a, b = source_values[source_name], target_values[target_name]
            if a.size != b.size or not np.isfinite(b).all():
                labels_agree[row], distances[row] = False, np.inf
                continue
            x, y = a.reshape(-1).astype(np.float64), b.reshape(-1).astype(np.float64)
            labels_agree[row] &= bool(x.argmax() == y.argmax())
            distances[row] = max(distances[row], float(np.abs(x - y).max(initial=0.0)))
    return OutputDifferences(labels_agree, distances)


def choose_groups(labels_agree: Array, distances: Array, seed: int) -> InputGroups:
    """Divide the inputs into two groups, and draw samples of them.

    The groups are halves by distance where fewer than ``kruskal.FEWEST`` labels agree, or differ. Raises ValueError for
    fewer than two inputs.
    """
    if len(labels_agree) < 2:
        raise ValueError(f"{len(labels_agree)} input is too few to compare groups of them")
    is_split = min(int(labels_agree.sum()), int((~labels_agree).sum())) < kruskal.FEWEST
    is_similar = lesser_half(distances) if is_split else labels_agree
    draws = kruskal.samplings(is_similar, seed)
    rows = np.unique(np.concatenate(draws))
    return InputGroups(
        rows=rows,
        is_similar=is_similar[rows],
        draws=tuple(np.searchsorted(rows, draw) for draw in draws),
        similar_count=int(is_similar.sum()),
        dissimilar_count=int((~is_similar).sum()),
        is_split_by_distance=is_split,
    )


def lesser_half(distances: Array) -> Array:
    """Mark the half of the inputs whose outputs are less far apart; of two or more never none and never all."""
    similar = np.zeros(len(distances), bool)
    similar[np.argsort(distances, kind="stable")[: len(distances) // 2]] = True
    return similar
