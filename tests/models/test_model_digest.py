"""The file judged is the file named: its hash covers all its parts, and a change in between is told."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from safeconvert import api
from safeconvert.checking.verdict import Judgement
from safeconvert.formats import ONNX, TF, ModelFile
from safeconvert.models.model_digest import external_files, model_digest
from safeconvert.models.protobuf import messages
from safeconvert.runs import check as check_run
from tests.support.unbatched_nets import save


def dense(path: Path, scale: float = 1.0) -> Path:
    weights = (np.random.default_rng(0).normal(size=(12, 5)) * scale).astype(np.float32)
    return save(
        path, [helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": ["n", 12]}, {"y": ["n", 5]}, {"w": weights}
    )


def with_external_data(folder: Path) -> Path:
    folder.mkdir()
    model = onnx.load(dense(folder / "m.onnx"))
    inner = helper.make_graph(
        [helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.ones(64, np.float32), "inner"))],
        "inner", [], [helper.make_tensor_value_info("c", 1, [64])],
    )  # fmt: skip
    condition = numpy_helper.from_array(np.array(True), "condition")
    model.graph.initializer.append(condition)
    model.graph.node.append(helper.make_node("If", ["condition"], ["z"], then_branch=inner, else_branch=inner))
    onnx.external_data_helper.convert_model_to_external_data(
        model, all_tensors_to_one_file=False, size_threshold=0, convert_attribute=True
    )
    onnx.save(model, folder / "m.onnx")
    return folder / "m.onnx"


def test_a_single_file_has_the_hash_of_its_bytes(tmp_path: Path) -> None:
    path = dense(tmp_path / "m.onnx")
    assert external_files(path) == []
    assert model_digest(ModelFile(path, ONNX, "onnx")) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_external_data_is_part_of_an_onnx_model_also_in_subgraphs(tmp_path: Path) -> None:
    path = with_external_data(tmp_path / "model")
    names = external_files(path)
    assert set(names) == {file.name for file in path.parent.iterdir()} - {"m.onnx"}
    assert len(names) >= 3
    for name in names:
        before = model_digest(ModelFile(path, ONNX, "onnx"))
        data = bytearray((path.parent / name).read_bytes())
        data[0] ^= 1
        (path.parent / name).write_bytes(data)
        assert model_digest(ModelFile(path, ONNX, "onnx")) != before, name


def test_every_file_of_a_saved_model_is_part_of_it(tmp_path: Path) -> None:
    (tmp_path / "variables").mkdir()
    for name in ("saved_model.pb", "variables/variables.index"):
        (tmp_path / name).write_bytes(b"a")
    before = model_digest(ModelFile(tmp_path, TF, "savedmodel"))
    (tmp_path / "variables" / "variables.index").write_bytes(b"b")
    assert model_digest(ModelFile(tmp_path, TF, "savedmodel")) != before


@pytest.mark.parametrize("changed", ["source", "target", "none"])
def test_a_model_that_changes_while_it_is_compared_makes_the_verdict_undecided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    source, target = dense(tmp_path / "source.onnx"), dense(tmp_path / "target.onnx")
    loaded = hashlib.sha256(target.read_bytes()).hexdigest()
    compare = check_run.judge

    def judged_while_another_process_writes(*arguments: object) -> Judgement:
        judgement = compare(*arguments)  # type: ignore[arg-type]
        if changed != "none":
            dense(tmp_path / f"{changed}.onnx", scale=2.0)
        return judgement

    monkeypatch.setattr(check_run, "judge", judged_while_another_process_writes)
    result = api.check(source, target)
    if changed == "none":
        assert result.verdict.value == "verified"
    else:
        assert result.verdict.value == "undecided"
        assert f"{changed}.onnx was changed while it was in use" in result.reasons[0]
    assert result.report["target"]["sha256"] == loaded, "the report has the hash of what was compared"


def test_names_of_a_damaged_file_are_none(tmp_path: Path) -> None:
    damaged: Sequence[bytes] = (b"", b"\x3a\xff\xff\xff\x7f", b"\x0b")
    for number, data in enumerate(damaged):
        (tmp_path / f"{number}.onnx").write_bytes(data)
        assert external_files(tmp_path / f"{number}.onnx") == []


def test_fields_of_a_message_are_read_in_their_order() -> None:
    assert [bytes(part) for part in messages(memoryview(b"\x08\x96\x01\x12\x01a\x1a\x01b\x12\x01c"), 2)] == [b"a", b"c"]
