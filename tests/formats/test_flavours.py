"""Each format tells its own models, by their bytes, from those of every other format."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from safeconvert.errors import BadInput
from safeconvert.formats import FORMATS, keras_model, onnx_model, pytorch, saved_model, tflite
from safeconvert.formats.format import Format
from safeconvert.models.detect import HEAD_BYTES, detect

FILES = {
    "torch_models": {"model.pt2": "pt2", "scripted.pt": "torchscript", "module.pt": "module",
                     "weights.pth": "state_dict", "legacy_weights.pth": "state_dict"},
    "keras_models": {"model.keras": "keras", "model.h5": "h5", "saved_model": "savedmodel", "model.tflite": "tflite"},
    "onnx_models": {"labels.onnx": "onnx"},
}  # fmt: skip
FORMAT_OF = {
    "pt2": pytorch.TORCH, "torchscript": pytorch.TORCH, "module": pytorch.TORCH, "state_dict": pytorch.TORCH,
    "keras": keras_model.KERAS, "h5": keras_model.KERAS, "savedmodel": saved_model.TF, "tflite": tflite.TFLITE,
    "onnx": onnx_model.ONNX,
}  # fmt: skip


def says(format: Format, path: Path) -> str | None:
    """What a format makes of a file; as ``detect`` asks, a folder of those formats alone that are folders."""
    if format.is_folder != path.is_dir():
        return None
    return format.detect_flavour(path, b"" if path.is_dir() else path.read_bytes()[:HEAD_BYTES])


@pytest.mark.parametrize("fixture", FILES)
def test_one_format_alone_knows_a_model(fixture: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(fixture)
    for name, flavour in FILES[fixture].items():
        claims = {format: answer for format in FORMATS if (answer := says(format, folder / name))}
        assert claims == {FORMAT_OF[flavour]: flavour}, name
        file = detect(folder / name)
        assert (file.format, file.flavour) == (FORMAT_OF[flavour], flavour)


def test_an_archive_of_neither_framework_and_one_without_weights_are_refused(tmp_path: Path) -> None:
    for name, members, reason in (
        ("a.zip", ["readme.txt"], "neither a Keras nor a PyTorch model"),
        ("b.keras", ["config.json", "metadata.json"], "without its model.weights.h5"),
    ):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for member in members:
                archive.writestr(member, "{}")
        with pytest.raises(BadInput, match=reason):
            detect(tmp_path / name)


def test_text_is_no_onnx_model_whatever_its_first_letter(tmp_path: Path) -> None:
    path = tmp_path / "notes.onnx"
    path.write_bytes(b"B" * 100)
    with pytest.raises(BadInput, match="not an ONNX model, whatever its name says"):
        detect(path)
    assert onnx_model.detect_flavour(path, b"B" * 100) is None
