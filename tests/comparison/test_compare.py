"""The comparison, and that it fails wherever Source and Target are not the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from safeconvert.comparison import outliers
from safeconvert.comparison.compare import compare
from safeconvert.comparison.comparison import Comparison, all_rows_differ
from safeconvert.comparison.output_rules import rules_from_arrays
from safeconvert.comparison.tolerance import Tolerance
from safeconvert.records import Verdict

Array = np.ndarray[Any, Any]
ROWS = np.random.default_rng(0).normal(size=(20, 10)).astype(np.float32) * 5


def against(*target: Array, source: tuple[Array, ...] = (ROWS,), tolerance: Tolerance | None = None) -> Comparison:
    names = [f"out{i}" for i in range(len(source))]
    return compare(range(len(source[0])), source, target, names, tolerance or Tolerance())


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True), np.float32)


def test_the_same_outputs_agree() -> None:
    same = against(ROWS.copy())
    assert same.agrees()
    assert (same.count, same.labels_differ, same.percent, same.max_abs) == (20, 0, 0.0, 0.0)


def test_float_rounding_agrees() -> None:
    assert against(ROWS * np.float32(1 + 1e-5)).agrees()


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("doubled", ROWS * 2),
        ("shifted", ROWS + 1),
        ("tempered", softmax(ROWS / 2)),
        ("negated", -ROWS),
        ("classes permuted", ROWS[:, ::-1].copy()),
        ("rows permuted", ROWS[::-1].copy()),
        ("constant", np.zeros_like(ROWS)),
        ("one value off by a hundredth of the largest", ROWS + np.eye(20, 10, dtype=np.float32) * 0.2),
    ],
)
def test_a_changed_output_differs(name: str, target: Array) -> None:
    source = softmax(ROWS) if name == "tempered" else ROWS
    assert not against(target, source=(source,)).agrees(), name


def test_labels_alone_decide_where_values_may_differ() -> None:
    source = softmax(ROWS)
    tempered = against(softmax(ROWS / 2), source=(source,))
    assert tempered.agrees(values=False)
    assert not against(softmax(-ROWS), source=(source,)).agrees(values=False)


def test_labels_known_by_their_shape_alone_are_judged_by_value_too() -> None:
    rounded = ROWS + np.random.default_rng(1).uniform(-0.1, 0.1, ROWS.shape).astype(np.float32)
    assert against(np.where(ROWS.max(axis=1, keepdims=True) == ROWS, ROWS, rounded)).agrees(values=False)
    assert not against(ROWS * 2).agrees(values=False)


def test_a_lone_value_is_judged_by_value_even_where_labels_decide() -> None:
    lone = ROWS[:, :1]
    assert not against(lone * 1.5, source=(lone,)).agrees(values=False)
    assert not against(lone * 1.01, source=(lone,)).agrees()
    assert against(lone.copy(), source=(lone,)).agrees(values=False)


def test_another_shape_differs_even_with_the_same_values() -> None:
    assert not against(ROWS.reshape(20, 1, 10)).agrees()
    assert against(ROWS.reshape(20, 1, 10)).labels_differ == 0
    assert against(ROWS[:, :9]).labels_differ == 20


def test_a_missing_or_extra_output_differs() -> None:
    assert not against(ROWS, source=(ROWS, ROWS)).agrees()
    assert not against(ROWS, ROWS).agrees()
    assert not against().agrees()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_target_that_is_not_finite_differs(bad: float) -> None:
    broken = ROWS.copy()
    broken[3, 4] = bad
    comparison = against(broken)
    assert comparison.target_not_finite == 1
    assert not comparison.agrees()
    assert not comparison.agrees(values=False)


def test_where_the_source_is_not_finite_nothing_can_be_said() -> None:
    broken = ROWS.copy()
    broken[3, 4] = np.nan
    comparison = against(broken, source=(broken,))
    assert comparison.source_not_finite == 1
    assert not comparison.decidable
    everywhere = np.full_like(ROWS, np.nan)
    assert not against(everywhere, source=(everywhere,)).agrees()


def test_nothing_compared_is_no_agreement() -> None:
    assert not Comparison().agrees()
    assert Comparison().percent is None
    assert not Comparison().decidable
    assert not against(ROWS[:0], source=(ROWS[:0],)).agrees()


def test_inputs_without_any_output_are_no_agreement() -> None:
    without_outputs = compare(range(5), [], [], [], Tolerance())
    assert without_outputs.differences() == ("nothing was compared",)
    assert not without_outputs.decidable


def test_a_target_that_cannot_answer_differs_on_every_input() -> None:
    comparison = all_rows_differ(7, "needs another input")
    assert comparison.labels_differ == 7
    assert not comparison.agrees()
    assert "needs another input" in comparison.differences()


def test_near_ties_are_counted_apart_and_refuse_nothing_where_values_agree() -> None:
    source = np.array([[1.0, 1.00001, 0], [4, 5, 1]], np.float32)
    target = np.array([[1.00001, 1.0, 0], [4, 5, 1]], np.float32)
    comparison = against(target, source=(source,))
    assert (comparison.labels_differ, comparison.near_ties, comparison.near_ties_differ, comparison.ties_agree) == (
        1,
        1,
        1,
        1,
    )
    assert comparison.agrees()
    assert comparison.differing == ()


def test_a_near_tie_is_no_excuse_where_values_differ() -> None:
    source = np.array([[1.0, 1.00001, 0], [4, 5, 1]], np.float32)
    target = np.array([[1.5, 1.0, 0], [4, 5, 1]], np.float32)
    comparison = against(target, source=(source,))
    assert (comparison.labels_differ, comparison.near_ties_differ, comparison.ties_agree) == (1, 1, 0)
    assert not comparison.agrees()
    assert comparison.differing == (0,)


def test_discrepancy_is_allowed_only_up_to_the_limit() -> None:
    target = ROWS.copy()
    target[0] = -target[0]
    comparison = against(target)
    assert comparison.percent == 5.0
    assert comparison.agrees(max_discrepancy=5.0, values=False)
    assert not comparison.agrees(max_discrepancy=4.9, values=False)


@pytest.mark.parametrize(("differ", "count"), [(0, 100), (1, 100), (7, 64), (64, 64), (0, 1)])
def test_the_bound_is_clopper_and_pearsons(differ: int, count: int) -> None:
    bound = Comparison(count, labels_differ=differ).upper_bound_95
    assert bound == pytest.approx(100 * binomtest(differ, count).proportion_ci(0.95, "exact").high)


def test_none_of_a_hundred_is_below_3_6_percent_and_not_zero() -> None:
    assert Comparison(100).upper_bound_95 == pytest.approx(3.62, abs=0.005)


def test_joining_batches_is_comparing_at_once() -> None:
    target = ROWS.copy()
    target[[2, 15]] = -target[[2, 15]]
    rules = rules_from_arrays(["out0"], [ROWS], Tolerance())
    whole = compare(range(20), [ROWS], [target], ["out0"], rules)
    parts = [compare(range(a, a + 10), [ROWS[a : a + 10]], [target[a : a + 10]], ["out0"], rules) for a in (0, 10)]
    joined = Comparison() + parts[0] + parts[1]
    assert joined == whole
    assert joined.differing == (2, 15)


def test_joining_keeps_what_only_one_batch_showed() -> None:
    bad = compare(range(10), [ROWS[:10]], [ROWS[:10, :9]], ["out0"], Tolerance())
    good = compare(range(10), [ROWS[10:]], [ROWS[10:]], ["out0"], Tolerance())
    for joined in (bad + good, good + bad):
        assert not joined.agrees()
        assert joined.max_abs is None
        assert joined.problems


def test_the_order_of_the_top_classes_is_reported() -> None:
    source = np.array([[9.0, 5, 4.9999, 1, 0, -1]], np.float32)
    target = np.array([[9.0, 4.9999, 5, 1, 0, -1]], np.float32)
    comparison = against(target, source=(source,))
    assert (comparison.labels_differ, comparison.order_differs) == (0, 1)


def test_the_tolerance_of_the_person_is_used() -> None:
    assert against(ROWS + 0.5, tolerance=Tolerance(1.0, 0.0, has_atol=True)).agrees(max_discrepancy=100)
    assert not against(ROWS + 1e-6, tolerance=Tolerance(0.0, 0.0, has_atol=True)).agrees()
    assert against(ROWS.copy(), tolerance=Tolerance(0.0, 0.0, has_atol=True)).agrees()


def test_a_verdict_has_no_truth_value() -> None:
    with pytest.raises(TypeError, match="compare it"):
        bool(Verdict.VERIFIED)
    assert [v.exit_code for v in Verdict] == [0, 0, 1, 3, 4]


def probabilities(count: int, classes: int, seed: int) -> np.ndarray:
    """Softmax outputs; in each row another class stands out, so that later rows are unlike the first."""
    logits = np.random.default_rng(seed).normal(size=(count, classes)).astype(np.float32)
    logits[np.arange(count), np.arange(count) % classes] += 9
    exponentials = np.exp(logits)
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("shape", [(5,), (3, 4, 4), (6, 4)])
def test_one_input_that_is_far_larger_does_not_widen_what_the_others_are_held_to(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = np.random.default_rng(3).normal(size=(40, *shape)).astype(np.float32)
    source[7] *= 1000
    wrong = source + np.float32(0.1) * (np.arange(40) != 7).reshape(-1, *[1] * len(shape))
    rounded = source * np.float32(1 + 3e-5)

    def agree(target: np.ndarray) -> bool:
        rules = rules_from_arrays(["out"], [source], Tolerance())
        return compare(range(40), [source], [target], ["out"], rules).agrees()

    assert not agree(wrong)
    assert agree(rounded), "the outlier is held to its own size"
    monkeypatch.setattr(outliers, "OUTLIER_FACTOR", np.inf)
    assert agree(wrong), "nothing else tells"


def test_a_class_that_first_appears_after_scales_were_measured_is_held_to_its_own_size() -> None:
    source = probabilities(100, 100, 0)
    rules = rules_from_arrays(["out"], [source[:20]], Tolerance())
    assert rules[0].scales.spread.max() > 0.9
    assert rules[0].scales.spread.min() < 0.02, "classes 20 to 99 hardly moved yet"
    rounded = source * np.float32(1 + 3e-5)
    assert compare(range(100), [source], [rounded], ["out"], rules).agrees()
    wrong = source * np.float32(1 + 3e-3)
    comparison = compare(range(100), [source], [wrong], ["out"], rules)
    assert comparison.values_differ == 100
    shifted = source.copy()
    shifted[50, 60] += 1e-4  # a value inside of the range of a class that hardly moves is held to that range
    assert compare(range(100), [source], [shifted], ["out"], rules).differing == (50,)
