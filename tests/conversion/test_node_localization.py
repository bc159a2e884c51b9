"""The nodes of a hop that differs are looked for on the activations of the engine that was asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from safeconvert.converters import HOPS
from safeconvert.repair.localization.pieces import PieceOutput

from safeconvert.checking.tvm_check import Difference, RuntimeComparison, ask
from safeconvert.comparison.tolerance import Tolerance
from safeconvert.conversion import node_localization
from safeconvert.conversion.node_comparison import Activations, compare_node, judge_node, with_channels_of
from safeconvert.conversion.remote_functions import ACTIVATIONS as NODE_ACTIVATIONS
from safeconvert.conversion.remote_functions import RUNTIME_ACTIVATIONS
from safeconvert.conversion.stage import ConvertedModel
from safeconvert.formats import ONNX
from safeconvert.models.loaded_model import LoadedModel
from safeconvert.reporting.document import schema
from safeconvert.workers.pool import WorkerPool
from tests.support.command import safeconvert
from tests.support.pool_nets import SIZES, max_pool, net

ONNX2KERAS = next(hop for hop in HOPS if hop.name == "onnx2keras")
OUTPUT = PieceOutput("u", "out_in_0", "up", "Resize", 3)


def convert(model: onnx.ModelProto, folder: Path, pair: str, *more: str) -> dict[str, Any]:
    onnx.save(model, folder / "net.onnx")
    np.savez(folder / "x.npz", np.random.default_rng(0).normal(size=(24, *SIZES)).astype("float32"))
    words = [pair, "net.onnx", "--inputs", "x.npz", "--engine", "tvm", "--json", *more]
    done = safeconvert(*words, folder=folder, timeout=300)
    assert done.code == 0, done.out + done.err
    report: dict[str, Any] = json.loads(done.out)
    jsonschema.validate(report, schema())
    return report


def resize() -> onnx.NodeProto:
    """TVM computes this one by the ratio of the sizes, onnxruntime by the scales."""
    return helper.make_node("Resize", ["c", "", "scales"], ["r"], "up", mode="linear")


def test_with_tvm_a_pair_command_names_its_faults_along_the_activations_of_tvm(tmp_path: Path) -> None:
    report = convert(net(max_pool("c", "m", "the_pool")), tmp_path, "onnx2keras")
    assert report["verdict"] == "repaired"
    assert report["localisation"]["engine"] == "tvm"
    assert [(fault["source_node"], fault["type"]) for fault in report["faults"]] == [("the_pool", "LH")]
    assert report["refused"] == []
    assert report["localisation"]["ranking"][0]["source_node"] == "the_pool"
    assert all(entry["score"] < 1 for entry in report["localisation"]["ranking"][1:])


def test_what_tvm_cannot_run_is_localised_in_onnxruntime_and_said(tmp_path: Path) -> None:
    """onnx2torch takes the nearest pixel to be the one below, whatever ``nearest_mode`` says."""
    mode = {"mode": "nearest", "coordinate_transformation_mode": "half_pixel", "nearest_mode": "ceil"}
    model = net(
        helper.make_node("Celu", ["c"], ["r"], "celu"),
        helper.make_node("Resize", ["r", "", "factors"], ["m"], "up", **mode),
    )
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 1, 1.5, 1.5], "float32"), "factors"))
    report = convert(model, tmp_path, "onnx2torch")
    assert report["localisation"]["engine"] == "onnxruntime"
    assert [fault["source_node"] for fault in report["faults"]] == ["up"]
    assert any("Celu" in entry["message"] for entry in report["engines"])


@pytest.fixture(scope="module")
def workers() -> Iterator[WorkerPool]:
    with WorkerPool() as pool:
        yield pool


def test_the_activations_of_tvm_are_its_own_and_those_of_onnxruntime_stand_where_they_differ(
    workers: WorkerPool, tmp_path: Path
) -> None:
    model = net(resize(), max_pool("r", "m", "the_pool"))
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 1, 1.35, 1.7], "float32"), "scales"))
    path, store = tmp_path / "net.onnx", tmp_path / "activations.npz"
    onnx.save(model, path)
    row = {"x": np.random.default_rng(0).normal(size=(1, *SIZES)).astype("float32")}
    comparison = ask(workers, "source", path, row, Tolerance(), 120, keep=True)
    assert comparison.activations is not None
    assert [difference.node for difference in comparison.differences] == ["up"]
    worker = workers.worker("onnx_tflite", "onnx_tflite")
    where = {"path": str(path), "store": str(store)}
    shapes, onnxruntime_values = RUNTIME_ACTIVATIONS(worker, None, engine_store=str(comparison.activations), **where)
    with np.load(store) as stored:
        tvm_values = dict(zip(shapes, [stored[key] for key in stored.files], strict=True))
    own = NODE_ACTIVATIONS(worker, None, arrays=row, **where)
    assert own == shapes
    with np.load(store) as stored:
        values = dict(zip(own, [stored[key] for key in stored.files], strict=True))
    assert list(onnxruntime_values) == ["r"]
    assert np.abs(values["r"] - tvm_values["r"]).max() > 0.01
    np.testing.assert_allclose(onnxruntime_values["r"], values["r"], atol=1e-5)
    np.testing.assert_allclose(tvm_values["c"], values["c"], atol=1e-5)


# -- what counts as right: the engine's value, or onnxruntime's for the same inputs of the node

TVM_VALUE, ONNXRUNTIME_VALUE = np.full((1, 2, 3, 4), 1.0, "float32"), np.full((1, 2, 3, 4), 1.5, "float32")
DIFFERENCE = Difference("up", "Resize", "u", "resize2d", 0.5, "1.5", "1")
ACTIVATIONS = Activations(
    {"u": [1, 2, 3, 4]},
    {"u": TVM_VALUE},
    "tvm",
    {"u": ONNXRUNTIME_VALUE},
    RuntimeComparison("source", Path("net.onnx"), False, "", differences=(DIFFERENCE,)),
)


def test_a_node_that_gives_what_the_engine_gives_is_right() -> None:
    difference, refusal = judge_node(OUTPUT, ACTIVATIONS, TVM_VALUE.copy(), ONNX2KERAS, Tolerance())
    assert (difference.score, refusal) == (0, None)


def test_a_node_that_differs_as_the_runtimes_do_is_refused() -> None:
    difference, refusal = judge_node(OUTPUT, ACTIVATIONS, ONNXRUNTIME_VALUE.copy(), ONNX2KERAS, Tolerance())
    assert difference.score == 0
    assert refusal is not None
    assert refusal.target_node == "LAYER_3"
    assert "Resize gives 1.5 in onnxruntime and 1 in TVM" in refusal.reason


def test_a_node_that_gives_neither_is_at_fault() -> None:
    difference, refusal = judge_node(OUTPUT, ACTIVATIONS, TVM_VALUE * 3, ONNX2KERAS, Tolerance())
    assert difference.score > 1
    assert refusal is None


def test_without_another_engine_nothing_is_excused() -> None:
    plain = Activations(ACTIVATIONS.shapes, ACTIVATIONS.values)
    difference, refusal = judge_node(OUTPUT, plain, ONNXRUNTIME_VALUE.copy(), ONNX2KERAS, Tolerance())
    assert difference.score > 1
    assert refusal is None


@pytest.mark.parametrize(
    ("expected", "result", "score"),
    [
        ([1.0, -2.0], [1.0, -2.0], 0.0),
        ([np.inf, 2.0], [np.inf, 2.0], 0.0),
        ([1.0, 2.0], [1.0, np.nan], np.inf),
        ([1.0, 2.0], [1.0, np.inf], np.inf),
        ([1.0, 2.0], [1.0, 2.0, 3.0], np.inf),
    ],
)
def test_a_node_is_compared_in_units_of_the_tolerance(expected: Any, result: Any, score: float) -> None:
    arrays = np.array(expected, "float32"), np.array(result, "float32")
    assert compare_node(OUTPUT, *arrays, Tolerance()).score == score


def test_a_difference_as_large_as_the_tolerance_scores_one() -> None:
    tolerance = Tolerance()
    expected = np.array([0.0, 10.0], "float64")
    off = expected + np.array([tolerance.atol + tolerance.rtol * 10, 0.0])
    assert compare_node(OUTPUT, expected, off, tolerance).score == pytest.approx(1)


def test_channels_last_outputs_are_compared_channels_first() -> None:
    expected = np.arange(24, dtype="float32").reshape(1, 2, 3, 4)
    np.testing.assert_array_equal(with_channels_of(expected, np.moveaxis(expected, 1, -1)), expected)
    other = np.zeros((1, 5, 3, 4), "float32")
    assert with_channels_of(expected, other) is other


def test_activations_beyond_the_limit_are_not_replayed_and_a_graph_that_does_not_run_has_no_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx.save(net(max_pool("c", "m", "the_pool")), tmp_path / "net.onnx")
    row = {"x": np.zeros((1, *SIZES), np.float32)}
    with WorkerPool() as workers:
        runner: Any = SimpleNamespace(workers=workers, timeout=60.0, settings=SimpleNamespace(engine="onnxruntime"))
        search = node_localization.NodeLocalization(runner)
        stage, missing = (
            ConvertedModel(LoadedModel(workers, "source", ONNX.written_at(tmp_path / name)), ())
            for name in ("net.onnx", "none.onnx")
        )
        monkeypatch.setattr(node_localization, "MAX_ACTIVATION_BYTES", 1000)
        replay = search.replay(stage, ONNX2KERAS, row)
        assert replay.ranking == ()
        assert {"c", "m"} <= set(replay.activations.shapes)
        assert search.locate(missing, ONNX2KERAS, missing, [row]) is None
        assert search.failing_nodes(0, missing, ONNX2KERAS, ["the_pool"], [row]) is None
