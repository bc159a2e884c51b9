"""Models whose inputs or outputs have no batch axis, a varying length or no axis at all are compared like others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from safeconvert.api import check
from safeconvert.checking.target_outputs import target_outputs
from safeconvert.comparison.varying_rows import row_counts
from safeconvert.errors import BadInput
from safeconvert.formats import ONNX, ModelFile
from safeconvert.models.input_mapping import Mismatch, map_inputs
from safeconvert.models.loaded_model import LoadedModel
from safeconvert.workers.pool import WorkerPool
from tests.support.unbatched_nets import detector, objects, save, streaming

RANDOM = np.random.default_rng(1)


def outcome(source: Path, target: Path, inputs: Path | None = None, **options: Any) -> tuple[str, str]:
    """The verdict, and its reasons in one line."""
    result = check(source, target, **({} if inputs is None else {"inputs": inputs}), **options)
    return result.verdict.value, "; ".join(result.reasons)


def stored(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def floats(*shape: int) -> np.ndarray[Any, Any]:
    return RANDOM.normal(size=shape).astype(np.float32)


def test_outputs_without_a_batch_axis_are_compared(tmp_path: Path) -> None:
    source = detector(tmp_path / "s.onnx")
    inputs = stored(tmp_path / "x.npz", x=floats(20, 12))
    assert outcome(source, detector(tmp_path / "t.onnx"), inputs)[0] == "verified"
    assert outcome(source, detector(tmp_path / "u.onnx", shift=1.0), inputs)[0] == "diverged"


def test_caches_whose_first_axis_is_no_batch_are_fed_with_and_without_inputs(tmp_path: Path) -> None:
    source, wrong = streaming(tmp_path / "s.onnx"), streaming(tmp_path / "w.onnx", scale=1.1)
    same = streaming(tmp_path / "t.onnx")
    inputs = stored(tmp_path / "x.npz", x=floats(10, 1, 6, 4), cache=floats(10, 5, 1, 4))
    for file in (inputs, None):
        assert outcome(source, same, file)[0] == "verified"
        assert outcome(source, wrong, file)[0] == "diverged"


def test_an_array_without_a_batch_axis_is_the_same_for_all_inputs(tmp_path: Path) -> None:
    source, same = streaming(tmp_path / "s.onnx"), streaming(tmp_path / "t.onnx")
    inputs = stored(tmp_path / "x.npz", x=floats(10, 1, 6, 4), cache=floats(5, 1, 4))
    assert outcome(source, same, inputs, batch_axis={"cache": None})[0] == "verified"
    with pytest.raises(BadInput, match="--batch-axis NAME:none"):
        outcome(source, same, inputs)


def test_a_batch_axis_that_is_the_second_is_taken_apart(tmp_path: Path) -> None:
    source, same = streaming(tmp_path / "s.onnx"), streaming(tmp_path / "t.onnx", scale=1.1)
    inputs = stored(tmp_path / "x.npz", x=floats(10, 1, 6, 4), cache=floats(5, 10, 4))
    assert outcome(source, same, inputs, batch_axis={"cache": 1})[0] == "diverged"


def test_an_axis_that_the_input_does_not_have_is_refused(tmp_path: Path) -> None:
    source = streaming(tmp_path / "s.onnx")
    with pytest.raises(BadInput, match="has 3 axes"):
        outcome(source, source, batch_axis={"cache": 3})
    with pytest.raises(BadInput, match="the model's inputs are x, cache"):
        outcome(source, source, batch_axis={"caches": 1})


def test_a_folder_holds_one_input_a_file(tmp_path: Path) -> None:
    source, same = streaming(tmp_path / "s.onnx"), streaming(tmp_path / "t.onnx")
    folder = tmp_path / "inputs"
    folder.mkdir()
    for number in range(6):
        stored(folder / f"{number}.npz", x=floats(1, 6, 4), cache=floats(5, 1, 4))
    (folder / "broken.npz").write_bytes(b"no archive")
    result = check(source, same, inputs=folder)
    assert result.verdict.value == "verified"
    inputs = result.report["check"]["inputs"]
    assert inputs["count"] == 6
    assert [Path(skipped["path"]).name for skipped in inputs["skipped"]] == ["broken.npz"]
    wrong = check(source, streaming(tmp_path / "w.onnx", scale=1.1), inputs=folder)
    assert wrong.report["check"]["differing"][0].endswith(".npz")


def test_single_arrays_of_a_folder_feed_the_only_input(tmp_path: Path) -> None:
    folder = tmp_path / "inputs"
    folder.mkdir()
    for number in range(4):
        np.save(folder / f"{number}.npy", floats(1, 12) if number % 2 else floats(12))
    result = check(detector(tmp_path / "s.onnx"), detector(tmp_path / "t.onnx"), inputs=folder)
    assert (result.verdict.value, result.report["check"]["inputs"]["count"]) == ("verified", 4)


def test_a_folder_without_arrays_is_refused(tmp_path: Path) -> None:
    source = detector(tmp_path / "s.onnx")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match=r"no \.npz or \.npy file"):
        check(source, source, inputs=tmp_path / "empty")


def scalars(path: Path, scale: float) -> Path:
    """A vector and a scalar factor become one number without an axis."""
    nodes = [
        helper.make_node("Mul", ["x", "factor"], ["m"]),
        helper.make_node("Mul", ["m", "scale"], ["n"]),
        helper.make_node("ReduceSum", ["n"], ["y"], keepdims=0),
    ]
    return save(path, nodes, {"x": [1, 12], "factor": []}, {"y": []}, {"scale": np.float32(scale)})


def test_scalars_are_read_and_compared(tmp_path: Path) -> None:
    source, same, wrong = (scalars(tmp_path / f"{i}.onnx", scale) for i, scale in enumerate((1.0, 1.0, 1.2)))
    inputs = stored(tmp_path / "x.npz", x=floats(10, 12), factor=floats(10))
    for file in (inputs, None):
        assert outcome(source, same, file)[0] == "verified"
        assert outcome(source, wrong, file)[0] == "diverged"


def embedding(path: Path, scale: float) -> Path:
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["e"]),
        helper.make_node("Unsqueeze", ["mask", "last"], ["m"]),
        helper.make_node("Mul", ["e", "m"], ["p"]),
        helper.make_node("Mul", ["p", "scale"], ["y"]),
    ]
    table = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    shapes = {"ids": ["n", 7], "mask": ["n", 7]}
    weights = {"table": table, "scale": np.float32(scale), "last": np.array([2])}
    return save(path, nodes, shapes, {"y": ["n", 7, 3]}, weights, {"ids": TensorProto.INT64})


def test_integer_ids_and_a_mask_of_their_own_dtypes_are_fed(tmp_path: Path) -> None:
    source, same, wrong = (embedding(tmp_path / f"{i}.onnx", scale) for i, scale in enumerate((1.0, 1.0, 1.2)))
    inputs = stored(tmp_path / "x.npz", ids=RANDOM.integers(0, 40, (12, 7)), mask=np.ones((12, 7), np.float32))
    assert outcome(source, same, inputs)[0] == "verified"
    assert outcome(source, wrong, inputs)[0] == "diverged"


def test_as_many_rows_as_there_are_objects_come_in_the_source_s_order(tmp_path: Path) -> None:
    source_path, target_path = objects(tmp_path / "s.onnx"), objects(tmp_path / "t.onnx", reverse=True)
    x = floats(5, 12)
    with WorkerPool() as workers:
        source, target = (LoadedModel(workers, "w", ModelFile(p, ONNX, "onnx")) for p in (source_path, target_path))
        expected = source.run({"x": x})
        target.worker()
        mapping = map_inputs(source.signature, {"x": (1, 12)}, target.signature)
        assert not isinstance(mapping, Mismatch)
        assert not np.array_equal(target.run({"x": x})[0], expected[0])
        outputs = target_outputs(source, target, mapping, {"x": x}, expected)
    assert row_counts(outputs[0]) == (x > 0).sum(axis=1).tolist()
    for output, right in zip(outputs, expected, strict=True):
        assert np.array_equal(output, right)
