"""The sentences that the terminal and the HTML report share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from safeconvert.records import Verdict
from safeconvert.reporting.output_files import purpose
from safeconvert.reporting.wording import discrepancy_sentence, fault_sentence, first_name, graph_of


def fault(hop: str, source: str, target: str, status: str = "repaired") -> dict[str, Any]:
    return {
        "hop": hop,
        "source_node": source,
        "target_node": target,
        "evidence": {"operator": "MaxPool"},
        "status": status,
        "repair": "an explicit Pad stands before it",
    }


def attempt(hop: str, converter: str, status: str, form: str = "") -> dict[str, Any]:
    return {"hop": hop, "converter": converter, "status": status, "form": form}


def test_the_converter_that_differed_is_blamed_by_name_with_the_place_in_both_models() -> None:
    route = [attempt("torch->onnx", "torch.onnx", "ok"), attempt("onnx->keras", "onnx2keras", "diverged")]
    sentence = fault_sentence(fault("onnx->keras", "/MaxPool", "LAYER_2"), {"route": route})
    assert sentence == (
        "onnx2keras mistranslates MaxPool (/MaxPool; Keras layer LAYER_2). Fixed: an explicit Pad stands before it"
    )


def test_no_converter_is_blamed_for_a_target_that_came_from_elsewhere_or_for_a_hop_that_agreed() -> None:
    route = [attempt("onnx->tflite", "onnx2tf", "ok")]
    sentence = fault_sentence(fault("onnx->tflite", "pool", "pool", "unrepaired"), {"route": route})
    assert (
        sentence == "the Target's MaxPool differs from the Source's (pool). Not fixed: an explicit Pad stands before it"
    )


def test_only_the_first_of_fused_names_is_shown() -> None:
    assert first_name("a;b;c") == "a;..."
    assert first_name("a") == "a"


def test_what_a_converter_was_given_is_said_in_words() -> None:
    assert graph_of(attempt("", "", "ok")) == "unchanged"
    assert graph_of(attempt("", "", "ok", "missing")) == "rewritten (unsupported operators)"
    assert graph_of(attempt("", "", "ok", "a new form")) == "rewritten (a new form)"


def counted(differ: tuple[int, int]) -> dict[str, Any]:
    return {
        name: {"count": 10, "labels_differ": number}
        for name, number in zip(("calibration", "heldout"), differ, strict=True)
    }


def test_the_discrepancy_is_said_before_and_after_repair() -> None:
    check = {"comparator": "top1", "before": counted((3, 2)), "after": counted((0, 0))}
    assert discrepancy_sentence(check) == (
        "5 of 20 labels (25.00 %) differed before repair, 0 of 20 labels (0.00 %) after"
    )
    check["before"] = check["after"]
    assert discrepancy_sentence(check) == "0 of 20 labels (0.00 %) differ between Source and Target"
    assert discrepancy_sentence({**check, "after": None}) == ""


@pytest.mark.parametrize(
    ("name", "verdict", "words"),
    [
        ("a.keras", Verdict.REPAIRED, "the Target, repaired"),
        ("a.unverified.onnx", Verdict.DIVERGED, "the Target, which is not verified; kept for inspection"),
        ("a.onnx.report.json", Verdict.VERIFIED, "the report, for programs"),
        ("a.onnx.fault-F1.onnx", Verdict.REPAIRED, "a node at fault, as an ONNX model of its own"),
        ("a.onnx.crash-2.npz", Verdict.FAILED, "inputs that show the fault"),
    ],
)
def test_each_file_that_a_run_writes_has_a_purpose(name: str, verdict: Verdict, words: str) -> None:
    assert purpose(Path(name), verdict) == words
