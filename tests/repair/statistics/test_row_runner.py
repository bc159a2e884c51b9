"""A view is run on one input after the other, only as far as it is asked for, and filled up to its batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from safeconvert.repair.statistics.ranking_values import ViewInputs
from safeconvert.repair.statistics.row_runner import RowRunner

from tests.support.seeded_nets import inputs, net


@pytest.mark.parametrize("batch", [1, 3])
def test_each_row_is_what_the_whole_batch_gives(batch: int, tmp_path: Path) -> None:
    model = net()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = batch
    onnx.save(model, tmp_path / "view.onnx")
    x = inputs(model, 1, 4)
    path = str(tmp_path / "view.onnx")
    views = ViewInputs(path, path, {"x": x}, {"x": x[::-1]}, batch, batch)
    output = model.graph.output[0].name
    session = onnxruntime.InferenceSession(net().SerializeToString(), providers=["CPUExecutionProvider"])
    (expected,) = session.run([output], {"x": x})
    rows = list(RowRunner.of_source(views).each(["x", output, output]))
    assert [row[output].shape[0] for row in rows] == [1] * 4
    np.testing.assert_allclose(np.concatenate([row[output] for row in rows]), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(np.concatenate([row["x"] for row in rows]), x)
    first = next(iter(RowRunner.of_target(views).each([output])))
    np.testing.assert_allclose(first[output], expected[-1:], rtol=1e-4, atol=1e-5)


def test_only_what_the_tensors_need_is_run(tmp_path: Path) -> None:
    onnx.save(net(), tmp_path / "view.onnx")
    runner = RowRunner(str(tmp_path / "view.onnx"), {"x": inputs(net(), 1, 1)}, 1)
    early = runner.runner.nodes[0].output[0]
    assert len(runner._part([early]).graph.node) == 1
    assert len(runner._part([net().graph.output[0].name]).graph.node) > 10
