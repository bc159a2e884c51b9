"""The report's ``check.predictions``: which inputs are predicted otherwise, and how sure the Source is of labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..checking.verdict import Judgement
from ..comparison.comparison import Comparison
from ..comparison.predictions import Predictions
from ..inputs.base import Inputs
from .class_names import class_names

MAX_INPUTS_LISTED = 24
MARGIN_BINS = 20  # of equal width, from 0 to 1


@dataclass(frozen=True)
class ChangedInput:
    """An input that Source and Target predict otherwise, before the repair or after it; ``row`` is its number."""

    row: int
    set_name: str
    source: dict[str, Any]
    before: dict[str, Any] | None
    after: dict[str, Any] | None

    def to_json(self, inputs: Inputs) -> dict[str, Any]:
        return {
            "input": inputs.label(self.row),
            "row": self.row,
            "set": self.set_name,
            "source": self.source,
            "before": self.before,
            "after": self.after,
        }


def predictions_section(
    judgement: Judgement, inputs: Inputs, class_counts: Mapping[str, int | None]
) -> dict[str, Any] | None:
    """Return ``check.predictions``; None where no output has one label an input, or nothing was compared.

    ``class_counts`` are the numbers of classes by the output's name, None where they are not known.
    """
    after, before = judgement.compared, judgement.before
    if after is None or not after[0].predictions.output:
        return None
    changed = changed_inputs(after, before)
    changed.sort(key=lambda each: each.after is None or each.after["label"] == each.source["label"])
    return {
        "output": after[0].predictions.output,
        "class_names": class_names(inputs, after, class_counts.get(after[0].predictions.output)),
        "changed_count": len(changed),
        "changed": [each.to_json(inputs) for each in changed[:MAX_INPUTS_LISTED]],
        "margins": margins(after, before),
    }


def changed_inputs(after: Sequence[Comparison], before: Sequence[Comparison] | None) -> list[ChangedInput]:
    """Return the inputs that the Target predicts otherwise, or did before the repair (None: nothing was repaired)."""
    changed: list[ChangedInput] = []
    for index, set_name in enumerate(("calibration", "heldout")):
        now = _by_row(after[index].predictions)
        then = {} if before is None else _by_row(before[index].predictions)
        for row in dict.fromkeys((*now, *then)):
            pairs = [each[row] for each in (now, then) if row in each]
            if any(source["label"] != target["label"] for source, target in pairs):
                targets = [each[row][1] if row in each else None for each in (then, now)]
                changed.append(ChangedInput(row, set_name, pairs[0][0], *targets))
    return changed


def _by_row(predictions: Predictions) -> dict[int, tuple[dict[str, Any], dict[str, Any]]]:
    """Return the Source's and the Target's label and confidence by the input's number."""
    columns = (
        predictions.source_labels,
        predictions.source_confidences,
        predictions.target_labels,
        predictions.target_confidences,
    )
    rows = zip(predictions.rows, *columns, strict=True)
    return {int(row): (_prediction(a, p), _prediction(b, q)) for row, a, p, b, q in rows}


def _prediction(label: float, confidence: float) -> dict[str, Any]:
    return {"label": int(label), "confidence": round(float(confidence), 6)}


def margins(after: Sequence[Comparison], before: Sequence[Comparison] | None) -> dict[str, Any]:
    """Return how many inputs have a Source margin in each of the bins: all, and those whose label changed."""
    edges = np.linspace(0, 1, MARGIN_BINS + 1)

    def counts(compared: Sequence[Comparison], *, changed_only: bool) -> list[int]:
        values = [
            each.margins[each.source_labels != each.target_labels] if changed_only else each.margins
            for each in (comparison.predictions for comparison in compared)
        ]
        return [int(n) for n in np.histogram(np.clip(np.concatenate(values), 0, 1), edges)[0]]

    return {
        "edges": [round(float(edge), 6) for edge in edges],
        "all": counts(after, changed_only=False),
        "changed_before": None if before is None else counts(before, changed_only=True),
        "changed_after": counts(after, changed_only=True),
    }
