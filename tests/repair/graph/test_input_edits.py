"""A Target's view with other inputs: other axes, a batch, and a deployment's preprocessing undone at the input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from safeconvert.repair.graph import input_shapes, preprocessing_nodes
from safeconvert.repair.graph.input_change import InputChange

from tests.support.seeded_nets import inputs, net, run


def test_permuted_axes_are_declared_and_permuted_back_for_the_model(tmp_path: Path) -> None:
    onnx.save(net(), tmp_path / "model.onnx")
    change = InputChange((None, 20, 14, 3), axes=(0, 3, 1, 2))
    is_undone = input_shapes.write(str(tmp_path / "model.onnx"), str(tmp_path / "nhwc.onnx"), {"x": change})
    x = inputs(net(), 1)
    (expected,), (output,) = run(net(), x), run(onnx.load(tmp_path / "nhwc.onnx"), x.transpose(0, 2, 3, 1))
    np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-6)
    assert not is_undone  # the model itself does nothing to the axes


def test_a_model_without_a_batch_gets_one(tmp_path: Path) -> None:
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [3, 4]) for name in ("x", "y")]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"], "relu")], "g", values[:1], values[1:])
    opset = [onnx.helper.make_opsetid("", 13)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "model.onnx")
    change = InputChange((1, 3, 4), is_squeezed=True)
    input_shapes.write(str(tmp_path / "model.onnx"), str(tmp_path / "batched.onnx"), {"x": change})
    x = np.random.default_rng(0).normal(size=(1, 3, 4)).astype(np.float32)
    (output,) = run(onnx.load(tmp_path / "batched.onnx"), x)
    np.testing.assert_array_equal(output, np.maximum(x, 0))


def test_sizes_that_the_model_cannot_work_on_are_refused(tmp_path: Path) -> None:
    onnx.save(net(), tmp_path / "model.onnx")
    change = InputChange((None, 3, 40, 28))  # the last layer's weights fit the old sizes only
    with pytest.raises(ValueError, match="does not take the other size"):
        input_shapes.write(str(tmp_path / "model.onnx"), str(tmp_path / "larger.onnx"), {"x": change})


@pytest.mark.parametrize("reverse_channels", [False, True])
def test_preprocessing_is_computed_at_the_input(reverse_channels: bool, tmp_path: Path) -> None:
    onnx.save(net(), tmp_path / "model.onnx")
    factor, offset = [2.0, 0.5, 1.5], [0.1, -0.2, 0.3]
    preprocessing_nodes.write(
        str(tmp_path / "model.onnx"),
        str(tmp_path / "prepared.onnx"),
        input_name="x",
        channel_axis=1,
        reverse_channels=reverse_channels,
        factor=factor,
        offset=offset,
    )
    x = inputs(net(), 1)
    prepared = x[:, ::-1] if reverse_channels else x
    prepared = prepared * np.reshape(factor, (1, 3, 1, 1)) + np.reshape(offset, (1, 3, 1, 1))
    (expected,), (output,) = run(net(), prepared.astype(np.float32)), run(onnx.load(tmp_path / "prepared.onnx"), x)
    np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-5)
