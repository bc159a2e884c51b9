"""A TOML file of conversions: what it says is taken, and everything that is wrong with it is told at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from safeconvert.batch.plan import option_mistakes, read_plan
from safeconvert.errors import BadInput

BAD = """
[defaults]
imags = "photos"

[[convert]]
model = "none.onnx"
to = "kears"

[[convert]]
model = "labels.onnx"
to = "torch"
seed = "many"
images = "nowhere"

[[convert]]
model = "labels.onnx"
to = "onnx"

[[convert]]
to = "torch"
model = "labels.onnx"
output = "missing/x.pt2"

[other]
"""
EXPECTED = (
    "unknown table [other]", "did you mean images?", "none.onnx does not exist", "'kears' is no format",
    "seed = 'many' is not a whole number", "images = 'nowhere' does not exist", "is an ONNX model already",
    "missing of the output does not exist",
)  # fmt: skip


def plan_in(folder: Path, models: Path, text: str) -> Path:
    for name in ("labels.onnx", "value.onnx"):
        (folder / name).write_bytes((models / name).read_bytes())
    path = folder / "models.toml"
    path.write_text(text)
    return path


def test_options_of_a_model_come_before_the_defaults(tmp_path: Path, onnx_models: Path) -> None:
    text = '[defaults]\nseed = 3\nmax-discrepancy = 2\n[[convert]]\nmodel = "labels.onnx"\nto = "torch"\nseed = 4\n'
    (conversion,) = read_plan(plan_in(tmp_path, onnx_models, text))
    assert conversion.options == {"seed": 4, "max_discrepancy": 2}
    assert conversion.output == tmp_path / "labels.pt2"
    assert (conversion.model, conversion.name) == (tmp_path / "labels.onnx", "labels.onnx -> torch")


def test_all_mistakes_are_told_at_once(tmp_path: Path, onnx_models: Path) -> None:
    with pytest.raises(BadInput) as raised:
        read_plan(plan_in(tmp_path, onnx_models, BAD))
    message = str(raised.value)
    assert f"has {len(EXPECTED)} mistakes" in message
    assert [words for words in EXPECTED if words not in message] == []


def test_no_framework_is_loaded_for_them(tmp_path: Path, onnx_models: Path) -> None:
    path = plan_in(tmp_path, onnx_models, BAD)
    code = (
        "import sys\nfrom pathlib import Path\nfrom safeconvert.batch.plan import read_plan\n"
        f"try:\n    read_plan(Path({str(path)!r}))\nexcept Exception as error:\n    print(type(error).__name__)\n"
        "print(sorted({'torch', 'tensorflow', 'onnx', 'onnxruntime', 'joblib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["BadInput", "[]"]


def test_two_models_with_one_output_are_refused(tmp_path: Path, onnx_models: Path) -> None:
    entry = '[[convert]]\nmodel = "{}.onnx"\nto = "torch"\noutput = "same.pt2"\n'
    with pytest.raises(BadInput, match="would both be written"):
        read_plan(plan_in(tmp_path, onnx_models, entry.format("labels") + entry.format("value")))


@pytest.mark.parametrize("text", ["", "[[convert]", "[defaults]\nseed = 1\n", "[convert]\nto = 'torch'\n"])
def test_a_file_without_conversions_is_refused(tmp_path: Path, onnx_models: Path, text: str) -> None:
    with pytest.raises(BadInput, match=r"models\.toml"):
        read_plan(plan_in(tmp_path, onnx_models, text))


def test_the_kind_of_each_value_is_checked() -> None:
    right = {
        "seed": 1,
        "atol": 1,
        "no_repair": True,
        "input_shape": {"x": [1, 2]},
        "core_layers": ["Conv"],
        "opset": 13,
    }
    assert option_mistakes(right) == []
    wrong = {"seed": 1.5, "atol": "x", "no_repair": 1, "input_shape": "x", "core_layers": "Conv", "images": 3}
    assert len(option_mistakes(wrong)) == len(wrong)
