"""Outputs with as many rows as an input has objects: padded, and compared as sets."""

from __future__ import annotations

from typing import Any

import numpy as np

from safeconvert.comparison.varying_rows import in_source_order, row_counts
from safeconvert.runtimes.registry import MODELS, Loaded, run, spec
from safeconvert.runtimes.rows import MIN_CAPACITY

BOXES = np.array([[1, 2, 3, 4], [3, 4, 5, 6], [5, 6, 7, 8]], np.float32)
NAMES = ("a", "b")
SCORES = np.array([0.9, 0.5, 0.4], np.float32)


def padded(*rows: Any) -> np.ndarray[Any, Any]:
    """One input with these rows, padded to five."""
    array = np.asarray(rows, np.float32)
    return np.concatenate([array, np.full((5 - len(array), *array.shape[1:]), -np.inf, np.float32)])[np.newaxis]


def test_rows_in_another_order_are_the_same_set() -> None:
    source, order = [padded(*BOXES), padded(*SCORES)], [2, 0, 1]
    target = [padded(*BOXES[order]), padded(*SCORES[order])]
    assert [
        np.array_equal(a, b) for a, b in zip(in_source_order(source, target, {0, 1}, NAMES), source, strict=True)
    ] == [
        True,
        True,
    ]
    assert not np.array_equal(in_source_order(source, target, (), NAMES)[0], source[0])


def test_the_order_of_rows_that_are_no_boxes_is_kept() -> None:
    samples, features = padded(*SCORES), padded(*np.eye(3, 9))
    for rows in (samples, features):
        reversed_rows = rows.copy()
        reversed_rows[:, :3] = rows[:, 2::-1]
        (output,) = in_source_order([rows], [reversed_rows], {0}, ("words",))
        assert np.array_equal(output, reversed_rows)
    (output,) = in_source_order([features], [features[:, [2, 1, 0, 3, 4]]], {0}, ("boxes",))
    assert np.array_equal(output, features), "the name says that these are boxes"


def test_boxes_and_scores_are_moved_together_so_that_swapped_scores_stay_a_difference() -> None:
    source = [padded(*BOXES), padded(*SCORES)]
    boxes, scores = in_source_order(source, [source[0], padded(*SCORES[[1, 0, 2]])], {0, 1}, NAMES)
    assert not (np.array_equal(boxes, source[0]) and np.array_equal(scores, source[1]))


def test_a_row_more_or_less_stays_a_difference() -> None:
    source, target = [padded(*BOXES)], [padded(*BOXES[:2])]
    assert not np.array_equal(in_source_order(source, target, {0}, NAMES)[0], source[0])
    assert row_counts(source[0]) == [3]
    assert row_counts(target[0]) == [2]


def test_shorter_padding_is_lengthened() -> None:
    (output,) = in_source_order([padded(*BOXES)], [BOXES[np.newaxis, [1, 0, 2]]], {0}, NAMES)
    assert np.array_equal(output, padded(*BOXES))


def test_a_model_pads_what_varies_and_stacks_what_does_not() -> None:
    def positive(arrays: dict[str, Any]) -> list[Any]:
        x = arrays["x"]
        return [x[x > 0], np.array(x.sum()), x]

    MODELS["varying"] = Loaded(
        None, positive, [spec("x", [1, 4], "float32")], [spec(n, None, "float32") for n in "abc"]
    )
    x = np.array([[1, -1, 2, -2], [3, 4, 5, -6], [-1, -1, -1, -1]], np.float32)
    answer = run("varying", {"x": x})
    kept, total, same = answer.outputs
    assert row_counts(kept) == [2, 3, 0]
    assert kept.shape == (3, MIN_CAPACITY)
    assert kept[1, :3].tolist() == [3, 4, 5]
    assert total.tolist() == x.sum(axis=1).tolist()
    assert np.array_equal(same, x)
    assert (answer.unbatched, answer.varying) == ({0, 1}, {0})
    assert run("varying", {"x": x[:1]}).outputs[0].shape == (1, MIN_CAPACITY), "the length is kept from then on"
