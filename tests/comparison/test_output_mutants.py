"""Wrong Targets of every kind of output, float and quantised, and right ones beside them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from safeconvert.comparison.compare import compare
from safeconvert.comparison.comparison import Comparison
from safeconvert.comparison.output_kinds import KindChoices
from safeconvert.comparison.output_rules import rules_from_arrays
from safeconvert.comparison.tolerance import Tolerance

Array = np.ndarray[Any, Any]
RANDOM = np.random.default_rng(5)
COUNT = 40


def normal(*shape: int) -> Array:
    return RANDOM.normal(size=(COUNT, *shape)).astype(np.float32)


def sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)), np.float32)


def softmax(x: Array, axis: int) -> Array:
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return np.asarray(e / e.sum(axis=axis, keepdims=True), np.float32)


def segmentation() -> Array:
    """Probabilities [n, 5, 16, 16] of blobs: most positions are sure of their class."""
    coarse = RANDOM.normal(size=(COUNT, 5, 4, 4)).astype(np.float32) * 6
    return softmax(coarse.repeat(4, axis=2).repeat(4, axis=3), 1)


def detector() -> Array:
    """[n, 14, 64]: centres and sizes in pixels of a grid, then ten scores, most of them small."""
    grid = np.stack(np.meshgrid(np.arange(8) * 80 + 40.0, np.arange(8) * 80 + 40.0)).reshape(2, 64)
    boxes = np.concatenate([np.broadcast_to(grid, (COUNT, 2, 64)), np.full((COUNT, 2, 64), 70.0)], axis=1)
    return np.concatenate([boxes + normal(4, 64) * 4, sigmoid(normal(10, 64) * 2 - 3)], axis=1).astype(np.float32)


def against(
    source: Array, target: Array, *, name: str = "y", quantized: bool = False, kind: str | None = None
) -> Comparison:
    choices = KindChoices({} if kind is None else {name: kind})
    rules = rules_from_arrays([name], [source], Tolerance(), choices=choices)
    rules = tuple(replace(rule, is_quantized=quantized) for rule in rules)
    return compare(range(len(source)), [source], [target], [name], rules)


def rounded(x: Array, axis: int | None = None) -> Array:
    """The values rounded to 8 bits: of the whole array, or of each channel along ``axis``."""
    axes = None if axis is None else tuple(i for i in range(x.ndim) if i != axis)
    low, high = x.min(axis=axes, keepdims=True), x.max(axis=axes, keepdims=True)
    step = np.maximum((high - low) / 255, 1e-12)
    return np.asarray(low + np.round((x - low) / step) * step, np.float32)


def shifted(x: Array, axis: int, start: int = 0) -> Array:
    """The channels from ``start`` on, rotated by one."""
    kept, moved = np.split(x, [start], axis=axis)
    return np.concatenate([kept, np.roll(moved, 1, axis=axis)], axis=axis)


def masked(scale: float) -> Array:
    logits = np.random.default_rng(1).normal(size=(COUNT, 6)).astype(np.float32) * 3 * scale
    return logits + np.array([0, 0, 0, 0, 0, -1e9], np.float32)


SEGMENTATION, DETECTOR, LOGITS, DEPTH = segmentation(), detector(), normal(10) * 5, normal(1, 12, 12) * 3 + 20
EMBEDDING, IDS, TOKENS = normal(32), RANDOM.integers(1000, 20000, (COUNT,)), softmax(normal(7, 9) * 5, 2)
SCENES = np.where(np.arange(6) == 5, -1e9, normal(7, 6) * 3).astype(np.float32)

RIGHT: list[tuple[str, Array]] = [
    ("logits", LOGITS), ("mask", SEGMENTATION), ("y", DETECTOR), ("depth", DEPTH), ("embedding", EMBEDDING),
    ("ids", IDS), ("tokens", TOKENS), ("masked", masked(1)), ("small", LOGITS * np.float32(1e-6)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "source"), RIGHT)
def test_the_same_agrees_and_rounding_of_float32_too(name: str, source: Array) -> None:
    assert against(source, source.copy(), name=name).agrees()
    assert against(source, source.copy(), name=name, quantized=True).agrees()
    if source.dtype.kind == "f":
        assert against(source, source * np.float32(1 + 3e-6), name=name).agrees()


FLOAT_MUTANTS: dict[str, tuple[Array, Callable[[Array], Array]]] = {
    "doubled logits": (LOGITS, lambda x: x * 2),
    "doubled logits beside a masked one": (masked(1), lambda _: masked(2)),
    "values of 1e-6 doubled": (LOGITS * np.float32(1e-6), lambda x: x * 2),
    "scores rotated beside pixels": (DETECTOR, lambda x: shifted(x, 1, 4)),
    "scores halved beside pixels": (DETECTOR, lambda x: np.concatenate([x[:, :4], x[:, 4:] / 2], 1)),
    "boxes moved by half a pixel": (DETECTOR, lambda x: x + np.eye(14, dtype=np.float32)[0][:, None] / 2),
    "classes of a map rotated": (SEGMENTATION, lambda x: shifted(x, 1)),
    "depth tempered": (DEPTH, lambda x: 20 + (x - 20) * np.float32(0.99)),
    "depth transposed": (DEPTH, lambda x: x.transpose(0, 1, 3, 2)),
    "ids off by one": (IDS, lambda x: x + 1),
    "tokens shifted": (TOKENS, lambda x: np.roll(x, 1, axis=1)),
    "a mask lost": (masked(1), lambda x: np.maximum(x, -20)),
    "logits doubled where positions are masked": (SCENES, lambda x: np.where(x > -1e8, x * 2, x)),
    "one embedding channel zero": (EMBEDDING, lambda x: x * (np.arange(32) != 7).astype(np.float32)),
    "bools negated": (LOGITS > 0, lambda x: ~x),
    "imaginary parts negated": (LOGITS + 1j * normal(10), np.conj),
    "another string": (np.array([["a"], ["b"]] * 20), lambda x: np.where(x == "a", "c", x)),
}


@pytest.mark.parametrize("name", FLOAT_MUTANTS)
def test_a_changed_output_differs(name: str) -> None:
    source, mutant = FLOAT_MUTANTS[name]
    comparison = against(source, mutant(source))
    assert not comparison.agrees(), name
    assert comparison.differing


QUANTIZED_RIGHT: dict[str, tuple[str, Array, Array]] = {
    "probabilities": ("y", softmax(LOGITS, 1), rounded(softmax(LOGITS, 1))),
    "a map": ("y", SEGMENTATION, rounded(SEGMENTATION)),
    "boxes and scores, each channel on its own scale": ("y", DETECTOR, rounded(DETECTOR, 1)),
    "depth": ("depth", DEPTH, rounded(DEPTH)),
    "an embedding": ("embedding", EMBEDDING, rounded(EMBEDDING)),
    "tokens": ("y", TOKENS, rounded(TOKENS)),
    "a sigmoid": ("y", sigmoid(normal(1)), np.zeros(0)),
}


@pytest.mark.parametrize("name", QUANTIZED_RIGHT)
def test_a_rounded_output_agrees_in_a_quantised_model(name: str) -> None:
    output, source, target = QUANTIZED_RIGHT[name]
    target = source + np.float32(1e-3) * (source > 0.5) if not target.size else target
    comparison = against(source, target, name=output, quantized=True)
    assert comparison.agrees(), comparison.differences()
    assert not against(source, target, name=output).agrees()  # in a float model it does not


QUANTIZED_MUTANTS: dict[str, tuple[str, Array, Callable[[Array], Array]]] = {
    "labels": ("y", softmax(LOGITS, 1), lambda x: shifted(x, 1)),
    "logits doubled": ("y", LOGITS, lambda x: x * 2),
    "a sigmoid negated": ("y", sigmoid(normal(1)), lambda x: 1 - x),
    "map classes rotated": ("y", SEGMENTATION, lambda x: shifted(x, 1)),
    "map mostly zero": ("y", SEGMENTATION, lambda x: x * (x >= x.max(axis=(1, 2, 3), keepdims=True))),
    "map transposed": ("y", SEGMENTATION, lambda x: x.transpose(0, 1, 3, 2)),
    "all scores zero": ("y", DETECTOR, lambda x: np.concatenate([x[:, :4], x[:, 4:] * 0], 1)),
    "scores rotated": ("y", DETECTOR, lambda x: shifted(x, 1, 4)),
    "x and y swapped": ("y", DETECTOR, lambda x: np.concatenate([x[:, [1, 0, 3, 2]], x[:, 4:]], 1)),
    "boxes and scores on one scale": ("y", DETECTOR, rounded),
    "depth tempered": ("depth", DEPTH, lambda x: 20 + (x - 20) / 2),
    "embedding doubled": ("embedding", EMBEDDING, lambda x: x * 2),
    "one embedding channel zero": ("embedding", EMBEDDING, lambda x: x * (np.arange(32) != 7)),
    "tokens shifted": ("y", TOKENS, lambda x: np.roll(x, 1, axis=1)),
    "ids off by one": ("y", IDS, lambda x: x + 1),
}


@pytest.mark.parametrize("name", QUANTIZED_MUTANTS)
def test_a_changed_output_differs_in_a_quantised_model_too(name: str) -> None:
    output, source, mutant = QUANTIZED_MUTANTS[name]
    comparison = against(source, np.asarray(mutant(source)).astype(source.dtype), name=output, quantized=True)
    assert not comparison.agrees(), name


def test_lost_scores_are_named() -> None:
    lost = np.concatenate([DETECTOR[:, :4], DETECTOR[:, 4:] * 0], 1)
    assert "the score of channel" in "; ".join(against(DETECTOR, lost, quantized=True).differences())
    flat = np.concatenate([DETECTOR[:, :4], DETECTOR[:, 4:] * 0 + 5], 1)
    assert "has lost its signal" in "; ".join(against(DETECTOR, flat, quantized=True).differences())


def test_one_class_of_a_map_that_is_lost_is_told_however_small() -> None:
    rare = SEGMENTATION.copy()
    rare[:, 4] = 0
    rare[:, 4, :2, :2] = 2  # 1.6 % of the positions
    rare /= rare.sum(axis=1, keepdims=True)
    lost = rare.copy()
    lost[:, 4] = 0
    comparison = against(rare, lost, quantized=True)
    assert "IoU of class 4" in "; ".join(comparison.differences())


def test_the_largest_error_is_the_person_s() -> None:
    rules = rules_from_arrays(["depth"], [DEPTH], Tolerance())
    tempered = 20 + (DEPTH - 20) * np.float32(0.8)
    for percent, agrees in ((1.0, False), (10.0, True)):
        limited = tuple(replace(rule, is_quantized=True, max_error_percent=percent) for rule in rules)
        assert compare(range(COUNT), [DEPTH], [tempered], ["depth"], limited).agrees() is agrees


def test_masked_infinity_agrees_at_the_same_place_only() -> None:
    source = LOGITS.copy()
    source[:, 3] = -np.inf
    assert against(source, source.copy()).agrees()
    assert not against(source, np.roll(source, 1, axis=1)).agrees()
    assert not against(source, np.where(np.isinf(source), -1e9, source)).agrees()


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_precisions_are_held_to_what_they_are(dtype: Any) -> None:
    source = (np.random.default_rng(2).normal(size=(COUNT, 10)) + 1000 * (dtype is np.float64)).astype(dtype)
    last_digit = np.nextafter(source, np.asarray(np.inf, dtype))
    assert against(source, last_digit, kind="values").agrees()
    wrong = source + np.asarray(0.05, dtype)
    assert not against(source, wrong, kind="values").agrees()


def test_a_double_that_needs_its_digits_is_not_right_in_single_precision() -> None:
    source = 1000 + np.random.default_rng(2).normal(size=(COUNT, 10)) * 1e-5
    assert not against(source, source.astype(np.float32).astype(np.float64), kind="values").agrees()


def test_a_differing_output_of_several_is_named() -> None:
    names, source = ["logits", "depth"], [LOGITS, DEPTH]
    rules = rules_from_arrays(names, source, Tolerance())
    comparison = compare(range(COUNT), source, [LOGITS, DEPTH * 2], names, rules)
    assert "output 'depth' (values)" in "; ".join(comparison.differences())
    quantized = tuple(replace(rule, is_quantized=True) for rule in rules)
    comparison = compare(range(COUNT), source, [LOGITS, DEPTH * 2], names, quantized)
    assert "output 'depth' (values)" in "; ".join(comparison.differences())


def test_a_rounded_map_differs_where_too_many_positions_do_and_not_where_some_do() -> None:
    some = SEGMENTATION.copy()
    some[:, :, 0, :4] = np.roll(some[:, :, 0, :4], 1, axis=1)  # 4 of 256 positions
    comparison = against(SEGMENTATION, some, quantized=True)
    assert (comparison.labels_differ, comparison.predictions_differ) == (0, 0)
    assert against(SEGMENTATION, some).labels_differ == COUNT


def test_a_ruined_map_is_told_by_positions_and_not_by_inputs() -> None:
    reasons = against(SEGMENTATION, shifted(SEGMENTATION, 1), quantized=True).differences()
    assert "positions have another label" in reasons[0]
    assert not any("near-ties" in reason or "labels differ" in reason for reason in reasons)


def test_who_lets_labels_differ_lets_the_values_of_rounded_labels_differ_too() -> None:
    doubled = against(LOGITS, LOGITS * 2, quantized=True)
    assert not doubled.agrees()
    assert doubled.agrees(max_discrepancy=30)
    assert not against(LOGITS, -LOGITS, quantized=True).agrees(max_discrepancy=30)


def test_a_mask_lost_on_an_input_that_may_differ_excuses_no_other_value_of_a_quantised_output() -> None:
    """A value in place of -inf is infinitely many times the tolerance; the limits hold for the other inputs still."""
    depth = np.random.default_rng(5).normal(size=(COUNT, 3)).astype(np.float32)
    depth[0, 2] = -np.inf
    names, source = ["logits", "depth"], [LOGITS, depth]
    rules = tuple(replace(rule, is_quantized=True) for rule in rules_from_arrays(names, source, Tolerance()))
    assert [rule.kind.kind for rule in rules] == ["labels", "values"]
    unmasked = depth.copy()
    unmasked[0, 2] = 0
    allowed = 100 / COUNT  # percent: one input may differ
    lost = compare(range(COUNT), source, [LOGITS, unmasked], names, rules)
    assert lost.agrees(max_discrepancy=allowed)
    assert not lost.agrees()
    wrong = unmasked.copy()
    wrong[:, 0] += 2 * rules[1].value_limit_percent / 100 * float(rules[1].ranges[0])
    differences = compare(range(COUNT), source, [LOGITS, wrong], names, rules).differences(max_discrepancy=allowed)
    assert [difference for difference in differences if "channel 0 is off by" in difference]
