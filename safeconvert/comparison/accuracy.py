"""How often Source and Target predict the true label."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .comparison import Comparison


@dataclass(frozen=True)
class Accuracy:
    """``count`` inputs with a true label, and the percent of them that Source and Target predict right."""

    count: int
    source: float
    target: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def accuracy(comparison: Comparison, true_labels: Mapping[int, int]) -> Accuracy | None:
    """Return the accuracies over the inputs compared; ``true_labels`` are class indices by the input's row.

    None where no input compared has a true label, or no output has one label an input.
    """
    predictions = comparison.predictions
    labelled = [
        (true_labels[int(row)], int(source), int(target))
        for row, source, target in zip(
            predictions.rows, predictions.source_labels, predictions.target_labels, strict=True
        )
        if int(row) in true_labels
    ]
    if not labelled:
        return None
    shares = [100.0 * sum(label[0] == label[side] for label in labelled) / len(labelled) for side in (1, 2)]
    return Accuracy(len(labelled), *shares)
