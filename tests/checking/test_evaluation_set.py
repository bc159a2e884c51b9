"""The evaluation set as deployed is another set; nothing about the first changes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from safeconvert.checking.evaluation_set import EvaluationSet
from safeconvert.formats import ONNX
from safeconvert.inputs.presets import load_preprocess
from safeconvert.models.loaded_model import LoadedModel
from safeconvert.options import Options, Silent
from safeconvert.records import Signature, TensorSpec
from safeconvert.workers.pool import WorkerPool


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 256, (20, 30, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    return tmp_path


def evaluation_set_of(workers: WorkerPool, executor: ThreadPoolExecutor, options: Options) -> EvaluationSet:
    source = LoadedModel(workers, "source", ONNX.written_at(Path("source.onnx")))
    source.signature = Signature((TensorSpec("x", (None, 3, 16, 16), "float32"),), ())
    return EvaluationSet(workers, source, {"x": (None, 3, 16, 16)}, options, executor, Silent())


def test_as_deployed_is_another_set_with_the_same_source_outputs(images: Path) -> None:
    options = Options(images=images, preprocess="torch", target_preprocess="caffe")
    with WorkerPool() as workers, ThreadPoolExecutor(1) as executor:
        plain = evaluation_set_of(workers, executor, options)
        deployed = plain.as_deployed()
        assert (plain.target_preprocess, plain.target_inputs) == (None, None)
        assert deployed.target_preprocess == load_preprocess("caffe") == plain.deployment
        assert deployed.target_inputs is not None
        assert deployed.source_outputs is plain.source_outputs
        rows = (0, 1)
        assert not np.allclose(deployed.target_inputs.read(rows)["x"], plain.inputs.read(rows)["x"])
        corrected = deployed.with_target_preprocess(load_preprocess("torch"))
        assert corrected.target_inputs is not None
        np.testing.assert_array_equal(corrected.target_inputs.read(rows)["x"], plain.inputs.read(rows)["x"])
        contracts = [each.contract(plain.source.signature) for each in (plain, deployed, corrected)]
        assert contracts[0] == contracts[2] != contracts[1]
        plain.source_outputs.close()


def test_without_a_deployment_the_set_is_the_same(images: Path) -> None:
    with WorkerPool() as workers, ThreadPoolExecutor(1) as executor:
        plain = evaluation_set_of(workers, executor, Options(images=images, preprocess="torch"))
        assert plain.as_deployed() is plain
        plain.source_outputs.close()
