"""The discrepancy matrix of one Source and every Target that can be reached: values, table and picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from PIL import Image

from safeconvert.batch import matrix
from safeconvert.errors import BadInput
from safeconvert.formats import FORMAT_NAMES


def record(model: Path, to: str, **more: Any) -> dict[str, Any]:
    sets = {"count": 50, "labels_differ": 6, "percent": 12.0}
    plain = {"model": str(model), "to": to, "verdict": "repaired", "before": sets, "reasons": [], "report": None}
    return {**plain, "after": {"count": 50, "labels_differ": 0, "percent": 0.0}, **more}


def test_every_reachable_format_is_a_conversion(
    tmp_path: Path, onnx_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    Image.new("RGB", (8, 8)).save("photos/grey.png")
    conversions = matrix.matrix_conversions([onnx_models / "labels.onnx"], tmp_path, {"images": Path("photos")})
    assert [conversion.to for conversion in conversions] == [name for name in FORMAT_NAMES if name != "onnx"]
    assert all(matrix.is_reachable("onnx", conversion.to) for conversion in conversions)
    assert conversions[0].options["images"].is_absolute()
    assert len({conversion.output for conversion in conversions}) == len(conversions)


def test_two_models_of_one_name_are_refused(tmp_path: Path, onnx_models: Path) -> None:
    with pytest.raises(BadInput, match="several models are named labels"):
        matrix.matrix_conversions([onnx_models / "labels.onnx"] * 2, tmp_path, {})


def test_cells_say_what_changed_and_what_repair_made_of_it(onnx_models: Path) -> None:
    model = onnx_models / "labels.onnx"
    failed = record(model, "tflite", verdict="failed", before=None, after=None)
    document = matrix.document([record(model, "torch"), failed])
    (row,) = document["rows"]
    assert row["format"] == "onnx"
    assert matrix.cell_text(row["cells"]["torch"]) == "12.0 % -> 0.0 %"
    assert matrix.cell_text(row["cells"]["tflite"]) == "failed"
    assert matrix.cell_text(row["cells"]["onnx"]) == "-"
    assert matrix.shade(row["cells"]["torch"]) > matrix.shade(row["cells"]["tflite"]) == 0


def test_the_picture_shows_each_cell(onnx_models: Path) -> None:
    model = onnx_models / "labels.onnx"
    root = ElementTree.fromstring(matrix.render_svg(matrix.document([record(model, "torch")])))
    words = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "12.0 % → 0.0 %" in words
    assert "labels.onnx" in words
    assert len(list(root.iter("{http://www.w3.org/2000/svg}g"))) == len(FORMAT_NAMES)
