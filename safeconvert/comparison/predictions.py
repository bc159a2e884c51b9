"""What Source and Target predict for each input: label, confidence and margin, kept for the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any

import numpy as np

from .output_rules import OutputRule
from .tolerance import real_values

Array = np.ndarray[Any, Any]
MAX_INPUTS_KEPT = 10_000
MAX_SUM_ERROR = 0.02  # of values that are taken as probabilities
_NONE = partial(np.empty, 0)


@dataclass(frozen=True, eq=False)
class Predictions:
    """The predictions for some inputs by one output with labels; each array holds one entry an input.

    ``output`` names it, "" where no output has one label an input. ``rows`` are the inputs' numbers. Confidences are
    from 0 to 1: the output's own values where they are probabilities, else their softmax. ``margins`` are how far the
    Source's best class is ahead of its second, in confidence.
    """

    output: str = ""
    rows: Array = field(default_factory=_NONE)
    source_labels: Array = field(default_factory=_NONE)
    source_confidences: Array = field(default_factory=_NONE)
    target_labels: Array = field(default_factory=_NONE)
    target_confidences: Array = field(default_factory=_NONE)
    margins: Array = field(default_factory=_NONE)

    def __add__(self, other: Predictions) -> Predictions:
        """Join the predictions for two disjoint sets of inputs; the first ``MAX_INPUTS_KEPT`` are kept."""
        if not self.output or not other.output:
            return self if self.output else other
        arrays = [f.name for f in fields(self) if f.name != "output"]
        joined = [np.concatenate([getattr(self, name), getattr(other, name)])[:MAX_INPUTS_KEPT] for name in arrays]
        return Predictions(self.output, *joined)


def predictions(
    rows: Sequence[int], rules: Sequence[OutputRule], source: Sequence[Array], target: Sequence[Array]
) -> Predictions:
    """Return what the first output with one label an input says; nothing where no output has one.

    ``source`` and ``target`` are the outputs, batch first, matched by position.
    """
    for rule, expected, actual in zip(rules, source, target, strict=False):
        if rule.kind.kind != "labels" or expected.shape != actual.shape or len(expected) != len(rows):
            continue
        if expected.size != len(rows) * max(expected.shape[1:2], default=1):  # several labels an input
            continue
        if any(values.dtype.kind not in "fVui" for values in (expected, actual)):
            continue
        source_numbers, target_numbers = _numbers(expected), _numbers(actual)
        are_probabilities = rule.kind.is_binary or _sum_to_one(source_numbers)
        a, b = (
            _confidences(numbers, rule, are_probabilities=are_probabilities)
            for numbers in (source_numbers, target_numbers)
        )
        if a.shape[1] < 2:
            continue
        labels, target_labels = a.argmax(axis=1), b.argmax(axis=1)
        inputs = np.arange(len(rows))
        best_two = np.sort(a, axis=1)[:, -2:]
        return Predictions(
            rule.name,
            np.asarray(rows),
            labels,
            a[inputs, labels],
            target_labels,
            b[inputs, target_labels],
            best_two[:, 1] - best_two[:, 0],
        )
    return Predictions()


def _numbers(values: Array) -> Array:
    """The values as float64 [inputs, classes]."""
    return np.nan_to_num(real_values(values).astype(np.float64)).reshape(len(values), -1)


def _sum_to_one(numbers: Array) -> bool:
    return bool(numbers.size and numbers.min() >= 0 and np.abs(numbers.sum(axis=1) - 1).max() < MAX_SUM_ERROR)


def _confidences(numbers: Array, rule: OutputRule, *, are_probabilities: bool) -> Array:
    """The confidence of each class [inputs, classes]. The Source's outputs say whether they are probabilities: those of
    a quantised Target need not sum to 1."""
    if rule.kind.is_binary:
        return np.concatenate([1 - numbers, numbers], axis=1)
    if are_probabilities:
        return numbers
    powers = np.exp(np.clip(numbers - numbers.max(axis=1, keepdims=True, initial=-np.inf), -700, 0))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
