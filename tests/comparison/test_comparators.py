"""What makes an input differ: the best classes, the values, or a person's own function; and what is no answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save

from safeconvert.comparison.comparators import comparator
from safeconvert.comparison.compare import compare
from safeconvert.comparison.comparison import Comparison
from safeconvert.comparison.tolerance import Tolerance
from safeconvert.errors import BadInput
from tests.support.command import safeconvert

Array = np.ndarray[Any, Any]
ROWS = np.array([[5, 4, 3, 2, 1, 0]] * 4, np.float32) + np.arange(4, dtype=np.float32)[:, None]
MINE = """
import os, sys
import numpy as np

def boxes(source, target):
    (a,), (b,) = source.values(), target.values()
    return np.abs(a - b).max(axis=1) < 3

def one_for_all(source, target):
    return True

def numbers(source, target):
    return np.zeros(len(next(iter(source.values()))))

def leaving(source, target):
    sys.exit(0)

def talking(source, target):
    print("a word")
    os.system("echo another")
    return boxes(source, target)

def broken(source, target):
    raise KeyError("no such output")

limit = 3
"""


def swapped(first: int, second: int, row: int = 0) -> Array:
    """The rows with two classes' values exchanged in one of them."""
    other = ROWS.copy()
    other[row, [first, second]] = other[row, [second, first]]
    return other


def against(target: Array, by: Any, source: Array = ROWS) -> Comparison:
    return compare(range(len(source)), [source], [target], ["scores"], Tolerance(), comparator(by))


@pytest.mark.parametrize(("by", "differ"), [("top1", 0), ("top2", 0), ("top3", 1), ("top5", 1), ("top50", 1)])
def test_the_best_k_classes_differ_from_where_two_are_exchanged(by: str, differ: int) -> None:
    assert against(swapped(2, 3), by).labels_differ == differ


def test_a_near_tie_behind_the_best_class_counts_for_top_k_only() -> None:
    close = ROWS.copy()
    close[:, 2] = close[:, 1] - 1e-6
    assert against(close, "top1", close).near_ties == 0
    assert against(close, "top2", close).near_ties == 4


def test_logits_look_at_values_alone() -> None:
    assert against(swapped(4, 5), "logits").percent == 25.0
    assert against(ROWS * np.float32(1 + 1e-6), "logits").agrees()
    comparison = against(ROWS * 2, "logits")
    assert comparison.percent == 100.0
    assert not comparison.agrees(values=False), "they decide for quantised models too"
    assert comparison.agrees(max_discrepancy=100)


def test_ones_own_function_decides_alone() -> None:
    def alike(source: Mapping[str, Array], target: Mapping[str, Array]) -> Array:
        return np.asarray(source["scores"].argmin(1) == target["scores"].argmin(1))

    assert against(swapped(0, 1), alike).agrees()
    comparison = against(swapped(4, 5, row=2), alike)
    assert (comparison.labels_differ, comparison.differing) == (1, (2,))
    assert "judged by a function" in comparison.differences()[0]


def test_ones_own_function_does_not_make_a_missing_output_or_nan_agree() -> None:
    def always(source: Mapping[str, Array], target: Mapping[str, Array]) -> Array:
        return np.ones(len(source["scores"]), bool)

    bad = ROWS.copy()
    bad[1, 3] = np.nan
    assert against(bad, always).labels_differ == 1
    assert not against(ROWS[:, :5].copy(), always).agrees()
    assert not compare(range(4), [ROWS], [], ["scores"], Tolerance(), comparator(always)).agrees()


def test_joined_batches_are_told_in_the_comparators_words() -> None:
    joined = against(swapped(0, 1), "top3") + against(ROWS, "top3")
    assert "best 3 classes" in joined.differences()[0]


@pytest.mark.parametrize("name", ["top0", "top", "labels", "", "module:", ":function", "top-5"])
def test_an_unknown_comparator_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match="comparator"):
        comparator(name)


def _models(folder: Path, wrong: bool) -> None:
    weights = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    for name in ("source", "target"):
        shift = np.zeros(4, np.float32)
        if wrong and name == "target":
            shift[:] = 2  # to every class: labels stay, values do not
        graph = helper.make_graph(
            [helper.make_node("MatMul", ["x", "w"], ["m"], "m"), helper.make_node("Add", ["m", "b"], ["y"], "a")],
            "net",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 6])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 4])],
            [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(shift, "b")],
        )
        save(
            helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / f"{name}.onnx"
        )
    np.savez(folder / "x.npz", np.random.default_rng(1).normal(size=(20, 6)).astype(np.float32))
    (folder / "mine.py").write_text(MINE)


@pytest.mark.parametrize(
    ("by", "code", "decides"),
    [("top1", 1, "labels and values"), ("logits", 1, "values"), ("mine:boxes", 0, "mine:boxes")],
)
def test_the_verdict_is_the_comparators(tmp_path: Path, by: str, code: int, decides: str) -> None:
    _models(tmp_path, wrong=True)
    command = ("check", "source.onnx", "target.onnx", "--inputs", "x.npz", "--comparator", by, "--json")
    done = safeconvert(*command, folder=tmp_path)
    assert done.code == code, done.out + done.err
    check = json.loads(done.out)["check"]
    assert (check["comparator"], check["tolerance"]["decides"]) == (by, decides)
    assert check["after"]["heldout"]["percent"] == (100.0 if by == "logits" else 0.0)


@pytest.mark.parametrize(
    ("by", "words"),
    [
        ("mine:one_for_all", "one boolean for each"),
        ("mine:numbers", "float64"),
        ("mine:broken", "KeyError"),
        ("mine:leaving", "SystemExit"),
        ("mine:limit", "not a function"),
        ("mine:missing", "cannot be imported"),
        ("nowhere:boxes", "cannot be imported"),
    ],
)
def test_a_function_that_does_not_answer_is_told_in_two_lines(tmp_path: Path, by: str, words: str) -> None:
    _models(tmp_path, wrong=False)
    done = safeconvert("check", "source.onnx", "target.onnx", "--inputs", "x.npz", "--comparator", by, folder=tmp_path)
    assert done.code == 2
    assert words in done.err
    assert len(done.err.strip().splitlines()) <= 2


def test_what_a_function_prints_is_no_part_of_the_report(tmp_path: Path) -> None:
    _models(tmp_path, wrong=True)
    command = ("check", "source.onnx", "target.onnx", "--inputs", "x.npz", "--comparator", "mine:talking", "--json")
    done = safeconvert(*command, folder=tmp_path)
    assert json.loads(done.out)["verdict"] == "verified"
    assert "a word" in done.err
    assert "another" in done.err


def test_a_function_is_called_by_what_imports_it_or_by_no_name() -> None:
    assert comparator(np.allclose).name == "numpy:allclose"
    assert comparator(lambda source, target: [True]).name == "a function of the caller's"
    with pytest.raises(BadInput, match="neither a name nor a function"):
        comparator(5)  # type: ignore[arg-type]
