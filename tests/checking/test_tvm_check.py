"""TVM beside onnxruntime: its layer activations under ONNX's names, and what differs between runtimes told as such.

``Resize`` with scales that give no whole number of pixels is computed otherwise by TVM, which takes the ratio of the
sizes; ONNX's own reference takes the scales, as onnxruntime does.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from safeconvert.checking.tvm_check import RuntimeComparison, ask
from safeconvert.cli.doctor import _loads
from safeconvert.comparison.tolerance import Tolerance
from safeconvert.reporting.document import schema
from safeconvert.workers.pool import WorkerPool
from safeconvert.workers.runtime import TVM
from safeconvert.workers.runtime_functions import TVM_ACTIVATIONS
from tests.support.command import safeconvert

SIZES = (3, 10, 14)


@pytest.fixture(scope="module")
def workers() -> Iterator[WorkerPool]:
    with WorkerPool() as pool:
        yield pool


def model(nodes: list[onnx.NodeProto], constants: dict[str, Any], outputs: tuple[str, ...] = ("y",)) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *SIZES])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def net(
    scales: tuple[float, float] | None = (1.35, 1.7), *, mode: str = "linear", gain: float = 1.0, tail: str = "Sigmoid"
) -> onnx.ModelProto:
    """A small network that resizes in its middle: by ``scales``, or for None to the size that they give, 13 x 23."""
    random = np.random.default_rng(0)
    constants = {
        "w1": (random.normal(size=(4, 3, 3, 3)) * 0.3).astype("float32"),
        "b1": random.normal(size=4).astype("float32"),
        "w2": (random.normal(size=(4, 4, 3, 3)) * 0.3 * gain).astype("float32"),
        "w3": random.normal(size=(4, 5)).astype("float32"),
    }
    node = helper.make_node
    if scales is None:
        constants["hw"] = np.array([13, 23])
        resize = [
            node("Shape", ["r"], ["front"], name="front", start=0, end=2),
            node("Concat", ["front", "hw"], ["sizes"], name="sizes", axis=0),
            node("Resize", ["r", "", "", "sizes"], ["u"], name="up", mode=mode),
        ]
    else:
        constants["scales"] = np.array([1, 1, *scales], "float32")
        resize = [node("Resize", ["r", "", "scales"], ["u"], name="up", mode=mode)]
    nodes = [
        node("Conv", ["x", "w1", "b1"], ["c"], name="first", pads=[1, 1, 1, 1]),
        node("Relu", ["c"], ["r"], name="relu"),
        *resize,
        node("Conv", ["u", "w2"], ["d"], name="second", pads=[1, 1, 1, 1]),
        node(tail, ["d"], ["s"], name="tail"),
        node("GlobalAveragePool", ["s"], ["g"], name="pool"),
        node("Flatten", ["g"], ["f"], name="flat"),
        node("MatMul", ["f", "w3"], ["y"], name="head"),
    ]
    return model(nodes, constants)


def inputs(count: int = 3) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).normal(size=(count, *SIZES)).astype("float32")


def opinion(workers: WorkerPool, proto: onnx.ModelProto, folder: Path) -> RuntimeComparison:
    onnx.save(proto, folder / "model.onnx")
    return ask(workers, "source", folder / "model.onnx", {"x": inputs()}, Tolerance(), 120)


def run(command: str, folder: Path, *more: str, code: int = 0, engine: str = "tvm") -> dict[str, Any]:
    """The report of ``check`` or ``repair`` of source.onnx and target.onnx."""
    np.savez(folder / "x.npz", inputs(24))
    words = [command, "source.onnx", "target.onnx", "--inputs", "x.npz", "--engine", engine, "--json", *more]
    done = safeconvert(*words, folder=folder)
    assert done.code == code, done.out + done.err
    report: dict[str, Any] = json.loads(done.out)
    jsonschema.validate(report, schema())
    return report


def save(folder: Path, source: onnx.ModelProto, target: onnx.ModelProto) -> None:
    onnx.save(source, folder / "source.onnx")
    onnx.save(target, folder / "target.onnx")


# -- activations


def repeating() -> onnx.ModelProto:
    """Nine tensors of one shape and no two of them alike, a view of one, and operators of several calls."""
    random = np.random.default_rng(1)
    node = helper.make_node
    constants = {f"w{i}": (random.normal(size=(3, 3, 1, 1))).astype("float32") for i in range(3)}
    constants |= {name: random.uniform(0.5, 2, 3).astype("float32") for name in ("scale", "bias", "mean", "var")}
    constants["shape"] = np.array([0, 3, 140])
    nodes = [
        node("Conv", ["x", "w0"], ["a0"], name="conv0"),
        node("Conv", ["a0", "w1"], ["a1"], name="conv1"),
        node("Add", ["a0", "a1"], ["a2"], name="add"),
        node("Conv", ["a0", "w2"], ["a3"], name="side"),
        node("BatchNormalization", ["a2", "scale", "bias", "mean", "var"], ["a4"], name="norm"),
        node("HardSwish", ["a4"], ["a5"], name="swish"),
        node("Mul", ["a5", "a3"], ["a6"], name="mul"),
        node("Relu", ["a6"], ["a7"], name="relu"),
        node("Sub", ["a7", "a1"], ["a8"], name="sub"),
        node("Reshape", ["a8", "shape"], ["y"], name="view"),
    ]
    return model(nodes, constants)


def test_every_tensor_has_its_own_name_where_all_shapes_are_equal(workers: WorkerPool, tmp_path: Path) -> None:
    proto = repeating()
    onnx.save(proto, tmp_path / "model.onnx")
    worker, store = workers.worker("tvm", "tvm"), str(tmp_path / "kept.npz")
    ran = TVM_ACTIVATIONS(worker, None, path=str(tmp_path / "model.onnx"), arrays={"x": inputs()}, store=store)
    names = [node.output[0] for node in proto.graph.node]
    assert [record.tensor for record in ran.records] == names
    assert ran.missing == []
    del proto.graph.output[:]
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    expected = dict(zip(names, session.run(names, {"x": inputs()}), strict=True))
    kept = np.load(tmp_path / "kept.npz")
    for record in ran.records:
        value = kept[record.key]
        for name, other in expected.items():
            if other.shape == value.shape:
                apart = float(np.abs(value - other).max())
                assert (apart < 1e-4) == (name == record.tensor), f"{record.tensor} against {name}: {apart}"


def test_the_instrument_says_which_call_computed_a_tensor_and_when(workers: WorkerPool, tmp_path: Path) -> None:
    onnx.save(repeating(), tmp_path / "model.onnx")
    worker, store = workers.worker("tvm", "tvm"), str(tmp_path / "kept.npz")
    ran = TVM_ACTIVATIONS(worker, None, path=str(tmp_path / "model.onnx"), arrays={"x": inputs()}, store=store)
    by = {record.tensor: record for record in ran.records}
    assert all(by[name].call.startswith("conv2d") for name in ("a0", "a1", "a3"))
    assert by["a2"].call.startswith("add")
    assert "reshape" in by["y"].call
    order = [by[name].at for name in ("a0", "a1", "a2", "a4", "a5", "a6", "a7", "a8")]
    assert order == sorted(set(order))
    assert ran.calls > len(ran.records)  # the normalisation and HardSwish are several calls each


# -- a second opinion


def test_two_runtimes_that_agree_are_said_to(workers: WorkerPool, tmp_path: Path) -> None:
    comparison = opinion(workers, net((2, 2)), tmp_path)
    assert (comparison.agrees, comparison.differences, comparison.compared) == (True, (), 8)
    assert comparison.max_abs is not None
    assert comparison.max_abs < 1e-5


def test_the_first_node_that_differs_by_itself_is_the_runtimes(workers: WorkerPool, tmp_path: Path) -> None:
    comparison = opinion(workers, net(), tmp_path)
    assert comparison.agrees is False
    assert [difference.node for difference in comparison.differences] == [
        "up"
    ]  # what sits behind it is fed other values, and is right
    assert "resize2d" in comparison.words
    assert "not the converter's" in comparison.words


def test_an_operator_that_tvm_does_not_know_is_one_line(workers: WorkerPool, tmp_path: Path) -> None:
    comparison = opinion(workers, net((2, 2), tail="Celu"), tmp_path)
    assert (comparison.agrees, comparison.compared, comparison.first) == (None, 0, None)
    assert "Celu" in comparison.message
    assert "\n" not in comparison.message


def test_a_file_that_is_no_model_is_no_agreement(workers: WorkerPool, tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    comparison = ask(workers, "source", tmp_path / "broken.onnx", {"x": inputs()}, Tolerance(), 120)
    assert comparison.agrees is None


def test_a_killed_child_is_said_and_the_next_question_starts_another(workers: WorkerPool, tmp_path: Path) -> None:
    worker = workers.worker("tvm", "tvm")
    onnx.save(net(), tmp_path / "model.onnx")
    os.kill(worker.process.pid, signal.SIGSTOP)  # so that it cannot have answered before it is killed

    def kill() -> None:
        time.sleep(0.5)
        os.kill(worker.process.pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    comparison = ask(workers, "source", tmp_path / "model.onnx", {"x": inputs()}, Tolerance(), 120)
    killer.join()
    assert comparison.agrees is None
    assert "SIGKILL" in comparison.message
    assert opinion(workers, net((2, 2)), tmp_path).agrees is True


# -- in a run


def test_check_tells_a_difference_between_runtimes_and_lets_the_verdict_be(tmp_path: Path) -> None:
    save(tmp_path, net(), net())
    report = run("check", tmp_path)
    assert report["verdict"] == "verified"
    engines = [(engine["model"], engine["agrees"], engine["first_differing_node"]) for engine in report["engines"]]
    assert engines == [("source", False, "up"), ("target", False, "up")]
    assert any("runtime's difference" in note for note in report["notes"])


def test_without_the_option_nothing_is_asked(tmp_path: Path) -> None:
    save(tmp_path, net(), net())
    report = run("check", tmp_path, engine="onnxruntime")
    assert report["engines"] == []
    assert "engines" not in report["timings"]


def test_a_pair_command_asks_about_its_onnx_target(torch_models: Path, tmp_path: Path) -> None:
    (tmp_path / "model.pt2").write_bytes((torch_models / "model.pt2").read_bytes())
    done = safeconvert("torch2onnx", "model.pt2", "--engine", "tvm", "--json", folder=tmp_path)
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert [(engine["model"], engine["agrees"]) for engine in report["engines"]] == [("target", True)]
    assert "A second runtime" in (tmp_path / "model.onnx.report.html").read_text(encoding="utf-8")


def test_what_differs_as_the_runtimes_do_is_refused_and_a_real_fault_behind_it_is_a_fault(tmp_path: Path) -> None:
    save(tmp_path, net(), net(gain=1.5))
    report = run("repair", tmp_path, "-o", "fixed.onnx")
    assert report["verdict"] == "repaired"
    (fault,) = report["faults"]
    assert (fault["type"], fault["target_node"], fault["status"]) == ("WB", "second", "repaired")
    assert report["localisation"]["engine"] == "tvm"
    (refused,) = report["refused"]
    assert refused["target_node"] == "up"
    assert "in onnxruntime and" in refused["reason"]
    views = {engine["model"]: engine["first_differing_node"] for engine in report["engines"]}
    assert views == {"source view": "up", "target view": "up", "target": "up"}


def test_a_real_fault_in_the_node_at_which_the_runtimes_differ_is_a_fault(tmp_path: Path) -> None:
    save(tmp_path, net(), net(mode="cubic"))
    report = run("repair", tmp_path, "-o", "fixed.onnx")
    assert report["verdict"] == "repaired"
    assert [(fault["type"], fault["target_node"], fault["status"]) for fault in report["faults"]] == [
        ("LH", "up", "repaired")
    ]
    assert report["refused"] == []


def test_a_target_that_the_reference_reads_as_onnxruntime_does_is_at_fault(tmp_path: Path) -> None:
    """TVM reads scales 1.35 and 1.7 as the sizes that the Source has; onnxruntime and the reference do not."""
    save(tmp_path, net(None), net())
    report = run("repair", tmp_path, "-o", "fixed.onnx")
    assert report["verdict"] == "repaired"
    assert [fault["target_node"] for fault in report["faults"]] == ["up"]
    assert report["refused"] == []


def test_a_target_that_one_runtime_reads_as_the_source_and_none_agrees_about_is_refused(tmp_path: Path) -> None:
    """At 10 * 1.3 the reference rounds the output's size otherwise: it sides with neither runtime."""
    save(tmp_path, net(None), net((1.3, 1.7)))
    report = run("repair", tmp_path, "-o", "fixed.onnx", code=1)
    assert report["verdict"] == "diverged"
    assert report["faults"] == []
    assert [refusal["target_node"] for refusal in report["refused"]] == ["up"]
    assert "runtime's difference" in report["refused"][0]["reason"]


def test_a_source_that_tvm_cannot_run_is_walked_in_onnxruntime(tmp_path: Path) -> None:
    save(tmp_path, net((2, 2), tail="Celu"), net((2, 2), tail="Celu", gain=1.5))
    report = run("repair", tmp_path, "-o", "fixed.onnx")
    assert report["verdict"] == "repaired"
    assert report["localisation"]["engine"] == "onnxruntime"
    assert all(engine["agrees"] is None and "Celu" in engine["message"] for engine in report["engines"])


def test_a_missing_package_is_said_at_once(tmp_path: Path) -> None:
    save(tmp_path, net(), net())
    blocked = "import sys; sys.modules['tvm'] = None; from safeconvert.cli.main import main; main()"
    for words in (["check", "source.onnx", "target.onnx"], ["onnx2torch", "source.onnx"]):
        command = [sys.executable, "-c", blocked, *words, "--engine", "tvm"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 2, done.stderr
        assert "pip install 'safeconvert[tvm]'" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source.onnx", "target.onnx"]


def test_doctor_loads_it_for_real(workers: WorkerPool) -> None:
    assert _loads(workers.worker("tvm", "tvm"), TVM) == "ok"
