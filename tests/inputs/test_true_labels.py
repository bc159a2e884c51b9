"""True labels by image name, and the accuracy that they give."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import numpy as np
import pytest

from safeconvert.checking.verdict import Judgement
from safeconvert.comparison.accuracy import Accuracy, accuracy
from safeconvert.comparison.comparison import Comparison
from safeconvert.comparison.predictions import Predictions
from safeconvert.errors import BadInput
from safeconvert.inputs.true_labels import labels_of_images, read_labels
from safeconvert.options import Options
from safeconvert.records import Verdict
from safeconvert.reporting.accuracies import accuracy_lines, accuracy_section
from safeconvert.reporting.document import schema
from safeconvert.reporting.html_report import html_report
from tests.support.report_documents import document

ROWS = np.arange(4)
PREDICTIONS = Predictions("y", ROWS, np.array([0, 1, 2, 3]), ROWS, np.array([0, 1, 0, 0]), ROWS, ROWS)
COMPARED = Comparison(4, labels_differ=2, labelled=True, predictions=PREDICTIONS)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.csv", "a.jpg,3\nb.jpg,0\n"),
        ("labels.csv", "image,label\na.jpg, 3\n\nb.jpg,0"),
        ("labels.json", '{"a.jpg": 3, "b.jpg": 0}'),
    ],
)
def test_csv_with_or_without_a_header_and_json_give_the_same_labels(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert read_labels(tmp_path / name) == {"a.jpg": 3, "b.jpg": 0}


def test_folders_are_classes_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("dog/1.jpg", "cat/1.jpg", "cat/2.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    images = [tmp_path / "cat/1.jpg", tmp_path / "cat/2.jpg", tmp_path / "dog/1.jpg"]
    assert list(labels_of_images(tmp_path, images, tmp_path).values()) == [0, 0, 1]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("labels.csv", "a.jpg,cat\nb.jpg,dog\n", "'dog', which is not a class index"),
        ("labels.csv", "a.jpg;3\n", "has 1 columns, not 2"),
        ("labels.csv", "a.jpg,3\na.jpg,4\n", "the labels 3 and 4"),
        ("labels.csv", "", "has no label"),
        ("labels.json", "[1, 2]", "holds a list, not an object"),
        ("labels.json", '{"a.jpg": -1}', "-1, which is not a class index"),
        ("labels.json", "{", "is not JSON"),
    ],
)
def test_a_file_in_another_form_is_refused_with_the_forms(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(BadInput, match=message):
        read_labels(tmp_path / name)


def test_a_missing_file_and_names_of_no_image_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        read_labels(tmp_path / "none.csv")
    (tmp_path / "labels.csv").write_text("other.jpg,3\n")
    with pytest.raises(BadInput, match="none of its 1 names"):
        labels_of_images(tmp_path / "labels.csv", [tmp_path / "a.jpg"], tmp_path)
    with pytest.raises(BadInput, match="--labels names images by their files"):
        Options(labels=tmp_path / "labels.csv")


def test_a_file_name_that_two_images_have_is_refused_and_their_paths_are_not(tmp_path: Path) -> None:
    images = [tmp_path / "x/a.jpg", tmp_path / "y/a.jpg"]
    (tmp_path / "labels.csv").write_text("a.jpg,3\n")
    with pytest.raises(BadInput, match="is the name of"):
        labels_of_images(tmp_path / "labels.csv", images, tmp_path)
    (tmp_path / "labels.csv").write_text("x/a.jpg,3\ny/a.jpg,4\n")
    assert list(labels_of_images(tmp_path / "labels.csv", images, tmp_path).values()) == [3, 4]


def test_accuracy_counts_the_inputs_with_a_true_label() -> None:
    assert accuracy(COMPARED, {0: 0, 1: 1, 2: 2}) == Accuracy(3, 100.0, 200 / 3)
    assert accuracy(COMPARED, {}) is None
    assert accuracy(Comparison(4), {0: 0}) is None


def test_the_report_the_terminal_and_the_page_show_both_accuracies() -> None:
    judgement = Judgement(Verdict.VERIFIED, compared=(COMPARED, Comparison()))
    report = document("verified")
    assert accuracy_section(judgement, {}) == {}
    assert accuracy_lines(report["check"]) == []
    report["check"] |= accuracy_section(judgement, {0: 0, 3: 3})
    jsonschema.validate(report, schema())
    line = "ccuracy on 2 calibration inputs with a true label: Source 100.00 %, Target 50.00 %"
    assert accuracy_lines(report["check"]) == ["a" + line]
    assert "A" + line in html_report(report)
