"""The assertion and the pytest plugin, as a person's own tests use them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from safeconvert.testing import assert_same_predictions
from safeconvert.testing.predictions import assert_same_predictions as same_function
from safeconvert.testing.pytest_plugin import safeconvert_check

TEST = """
import numpy as np
from safeconvert.testing import assert_same_predictions

X = np.random.default_rng(0).standard_normal((8, 3, 8, 8), np.float32)

def test_fixture(safeconvert_check):
    assert safeconvert_check("{source}", "{copy}", inputs=X).verdict == "verified"

def test_same():
    assert_same_predictions("{source}", "{copy}", X)

def test_other():
    assert_same_predictions("{source}", "{other}", X)
"""


def test_models_that_differ_fail_the_assertion(onnx_models: Path) -> None:
    inputs = np.random.default_rng(0).standard_normal((8, 3, 8, 8), np.float32)
    assert same_function is assert_same_predictions
    assert_same_predictions(onnx_models / "labels.onnx", onnx_models / "labels_copy.onnx", inputs)
    with pytest.raises(AssertionError, match="diverged\n  calibration"):
        assert_same_predictions(onnx_models / "labels.onnx", onnx_models / "labels_off.onnx", inputs)
    with pytest.raises(AssertionError, match="undecided"):
        assert_same_predictions(onnx_models / "labels.onnx", onnx_models / "labels_copy.onnx", inputs[:1])


def test_pytest_finds_the_plugin(tmp_path: Path, onnx_models: Path) -> None:
    assert safeconvert_check is not None
    names = {"source": "labels", "copy": "labels_copy", "other": "labels_off"}
    paths = {word: onnx_models / f"{name}.onnx" for word, name in names.items()}
    (tmp_path / "test_models.py").write_text(TEST.format(**paths))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_models.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "2 passed" in done.stdout, done.stdout + done.stderr
    assert "FAILED test_models.py::test_other - AssertionError: the models do not" in done.stdout
