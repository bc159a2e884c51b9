"""The report's ``check.accuracy``: how often Source and Target predict the true label that ``--labels`` gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..checking.verdict import Judgement
from ..comparison.accuracy import accuracy

SETS = ("calibration", "heldout")
SET_NOUNS = {"calibration": "calibration", "heldout": "held-out"}


def accuracy_section(judgement: Judgement, true_labels: Mapping[int, int]) -> dict[str, Any]:
    """Return ``{"accuracy": ...}`` by set of inputs; nothing without true labels, or where nothing was compared."""
    if not true_labels or judgement.compared is None:
        return {}
    measured = {name: accuracy(part, true_labels) for name, part in zip(SETS, judgement.compared, strict=True)}
    return {"accuracy": {name: None if part is None else part.to_json() for name, part in measured.items()}}


def accuracy_lines(check: Mapping[str, Any]) -> list[str]:
    """Return a line for each set of inputs with true labels."""
    parts = check.get("accuracy", {})
    return [
        f"accuracy on {part['count']} {SET_NOUNS[name]} inputs with a true label: "
        f"Source {part['source']:.2f} %, Target {part['target']:.2f} %"
        for name, part in parts.items()
        if part is not None
    ]
