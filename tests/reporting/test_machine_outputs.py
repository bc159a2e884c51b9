"""What machines read beside the report: JUnit XML, GitHub's annotations, Model Explorer's node data."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from safeconvert.reporting.annotations import annotation, is_wanted
from safeconvert.reporting.junit import Case, case_of_record, render
from safeconvert.reporting.node_data import node_data
from tests.support.command import safeconvert

CASES = [
    Case("a", "verified", (), 1.5),
    Case("b", "diverged", ("calibration: 3 of 4 labels differ\x01",), 2.0),
    Case("c", "undecided", ("one <input>",)),
    Case("d", None, ("c.onnx does not exist",)),
]


def test_junit_tells_failures_from_errors() -> None:
    root = ElementTree.fromstring(render(CASES))
    assert (root.get("tests"), root.get("failures"), root.get("errors"), root.get("time")) == ("4", "1", "2", "3.500")
    outcomes = {case.get("name"): [(o.tag, o.get("type")) for o in case] for case in root.iter("testcase")}
    assert outcomes == {
        "a": [], "b": [("failure", "diverged")], "c": [("error", "undecided")], "d": [("error", "no verdict")],
    }  # fmt: skip
    assert "one <input>" in [error.get("message") for error in root.iter("error")]


def test_annotations_are_one_line_each(monkeypatch: pytest.MonkeyPatch) -> None:
    assert annotation(CASES[0]) is None
    assert annotation(Case("a", "repaired")) == ("::notice title=safeconvert repaired%3A a::differed and was repaired")
    assert annotation(Case("a, b", "failed", ("50 %\nlost",))) == (
        "::error title=safeconvert failed%3A a%2C b::50 %25%0Alost"
    )
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert is_wanted()
    monkeypatch.delenv("GITHUB_ACTIONS")
    assert not is_wanted()


def test_node_data_has_a_value_for_each_name() -> None:
    ranking = [
        {"source_node": "conv", "target_node": "model/conv", "score": 0.5},
        {"source_node": "fc", "target_node": "conv", "score": 0.75},
    ]
    data = node_data({"localisation": {"ranking": ranking}})
    assert data["results"] == {"conv": {"value": 0.75}, "model/conv": {"value": 0.5}, "fc": {"value": 0.75}}
    assert [stop["stop"] for stop in data["gradient"]] == [0, 1]
    assert node_data({"localisation": None})["results"] == {}


def test_a_record_of_a_batch_is_a_case() -> None:
    record = {"model": "m.onnx", "to": "torch", "verdict": "failed", "reasons": ["no route"], "seconds": None}
    assert case_of_record(record) == Case("m.onnx -> torch", "failed", ("no route",), 0.0)


def test_commands_write_them(tmp_path: Path, onnx_models: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    models = [onnx_models / "labels.onnx", onnx_models / "labels_off.onnx"]
    actions = {"GITHUB_ACTIONS": "true"}
    done = safeconvert("check", *models, "--junit", "check.xml", folder=folder, env=actions)
    assert done.code == 1
    assert "::error title=safeconvert diverged%3A" in done.err
    assert ElementTree.parse(folder / "check.xml").getroot().get("failures") == "1"
    done = safeconvert("check", models[0], "none.onnx", "--junit", "bad.xml", folder=folder, env=actions)
    assert done.code == 2
    assert "::error" in done.err
    assert ElementTree.parse(folder / "bad.xml").getroot().get("errors") == "1"
    words = ("repair", *models, "-o", "fixed.onnx", "--node-data", "nodes.json")
    done = safeconvert(*words, folder=folder, env={"GITHUB_ACTIONS": ""})
    assert "::" not in done.err
    results = json.loads((folder / "nodes.json").read_text())["results"]
    report = json.loads((folder / "fixed.onnx.report.json").read_text())
    assert set(results) == {
        entry[side] for entry in report["localisation"]["ranking"] for side in ("source_node", "target_node")
    } - {""}
    assert results
