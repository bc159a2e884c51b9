"""What an output is, decided from its values and its name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from safeconvert.comparison.output_kinds import KindChoices, OutputKind, decide_kind
from safeconvert.errors import BadInput
from safeconvert.options import Options

Array = np.ndarray[Any, Any]
RANDOM = np.random.default_rng(0)


def normal(*shape: int) -> Array:
    return RANDOM.normal(size=shape).astype(np.float32)


def softmax(x: Array, axis: int = -1) -> Array:
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return np.asarray(e / e.sum(axis=axis, keepdims=True), np.float32)


def detector(axis: int) -> Array:
    """Pixels and scores in one output, channels along ``axis``."""
    boxes, scores = RANDOM.uniform(0, 640, (8, 4, 50)), RANDOM.uniform(0, 1, (8, 10, 50))
    rows = np.concatenate([boxes, scores], axis=1).astype(np.float32)
    return rows if axis == 1 else rows.transpose(0, 2, 1)


def kind(name: str, array: Array, *, channels_last: bool = False) -> OutputKind:
    return decide_kind(name, array, channels_last=channels_last)


@pytest.mark.parametrize(
    ("name", "array", "expected", "axis"),
    [
        ("y", normal(8, 10), "labels", 1),
        ("y", softmax(normal(8, 10)), "labels", 1),
        ("sigmoid", RANDOM.uniform(0, 1, (8, 1)), "labels", 1),
        ("y", normal(8, 1), "values", 1),
        ("embedding", normal(8, 64), "values", 1),
        ("y", normal(8, 64) / np.linalg.norm(normal(8, 64) * 0 + 1, axis=1, keepdims=True), "labels", 1),
        ("box", normal(8, 4), "boxes", 1),
        ("y", softmax(normal(8, 5, 6, 6), 1), "map", 1),
        ("y", softmax(normal(8, 6, 6, 5)), "map", 3),
        ("token_logits", normal(8, 12, 5), "map", 2),
        ("mask", normal(8, 5, 6, 6), "map", 1),
        ("y", detector(1), "boxes", 1),
        ("y", detector(2), "boxes", 2),
        ("boxes", normal(8, 50, 4), "boxes", 2),
        ("y", normal(8, 3, 16, 16), "values", None),
        ("y", normal(8, 12, 5), "values", None),
        ("y", normal(8, 16000, 1), "values", None),
        ("y", RANDOM.integers(0, 9, (8, 5)), "ids", None),
        ("y", normal(8, 5) > 0, "ids", None),
        ("y", np.array([["a"], ["b"]]), "ids", None),
        ("y", normal(8, 5) + 1j * normal(8, 5), "values", 1),
    ],
)
def test_the_kind_is_decided_by_values_and_name(name: str, array: Array, expected: str, axis: int | None) -> None:
    decided = kind(name, array)
    assert (decided.kind, decided.class_axis) == (expected, axis), decided.origin


def test_rows_of_unit_length_are_an_embedding() -> None:
    rows = normal(8, 64)
    assert kind("y", rows / np.linalg.norm(rows, axis=1, keepdims=True)).kind == "values"


def test_in_doubt_labels_are_not_certain() -> None:
    assert not kind("y", normal(8, 10)).is_certain
    assert kind("logits", normal(8, 10)).is_certain
    assert kind("y", softmax(normal(8, 10))).is_certain


def test_classes_of_a_named_mask_stand_where_the_format_has_them() -> None:
    assert kind("mask", normal(8, 6, 6, 5), channels_last=True).class_axis == 3


def test_a_lone_probability_is_a_label_at_one_half() -> None:
    assert kind("y", RANDOM.uniform(0, 1, (8, 1))).is_binary
    assert kind("mask", RANDOM.uniform(0, 1, (8, 6, 6, 1)), channels_last=True).is_binary


@pytest.mark.parametrize("chosen", ["labels", "map", "boxes", "values", "ids"])
def test_the_person_decides(chosen: str) -> None:
    decided = decide_kind("y", normal(8, 6, 5), channels_last=False, choices=KindChoices({"y": chosen}))
    assert (decided.kind, decided.origin) == (chosen, "--output-kind")


def test_the_class_axis_is_the_person_s() -> None:
    choices = KindChoices({}, {"y": 2})
    decided = decide_kind("y", normal(8, 5, 6), channels_last=False, choices=choices)
    assert (decided.kind, decided.class_axis) == ("map", 2)
    with pytest.raises(BadInput, match="from 1 to 2"):
        decide_kind("y", normal(8, 5, 6), channels_last=False, choices=KindChoices({}, {"y": 3}))
    with pytest.raises(BadInput, match="outputs are y"):
        Options(output_kind={"z": "ids"}).check_output_names(["y"])
