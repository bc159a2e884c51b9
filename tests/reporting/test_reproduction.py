"""Faults that stay: --no-repair and --repair-time, and how each fault can be seen with the converter alone."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import onnx
import onnx.reference
import pytest
from onnx import TensorProto, helper, numpy_helper
from safeconvert.converters import HOPS
from safeconvert.repair.localization import single_nodes
from safeconvert.repair.localization.single_node import SingleNode, SingleNodeFiles

from safeconvert.checking.verdict import Judgement
from safeconvert.cli.arguments import OPTIONS
from safeconvert.comparison.comparison import Comparison
from safeconvert.conversion.findings import HopFinding, NodeDifference, diagnose, refusals
from safeconvert.conversion.time_budget import RepairTime
from safeconvert.options import Options
from safeconvert.records import Verdict
from safeconvert.reporting.document import schema
from tests.support.command import COMMAND, environment, safeconvert
from tests.support.pool_nets import SIZES, average_pool, max_pool, net

TWO = net(average_pool("c", "a", "uneven"), max_pool("a", "m", "padded"))


def resized() -> onnx.ModelProto:
    """onnx2torch takes the nearest pixel to be the one below, whatever ``nearest_mode`` says."""
    model = net(
        helper.make_node(
            "Resize",
            ["c", "", "factors"],
            ["m"],
            "larger",
            mode="nearest",
            coordinate_transformation_mode="half_pixel",
            nearest_mode="ceil",
        )
    )
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 1, 1.5, 1.5], "float32"), "factors"))
    return model


def prepared(folder: Path, model: onnx.ModelProto) -> Path:
    onnx.save(model, folder / "net.onnx")
    np.savez(folder / "x.npz", np.random.default_rng(0).normal(size=(24, *SIZES)).astype("float32"))
    return folder


def convert(folder: Path, *options: str, pair: str = "onnx2keras", code: int) -> dict[str, Any]:
    done = safeconvert(pair, "net.onnx", "--inputs", "x.npz", "--json", *options, folder=folder)
    assert done.code == code, done.out + done.err
    report: dict[str, Any] = json.loads(done.out)
    jsonschema.validate(report, schema())
    return report


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder and the report of a run that was told not to repair."""
    folder = prepared(tmp_path_factory.mktemp("kept"), TWO)
    return folder, convert(folder, "--no-repair", code=1)


def test_without_repair_a_converter_is_run_as_it_is_and_its_faults_are_named(kept: tuple[Path, dict[str, Any]]) -> None:
    folder, report = kept
    assert report["verdict"] == "diverged"
    assert "repair was turned off (--no-repair)" in report["reasons"]
    assert [hop["form"] for hop in report["route"]] == [""]
    assert {(f["source_node"], f["status"]) for f in report["faults"]} == {
        ("uneven", "unrepaired"),
        ("padded", "unrepaired"),
    }
    assert {fault["type"] for fault in report["faults"]} == {"LH"}
    assert [entry["source_node"] for entry in report["localisation"]["ranking"][:2]] == ["uneven", "padded"]
    assert not (folder / "net.keras").exists()
    assert (folder / "net.unverified.keras").exists()


def reproduction(kept: tuple[Path, dict[str, Any]], node: str) -> tuple[dict[str, Any], dict[str, Any]]:
    fault = next(fault for fault in kept[1]["faults"] if fault["source_node"] == node)
    return fault, fault["reproduce"]


def test_the_node_alone_is_written_beside_the_report(kept: tuple[Path, dict[str, Any]]) -> None:
    fault, files = reproduction(kept, "padded")
    assert (files["model"], files["inputs"]) == tuple(f"net.keras.fault-{fault['id']}.{e}" for e in ("onnx", "npz"))
    model = onnx.load(kept[0] / files["model"])
    assert [(node.name, node.op_type) for node in model.graph.node] == [("padded", "MaxPool")]
    with np.load(kept[0] / files["inputs"]) as stored:
        assert {name: array.shape for name, array in stored.items()} == {"x": (4, 6, 12, 9)}
    page = (kept[0] / "net.keras.report.html").read_text()
    assert page.count("<summary>How to see") == 2, "one for each fault"
    assert files["command"] in page


