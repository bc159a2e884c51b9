"""What the page's charts, tables, thumbnails and changed inputs are computed from."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from safeconvert.checking.verdict import Judgement
from safeconvert.comparison.compare import compare
from safeconvert.comparison.comparison import Comparison
from safeconvert.comparison.tolerance import Tolerance
from safeconvert.inputs.images import ImageInputs
from safeconvert.inputs.presets import load_preprocess
from safeconvert.records import Verdict
from safeconvert.reporting.changed_predictions import predictions_section
from safeconvert.reporting.class_names import class_names
from safeconvert.reporting.figures import byte_size, formatted_percent
from safeconvert.reporting.graph_parts import graph_parts
from safeconvert.reporting.layer_errors import HEIGHT, layer_error_chart
from safeconvert.reporting.margin_chart import margin_chart
from safeconvert.reporting.thumbnails import thumbnails
from tests.support.report_documents import document, fault


def photos(folder: Path, count: int) -> ImageInputs:
    """Photos of one colour each: 8 x 8 pixels, red rising."""
    for row in range(count):
        Image.new("RGB", (8, 8), (40 * row, 0, 0)).save(folder / f"{row}.png")
    return prepared(folder)


def prepared(folder: Path) -> ImageInputs:
    paths, skipped = ImageInputs.scan(folder)
    return ImageInputs.prepare(
        paths, load_preprocess("raw"), name="x", height=8, width=8, channels=3, layout="nhwc", dtype="float32",
        cache=folder, skipped=skipped,
    )  # fmt: skip


def compared(rows: list[int], source: list[list[float]], target: list[list[float]]) -> Comparison:
    arrays = [np.asarray(values, np.float32) for values in (source, target)]
    return compare(rows, [arrays[0]], [arrays[1]], ["probs"], Tolerance())


def test_changed_inputs_have_both_labels_before_and_after_and_those_that_still_differ_come_first(
    tmp_path: Path,
) -> None:
    inputs = photos(tmp_path, 3)
    source = [[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]]
    after = compared([0, 1, 2], source, [[0.9, 0.1], [0.6, 0.4], [0.7, 0.3]])
    before = compared([0, 1, 2], source, [[0.9, 0.1], [0.3, 0.7], [0.7, 0.3]])
    judgement = Judgement(Verdict.DIVERGED, (), (after, Comparison()), (before, Comparison()))
    section = predictions_section(judgement, inputs, {})
    assert section is not None
    assert section["changed_count"] == 2
    assert [Path(each["input"]).name for each in section["changed"]] == ["2.png", "1.png"]
    fixed = section["changed"][1]
    assert (fixed["source"]["label"], fixed["before"]["label"], fixed["after"]["label"]) == (0, 1, 0)
    assert abs(fixed["before"]["confidence"] - 0.7) < 1e-5
    margins = section["margins"]
    assert sum(margins["all"]) == 3
    assert sum(margins["changed_before"]) == 2
    assert sum(margins["changed_after"]) == 1
    pictures = thumbnails(inputs, {"check": {"predictions": section}})
    assert set(pictures) == {str(tmp_path / "1.png"), str(tmp_path / "2.png")}
    data = base64.b64decode(pictures[str(tmp_path / "2.png")].partition(",")[2])
    with Image.open(io.BytesIO(data)) as picture:
        red = np.asarray(picture.convert("RGB"))[4, 4, 0]
    assert abs(int(red) - 80) < 10


@pytest.mark.parametrize(
    ("labels", "class_count", "names"),
    [
        ([0, 0, 1, 1], 2, ("cat", "dog")),
        ([0, 1, 1, 1], None, ("cat", "dog")),
        ([0, 0, 1, 1], 1000, None),  # other classes than the folders
        ([1, 1, 0, 0], 2, None),  # numbered otherwise
    ],
)
def test_folders_name_the_classes_where_the_source_agrees_with_them(
    labels: list[int], class_count: int | None, names: tuple[str, ...] | None, tmp_path: Path
) -> None:
    for name in ("dog", "cat"):
        (tmp_path / name).mkdir()
        photos(tmp_path / name, 2)
    probs = [[0.9, 0.1] if label == 0 else [0.1, 0.9] for label in labels]
    inputs = prepared(tmp_path)
    assert [Path(inputs.label(row)).parent.name for row in range(4)] == ["cat", "cat", "dog", "dog"]
    both = (compared([0, 1], probs[:2], probs[:2]), compared([2, 3], probs[2:], probs[2:]))
    assert class_names(inputs, both, class_count) == names


def test_images_of_one_folder_name_no_class(tmp_path: Path) -> None:
    assert class_names(photos(tmp_path, 2), (compared([0], [[0.9, 0.1]], [[0.9, 0.1]]),), 2) is None


def test_nothing_is_said_of_predictions_where_nothing_was_compared(tmp_path: Path) -> None:
    assert predictions_section(Judgement(Verdict.UNDECIDED), photos(tmp_path, 2), {}) is None


def test_bars_are_as_high_as_their_counts() -> None:
    margins = document("repaired")["check"]["predictions"]["margins"]
    bars = margin_chart({**margins, "all": [5, 10] + [0] * 18})
    assert bars is not None
    assert bars[0].heights[0] * 2 == bars[1].heights[0]
    assert margin_chart({**margins, "all": [0] * 20}) is None


def test_layers_stand_in_the_networks_order_and_an_infinite_error_reaches_the_top() -> None:
    report = document("repaired")
    report["localisation"]["layers"] = []
    assert layer_error_chart(report) is None
    report["localisation"]["layers"] = [
        {"source_node": "/Conv", "operator": "Conv", "before": 1e-3},
        {"source_node": "/MaxPool", "operator": "MaxPool", "before": None},
    ]
    chart = layer_error_chart(report)
    assert chart is not None
    assert [bar.fault for bar in chart.bars] == ["", "F1"]
    assert not chart.has_after
    assert chart.bars[0].height < HEIGHT - chart.tolerance_y < chart.bars[1].height == HEIGHT


def test_the_error_after_the_repair_stands_beside_the_one_before() -> None:
    chart = layer_error_chart(document("repaired"))
    assert chart is not None
    assert chart.has_after
    assert [bar.after for bar in chart.bars] == [1e-4, 0.1]
    assert chart.bars[1].height_after is not None
    assert chart.bars[1].height_after < HEIGHT - chart.tolerance_y < chart.bars[1].height


def test_a_fault_is_shown_source_beside_target_with_what_is_known_of_it() -> None:
    shown = fault("repaired")
    rows = {row.name: row for row in graph_parts(shown)}
    assert (rows["the fault"].source, rows["the fault"].target) == ("/MaxPool", "LAYER_1")
    names = list(rows)
    assert names.index("1 before it") < names.index("the fault") < names.index("1 after it")
    assert (rows["1 before it"].source, rows["1 after it"].target) == ("Conv /Conv", "LAYER_2")
    assert rows["output values"].target == "off by up to 4.2"
    assert not rows["output shape"].is_fault
    shown["evidence"]["settings"] = [{"name": "pads", "source": "[1, 1]", "target": "[0, 0]"}]
    assert {row.name: row for row in graph_parts(shown)}["pads"].target == "[0, 0]"


def test_a_small_share_never_reads_as_none_and_a_large_one_never_as_all() -> None:
    assert [formatted_percent(value) for value in (None, 0, 0.001, 1.234, 34.2, 99.99, 100)] == [
        "-", "0 %", "under 0.01 %", "1.2 %", "34.2 %", "over 99.9 %", "100 %",
    ]  # fmt: skip
    assert [byte_size(value) for value in (None, 12, 14_000_000)] == ["-", "12 bytes", "14 MB"]
