"""A converter that is wrong on single nodes: they are found, named, repaired, and nothing else is touched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from safeconvert.conversion.remote_functions import ACTIVATIONS, WRITE_PIECES
from safeconvert.formats import ONNX
from safeconvert.records import NO_LOAD_OPTIONS
from safeconvert.reporting.document import schema
from safeconvert.workers.pool import WorkerPool
from safeconvert.workers.runtime_functions import RUN_ONCE
from tests.support.command import safeconvert
from tests.support.framework_alone import alone
from tests.support.pool_nets import SIZES, average_pool, max_pool, net


def run(
    model: onnx.ModelProto, folder: Path, *more: str, pair: str = "onnx2keras", exit_code: int = 0
) -> dict[str, Any]:
    onnx.save(model, folder / "net.onnx")
    np.savez(folder / "x.npz", np.random.default_rng(0).normal(size=(24, *SIZES)).astype("float32"))
    done = safeconvert(pair, "net.onnx", "--inputs", "x.npz", "--json", *more, folder=folder)
    assert done.code == exit_code, done.out + done.err
    report: dict[str, Any] = json.loads(done.out)
    jsonschema.validate(report, schema())
    return report


def same(folder: Path) -> bool:
    x = np.random.default_rng(1).normal(size=(1, *SIZES)).astype("float32")
    return bool(np.abs(alone(folder / "net.keras", "keras", x) - alone(folder / "net.onnx", "onnx", x)).max() < 1e-4)


def test_the_faulty_node_is_named_with_its_type_and_repaired(tmp_path: Path) -> None:
    report = run(net(max_pool("c", "m", "the_pool")), tmp_path)
    assert report["verdict"] == "repaired"
    (fault,) = report["faults"]
    assert (fault["source_node"], fault["type"], fault["status"]) == ("the_pool", "LH", "repaired")
    assert (fault["hop"], fault["target_node"]) == ("onnx->keras", "LAYER_1")
    assert fault["evidence"]["operator"] == "MaxPool"
    assert fault["percent_after"] == 0
    for rows in ("calibration", "heldout"):
        assert report["check"]["before"][rows]["values_differ"] == 12
        assert report["check"]["after"][rows]["values_differ"] == 0
        assert report["check"]["after"][rows]["labels_differ"] == 0
    ranking = report["localisation"]["ranking"]
    assert ranking[0]["source_node"] == "the_pool"
    assert all(entry["score"] < 1 for entry in ranking[1:])
    assert report["route"][0]["status"] == "diverged"
    assert same(tmp_path)


def test_a_node_between_integers_is_named_and_not_the_cast_behind_it(tmp_path: Path) -> None:
    """onnx2keras divides integers as floats; no floating-point tensor lies between this division and the casts."""
    nodes = [
        helper.make_node("Cast", ["c"], ["i"], "to_integers", to=onnx.TensorProto.INT64),
        helper.make_node("Div", ["i", "two"], ["half"], "integer_division"),
        helper.make_node("Cast", ["half"], ["m"], "to_floats", to=onnx.TensorProto.FLOAT),
    ]
    two = helper.make_node("Constant", [], ["two"], "two", value=numpy_helper.from_array(np.array(2)))
    report = run(net(two, *nodes), tmp_path)
    (fault,) = report["faults"]
    assert (fault["source_node"], fault["type"], fault["status"]) == ("integer_division", "CG", "repaired")
    single = onnx.load(next(tmp_path.glob("*.fault-F1.onnx")))
    assert [node.op_type for node in single.graph.node] == ["Constant", "Cast", "Div", "Cast"]
    assert same(tmp_path)


def test_two_faults_are_both_named_and_what_lies_behind_them_is_not(tmp_path: Path) -> None:
    report = run(net(average_pool("c", "a", "uneven"), max_pool("a", "m", "padded")), tmp_path)
    assert {fault["source_node"] for fault in report["faults"]} == {"uneven", "padded"}
    assert same(tmp_path)


def test_a_converter_that_crashes_is_said_to_have_been_fed_other_nodes(tmp_path: Path) -> None:
    report = run(net(helper.make_node("Celu", ["c"], ["m"], "the_celu")), tmp_path)
    crashed, *_, used = report["route"]
    assert (crashed["status"], used["status"]) == ("crashed", "ok")
    assert "Celu" in crashed["message"]
    assert "Celu at the_celu" in used["message"]
    assert same(tmp_path)
    [node] = crashed["fails_on"]
    assert (node["node"], node["operator"]) == ("the_celu", "Celu")
    assert "Celu" in node["says"]
    alone = onnx.load(tmp_path / node["model"])
    assert [each.op_type for each in alone.graph.node] == ["Celu"]
    assert "conversion fails" in node["issue"]
    assert "fails_on" not in used


def test_without_a_target_the_nodes_that_no_converter_takes_are_named(tmp_path: Path) -> None:
    report = run(net(helper.make_node("Celu", ["c"], ["m"], "the_celu")), tmp_path, "--no-repair", exit_code=3)
    assert [node["operator"] for hop in report["route"] for node in hop.get("fails_on", ())] == ["Celu"]


def test_a_model_that_converts_well_has_no_fault(tmp_path: Path) -> None:
    report = run(net(helper.make_node("Relu", ["c"], ["m"], "relu")), tmp_path)
    assert (report["verdict"], report["faults"], report["localisation"]) == ("verified", [], None)


def test_old_opsets_keep_their_meaning(tmp_path: Path) -> None:
    """Below opset 13 Softmax is over all axes from the one named on; converters read it as over that axis."""
    report = run(net(helper.make_node("Softmax", ["c"], ["m"], "softmax", axis=1), opset=11), tmp_path)
    assert [fault["source_node"] for fault in report["faults"]] == ["softmax"]
    assert same(tmp_path)


def replayed(folder: Path, model: onnx.ModelProto, wrong: str) -> dict[str, float]:
    """Replay the graph's own nodes in onnxruntime, with the weight or attribute ``wrong`` changed in the pieces."""
    path, pieces = folder / "net.onnx", folder / "pieces.onnx"
    onnx.save(model, path)
    x = np.random.default_rng(0).normal(size=(1, *SIZES)).astype("float32")
    with WorkerPool() as workers:
        light = workers.worker("onnx_tflite", "onnx_tflite")
        store = workers.scratch("activations.npz")
        shapes = ACTIVATIONS(light, None, path=str(path), store=str(store), arrays={"x": x})
        node_pieces = WRITE_PIECES(light, None, path=str(path), target=str(pieces), shapes=shapes)
        with np.load(store) as stored:
            values = dict(zip(shapes, [stored[key] for key in stored.files], strict=True))
        taken_apart = onnx.load(pieces)
        for tensor in taken_apart.graph.initializer:
            if tensor.name == wrong:
                tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1.01), wrong))
        onnx.save(taken_apart, pieces)
        ONNX.runtime.load(light, None, path=str(pieces), flavour="onnx", options=NO_LOAD_OPTIONS)
        arrays = {name: values[tensor] for name, tensor in node_pieces.inputs.items()}
        results = RUN_ONCE(light, None, path=str(pieces), arrays=arrays).outputs
    return {
        output.node: float(np.abs(values[output.tensor] - result).max())
        for output, result in zip(node_pieces.outputs, results, strict=True)
    }


@pytest.mark.parametrize(("wrong", "node"), [("w", "conv"), ("head", "classes")])
def test_replay_shows_only_the_node_that_was_changed(wrong: str, node: str, tmp_path: Path) -> None:
    differences = replayed(tmp_path, net(max_pool("c", "m", "the_pool")), wrong)
    assert {name for name, difference in differences.items() if difference > 1e-4} == {node}
    assert set(differences) == {"conv", "the_pool", "pool_all", "flatten", "classes"}


def test_replay_of_the_unchanged_graph_shows_nothing(tmp_path: Path) -> None:
    differences = replayed(tmp_path, net(max_pool("c", "m", "the_pool")), "")
    assert max(differences.values()) < 1e-5