def test_the_command_shows_the_same_difference_on_the_node_alone(
    kept: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    fault, files = reproduction(kept, "padded")
    for name in (files["model"], files["inputs"]):
        (tmp_path / name).write_bytes((kept[0] / name).read_bytes())
    program, *arguments = shlex.split(files["command"])
    assert program == "safeconvert"
    done = safeconvert(*arguments, "--json", folder=tmp_path)
    report = json.loads(done.out)
    assert (done.code, report["verdict"]) == (1, "diverged"), done.err
    largest = max(entry["max_abs"] for entry in report["check"]["after"].values() if entry["count"])
    assert fault["evidence"]["local_max_abs"] <= largest * 1.001
    assert [entry["source_node"] for entry in report["faults"]] == ["padded"]
    assert set(report["faults"][0]["reproduce"]) == {"run"}, "the Source is the node alone already"


def issue_lines(files: dict[str, Any]) -> str:
    searched = re.search(r"```python\n(.*?)\n```", files["issue"], re.DOTALL)
    assert searched is not None
    return searched[1]


def differences(lines: str, folder: Path) -> list[str]:
    """What the bug report's lines print at the end; in a folder with its two files and nothing else."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", lines], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].rsplit(maxsplit=1)


def test_the_bug_report_names_what_differs_and_its_lines_show_it(kept: tuple[Path, dict[str, Any]]) -> None:
    fault, files = reproduction(kept, "padded")
    assert files["issue"].startswith("# onnx2keras ")
    for words in ("MaxPool(x: float32[1, 6, 12, 9])", "pads=[1, 1, 1, 1]", "onnxruntime ", files["model"]):
        assert words in files["issue"]
    assert str(kept[0]) not in json.dumps(kept[1]["faults"])
    printed = differences(issue_lines(files), kept[0])
    assert float(printed[1]) == pytest.approx(fault["evidence"]["local_max_abs"], rel=1e-3)


def test_a_fault_of_another_converter_is_shown_by_that_converter(tmp_path: Path) -> None:
    report = convert(prepared(tmp_path, resized()), pair="onnx2torch", code=0)
    (fault,) = report["faults"]
    assert (report["verdict"], fault["source_node"], fault["status"]) == ("repaired", "larger", "repaired")
    # onnx2torch imports torchvision, whose compiled part may not fit the torch that is installed.
    importable = "from safeconvert.runtimes.pytorch.model import import_torchvision; import_torchvision()\n"
    printed = differences(importable + issue_lines(fault["reproduce"]), tmp_path)
    assert float(printed[1]) == pytest.approx(fault["evidence"]["local_max_abs"], rel=1e-3)


def test_files_of_an_earlier_run_go_and_nothing_else_does(tmp_path: Path) -> None:
    prepared(tmp_path, net(max_pool("c", "m", "the_pool")))
    for name in (
        "net.keras.fault-F1.onnx",
        "net.keras.fault-F7.onnx",
        "net.keras.fault-F7.txt",
        "net.keras.fault-F0.npz",
    ):
        (tmp_path / name).write_text("old")
    report = convert(tmp_path, "--force", code=0)
    (fault,) = report["faults"]
    assert (report["verdict"], fault["reproduce"]["model"]) == ("repaired", "net.keras.fault-F1.onnx")
    onnx.checker.check_model(onnx.load(tmp_path / "net.keras.fault-F1.onnx"))
    left = {path.name for path in tmp_path.iterdir() if ".fault-" in path.name}
    assert left == {f"net.keras.fault-{e}" for e in ("F1.onnx", "F1.npz", "F7.txt", "F0.npz")}
    again = shlex.split(fault["reproduce"]["run"])
    assert again == shlex.split("safeconvert onnx2keras net.onnx -o net.keras --inputs x.npz --force")


def test_the_time_for_repair_is_kept_and_said(tmp_path: Path) -> None:
    prepared(tmp_path, TWO)
    begun = time.monotonic()
    report = convert(tmp_path, "--repair-time", "0.001", code=1)
    assert time.monotonic() - begun < 40
    assert report["verdict"] == "diverged"
    assert any("--repair-time" in reason for reason in report["reasons"])
    assert [hop["form"] for hop in report["route"] if hop["used"]] == [""]


@pytest.mark.parametrize("value", ["0", "-1", "nan"])
def test_a_time_for_repair_of_nothing_is_refused(value: str, onnx_models: Path, tmp_path: Path) -> None:
    done = safeconvert(
        "onnx2torch", onnx_models / "labels.onnx", "-o", "m.pt2", "--repair-time", value, folder=tmp_path
    )
    assert (done.code, done.out) == (2, "")
    assert "--repair-time" in done.err


def test_an_interrupt_ends_the_repair_and_not_the_run(tmp_path: Path) -> None:
    prepared(tmp_path, TWO)
    arguments = ["onnx2keras", "net.onnx", "--inputs", "x.npz", "-v"]
    with subprocess.Popen(
        [COMMAND, *arguments],
        cwd=tmp_path,
        env=environment(tmp_path.parent / f"{tmp_path.name}-tmp"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as run:
        assert run.stdout is not None
        assert run.stderr is not None
        for line in run.stderr:
            if "looking for the nodes at fault" in line:
                run.send_signal(signal.SIGINT)
        shown = run.stdout.read()
    assert run.returncode == 1, shown
    assert "Ctrl-C ended the search for a repair" in shown


def test_a_second_interrupt_is_for_the_run() -> None:
    budget = RepairTime(60)
    with budget.running():
        assert budget.allows()
        signal.raise_signal(signal.SIGINT)
        assert not budget.allows()
        assert "Ctrl-C" in budget.cut
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), budget.running():
        signal.raise_signal(signal.SIGINT)


def test_only_what_is_repair_counts_as_its_time() -> None:
    budget = RepairTime(0.2)
    time.sleep(0.3)
    assert budget.limit(600) == 600
    with budget.running():
        assert budget.allows()
        assert 0 < budget.limit(600) <= 0.2
        time.sleep(0.3)
        assert not budget.allows()
    assert "--repair-time" in budget.cut
    assert budget.limit(600) == 600, "what is no repair goes on"


def test_outside_of_the_main_thread_interrupts_are_left_alone() -> None:
    def work() -> None:
        with RepairTime(1).running():
            handlers.append(signal.getsignal(signal.SIGINT))

    handlers: list[object] = []
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert handlers == [signal.default_int_handler]


# -- what the report says of each fault

HOP = next(hop for hop in HOPS if hop.source == "onnx" and hop.layer_names == "{node}")
SEEN = NodeDifference("n", "Conv", 7.0, 0.1, (1, 2), (1, 2))
OTHER = NodeDifference("k", "Gemm", 5.0, 0.1, (1, 2), (1, 3))


def finding(**fields: Any) -> HopFinding:
    stage: Any = object()
    return HopFinding(HOP, stage, (), {}, stage, (SEEN, OTHER), (SEEN, OTHER), 3, **fields)


def compared(labels: int) -> tuple[Comparison, Comparison]:
    return Comparison(10, labels), Comparison(10, labels)


def test_of_several_faults_each_has_its_own_percentage() -> None:
    repaired = finding(after=object(), form="plain")
    judgement = Judgement(Verdict.REPAIRED, (), compared(0), compared(6))
    diagnoses = diagnose([repaired], judgement, {(HOP.label, "n"): 20.0})
    assert [(diagnosis.is_repaired, diagnosis.percent_before) for diagnosis in diagnoses] == [
        (True, 20.0),
        (True, 60.0),
    ]


def test_a_fault_that_stays_has_the_percentage_of_the_target() -> None:
    diagnoses = diagnose([finding()], Judgement(Verdict.DIVERGED, (), compared(6)), {})
    assert [(diagnosis.type, diagnosis.is_repaired, diagnosis.percent_before) for diagnosis in diagnoses] == [
        ("LH", False, 60.0),
        ("TSS", False, 60.0),
    ]


def test_what_differs_on_probes_alone_is_no_fault_and_is_told() -> None:
    judgement = Judgement(Verdict.VERIFIED, (), compared(0))
    assert diagnose([finding()], judgement, {}) == []
    assert [(r.type, r.target_node) for r in refusals([finding()], judgement)] == [("LH", "n"), ("TSS", "k")]
    assert (
        refusals(
            [finding()],
            Judgement(Verdict.DIVERGED, (), compared(1)),
        )
        == []
    )


def test_the_command_of_the_whole_run_has_every_option_that_was_given() -> None:
    assert set(Options.__dataclass_fields__) <= set(OPTIONS)
    assert Options().arguments() == []
    chosen = Options.of(
        {"inputs": "a b.npz", "input_shape": {"x": (1, 3), "": (1, 4)}, "no_repair": True, "atol": 0.5, "opset": 13}
    )
    assert chosen.arguments() == [
        "--inputs", "a b.npz", "--input-shape", "x:1,3", "--input-shape", "1,4", "--opset", "13", "--atol", "0.5",
        "--no-repair",
    ]  # fmt: skip


# -- nodes alone

TENSORS = {"x": [1, *SIZES], "c": [1, 6, 12, 9], "s": [1, 6, 12, 9], "m": [1, 6, 12, 9]}


def alone(folder: Path, node: str, **limits: int) -> tuple[Any, Path, Path]:
    model = net(helper.make_node("Sigmoid", ["c"], ["s"], "bend"), helper.make_node("Add", ["c", "s"], ["m"], "join"))
    onnx.save(model, folder / "net.onnx")
    random = np.random.default_rng(0)
    rows = [{"x": random.normal(size=(1, *SIZES)).astype("float32")} for _ in range(3)]
    target, store = folder / "node.onnx", folder / "node.npz"
    files = SingleNodeFiles(node, str(target), str(store))
    limits = {"max_model_bytes": 1 << 20, "max_input_bytes": 1 << 20, **limits}
    (written,) = single_nodes.write_single_nodes(str(folder / "net.onnx"), TENSORS, rows, [files], **limits)
    return written, target, store


def test_a_node_with_two_inputs_stands_alone_with_both(tmp_path: Path) -> None:
    written, target, store = alone(tmp_path, "join")
    assert written.text == (
        "opset ai.onnx 13\ny: float32[1, 6, 12, 9] = Add(x0: float32[1, 6, 12, 9], x1: float32[1, 6, 12, 9])"
    )
    assert written.row_count == 3
    with np.load(store) as stored:
        np.testing.assert_allclose(stored["x1"], 1 / (1 + np.exp(-stored["x0"])), atol=1e-6)
    session = onnx.reference.ReferenceEvaluator(onnx.load(target))
    with np.load(store) as stored:
        first = {name: array[:1] for name, array in stored.items()}
    np.testing.assert_allclose(session.run(None, first)[0], first["x0"] + first["x1"], rtol=1e-6)


def test_a_node_keeps_its_weights_and_attributes(tmp_path: Path) -> None:
    written, target, _ = alone(tmp_path, "conv")
    assert "Conv(x: float32[1, 3, 12, 9], w: float32[6, 3, 3, 3], b: float32[6] = [-3.0" in written.text
    assert "pads=[1, 1, 1, 1]" in written.text
    assert {t.name: list(t.dims) for t in onnx.load(target).graph.initializer} == {"w": [6, 3, 3, 3], "b": [6]}


def test_large_things_are_left_out(tmp_path: Path) -> None:
    written, _, store = alone(tmp_path, "bend", max_input_bytes=6 * 12 * 9 * 4 * 2 + 1)
    assert written.row_count == 2
    with np.load(store) as stored:
        assert stored["x"].shape == (2, 6, 12, 9)
    store.unlink()
    assert alone(tmp_path, "bend", max_input_bytes=100)[0].row_count == 0
    assert not store.exists()
    assert "weights take" in alone(tmp_path, "conv", max_model_bytes=100)[0].reason


def test_a_node_that_moves_the_batch_has_no_command(tmp_path: Path) -> None:
    node = helper.make_node("Transpose", ["x"], ["y"], "turn", perm=[1, 0])
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", [1, 5]), ("y", [5, 1]))]
    model = helper.make_model(
        helper.make_graph([node], "g", values[:1], values[1:]),
        opset_imports=[helper.make_opsetid("", 13)],
        ir_version=8,
    )
    onnx.save(model, tmp_path / "net.onnx")
    files = SingleNodeFiles("turn", str(tmp_path / "n.onnx"), str(tmp_path / "n.npz"))
    rows = [{"x": np.ones((1, 5), "float32")}] * 2
    (written,) = single_nodes.write_single_nodes(
        str(tmp_path / "net.onnx"),
        {"x": [1, 5], "y": [5, 1]},
        rows,
        [files],
        max_model_bytes=1 << 20,
        max_input_bytes=1 << 20,
    )
    assert isinstance(written, SingleNode)
    assert (written.has_batch_axis, written.row_count) == (False, 1)
