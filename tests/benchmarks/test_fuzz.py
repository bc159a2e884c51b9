"""The fuzzer's parts: models are drawn by their seed, the judge sees what differs, and whole trials count right."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from benchmarks import fuzz
from benchmarks.fuzzing import judging, onnx_nets
from benchmarks.fuzzing.drawing import arrays_of
from tests.support.onnx_execution import execute

Array = np.ndarray[Any, Any]


def arguments(folder: Path, pair: str) -> argparse.Namespace:
    return argparse.Namespace(work=folder, pairs=(pair,), limit=200.0, keep="all", stop=None)


@pytest.mark.parametrize("seed", [3, 11, 19, 28, 47])
def test_a_seed_draws_one_model_that_runs_and_depends_on_its_inputs(seed: int) -> None:
    first, plans, layers, batch = onnx_nets.build(seed)
    second, *_ = onnx_nets.build(seed)
    assert first.SerializeToString() == second.SerializeToString()
    assert 3 <= len(layers) <= 15
    results = [execute(first, arrays_of(plans, batch or 3, (seed, number), 1.0)) for number in (1, 2)]
    assert any(not np.array_equal(a, b) for a, b in zip(*results, strict=True))


def test_the_judge_sees_a_channel_that_is_small_beside_the_others() -> None:
    source = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32) * np.float32([1000, 1, 0.001])
    target = source.copy()
    target[3, 2] += 0.0001
    assert judging.difference([source], [source], []) == ""
    assert "off by" in judging.difference([source], [target], [])


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ([np.arange(6).reshape(2, 3)], "integers differ"),
        ([np.full((2, 3), 0.5, np.float32)], "off by"),
        ([np.zeros((3, 2), np.int64)], "shape"),
        ([], "0 outputs"),
    ],
)
def test_the_judge_sees_other_integers_values_shapes_and_missing_outputs(target: list[Array], words: str) -> None:
    assert words in judging.difference([np.zeros((2, 3), np.int64)], target, [])


def test_the_judge_names_outputs_of_another_dtype_whose_values_agree() -> None:
    source, target = [np.arange(6)], [np.arange(6, dtype=np.float32)]
    assert judging.difference(source, target, []) == ""
    assert judging.other_kinds(source, target) == ["output 0 is float32 in the Target and int64 in the Source"]
    assert judging.other_kinds(source, source) == []


def test_the_judge_takes_what_a_nudge_of_the_inputs_does_for_noise() -> None:
    source, target = np.float32([[0.0], [1.0]]), np.float32([[0.0], [1.5]])
    assert judging.difference([source], [target], [[np.float32([[0.0], [1.4]])]]) == ""
    assert judging.difference([source], [target], [[source]]) != ""
    assert judging.difference([np.int64([3])], [np.int64([4])], [[np.int64([4])]]) == ""


def test_a_whole_trial_hands_over_a_right_file_and_counts_it(tmp_path: Path) -> None:
    row = fuzz.trial(0, arguments(tmp_path, "onnx2torch"))
    assert row is not None
    assert row["outcome"] == "right"
    assert row["differs"] == ""
    summary = fuzz.summarise([row])
    assert summary["models"] == summary["right"] == 1
    assert summary["wrong with exit 0"] == summary["unexpected or without a report"] == []


def test_a_changed_target_is_judged_wrong(tmp_path: Path) -> None:
    row = fuzz.trial(0, arguments(tmp_path, "onnx2torch"))
    assert row is not None
    folder = tmp_path / "0"
    model = onnx.load(folder / "model.onnx")
    last = model.graph.node[-1]
    model.graph.node.append(onnx.helper.make_node("Cos", [last.input[0]], last.output))
    model.graph.node.remove(last)
    onnx.save(model, folder / "target.onnx")
    assert fuzz.judge(folder, "onnx", "onnx", folder / "target.onnx") != ""
    assert fuzz.judge(folder, "onnx", "onnx", folder / "model.onnx") == ""


def test_the_summary_tells_wrong_files_missing_reports_and_healthy_targets_refused() -> None:
    rows = [
        {"seed": 1, "pair": "onnx2tf", "outcome": "wrong", "layers": ["Relu"], "has_report": True, "differs": "x"},
        {"seed": 2, "pair": "onnx2tf", "outcome": "diverged", "layers": ["Elu"], "has_report": True, "differs": ""},
        {"seed": 3, "pair": "onnx2tf", "outcome": "failed", "layers": ["Elu"], "has_report": False},
        {"seed": 4, "pair": "onnx2tf", "outcome": "not drawn"},
    ]
    summary = fuzz.summarise(json.loads(json.dumps(rows)))
    assert summary["wrong with exit 0"] == [1]
    assert summary["refused although the Target agrees"] == [2]
    assert summary["unexpected or without a report"] == [3]
    assert summary["refused"] == {"diverged": 1, "failed": 1}
    assert summary["models"] == 3
