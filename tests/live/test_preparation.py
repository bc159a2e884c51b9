"""What a run gets where Python code gives it arrays, dictionaries and models instead of paths."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from safeconvert.errors import BadInput
from safeconvert.inputs.presets import PRESETS, load_preprocess
from safeconvert.live.frameworks import imported, is_instance
from safeconvert.live.preparation import Preparation
from safeconvert.workers.pool import WorkerPool
from tests.conftest import conv_net

X = np.zeros((4, 3, 8, 8), np.float32)


def test_arrays_are_written_under_the_names_of_the_models_inputs(onnx_models: Path) -> None:
    with WorkerPool() as workers:
        prepared = Preparation(workers, [conv_net()], {"inputs": X})
        assert prepared.options.inputs is not None
        with np.load(prepared.options.inputs) as stored:
            assert {name: stored[name].shape for name in stored} == {"x": X.shape}
        assert prepared.files[0].origin == "onnx.ModelProto"
        assert prepared.files[0].path.name == "ModelProto.onnx"
        assert onnx.load(prepared.files[0].path) == conv_net()
        by_path = Preparation(workers, [onnx_models / "labels.onnx"], {"inputs": X})
        assert not by_path.files[0].is_live
        assert by_path.files[0].path == onnx_models / "labels.onnx"
    assert not prepared.files[0].path.exists()


def test_a_preprocessing_object_is_written_as_a_file(onnx_models: Path, tmp_path: Path) -> None:
    data = PRESETS["caffe"].to_json()
    with WorkerPool() as workers:
        keywords = {"preprocess": data, "target_preprocess": "unit", "images": tmp_path}
        prepared = Preparation(workers, [onnx_models / "labels.onnx"], keywords)
        assert load_preprocess(prepared.options.preprocess or "") == PRESETS["caffe"]
        assert prepared.options.target_preprocess == "unit"
        assert keywords["preprocess"] is data


def test_a_wrong_option_is_told_before_anything_is_written() -> None:
    with WorkerPool() as workers:
        with pytest.raises(BadInput, match="--holdout is 2"):
            Preparation(workers, [conv_net()], {"inputs": X, "holdout": 2})
        assert not any(path.is_dir() for path in workers.folder.iterdir())


def test_a_framework_that_was_never_imported_is_not_imported() -> None:
    assert not is_instance(3, "no.such.framework", "Model")
    assert "tvm" in sys.modules or imported("tvm") is None
    assert is_instance(conv_net(), "onnx", "ModelProto")
