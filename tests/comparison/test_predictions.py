"""Labels, confidences and margins that the report shows, from arrays."""

from __future__ import annotations

import numpy as np
import pytest

from safeconvert.comparison import predictions as module
from safeconvert.comparison.compare import compare
from safeconvert.comparison.predictions import Predictions
from safeconvert.comparison.tolerance import Tolerance


def of(source: list[list[float]], target: list[list[float]], name: str = "logits") -> Predictions:
    arrays = [np.asarray(values, np.float32) for values in (source, target)]
    rows = range(7, 7 + len(source))
    return compare(rows, [arrays[0]], [arrays[1]], [name], Tolerance()).predictions


def test_logits_become_confidences_and_probabilities_stay_what_they_are() -> None:
    logits = of([[0.0, np.log(3.0)]], [[np.log(4.0), 0.0]])
    assert (list(logits.rows), list(logits.source_labels), list(logits.target_labels)) == ([7], [1], [0])
    np.testing.assert_allclose([logits.source_confidences[0], logits.target_confidences[0]], [0.75, 0.8], rtol=1e-6)
    np.testing.assert_allclose(logits.margins, [0.5], rtol=1e-6)
    probabilities = of([[0.7, 0.3], [0.2, 0.8]], [[0.7, 0.3], [0.6, 0.4]])
    np.testing.assert_allclose(probabilities.source_confidences, [0.7, 0.8], rtol=1e-6)
    np.testing.assert_allclose(probabilities.margins, [0.4, 0.6], rtol=1e-5)
    rounded = of([[0.7, 0.3]], [[0.5, 0.375]])
    np.testing.assert_allclose(rounded.target_confidences, [0.5], rtol=1e-6)


def test_disjoint_sets_are_joined_and_outputs_without_labels_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = of([[1.0, 2.0]], [[1.0, 2.0]]), of([[2.0, 1.0]], [[2.0, 1.0]])
    assert list((first + second).source_labels) == [1, 0]
    assert (Predictions() + first).output == "logits"
    monkeypatch.setattr(module, "MAX_INPUTS_KEPT", 1)
    assert list((first + second).source_labels) == [1]
    assert of([[1.0, 2.0]], [[1.0, 2.0]], "embedding").output == ""
