"""ID in the walk: constants that follow from the sizes which a Target's input declares, where it is run on others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from safeconvert.repair.alignment.matching import Contents
from safeconvert.repair.alignment.walk import Walk
from safeconvert.repair.faults import input_dimensions
from safeconvert.repair.graph.runner import GraphRunner

from ...support.seeded_nets import CLASSES, Builder, look, node, put, settings


def pooled(side: int) -> onnx.ModelProto:
    """A net that averages each channel over an image of ``side`` by a window of the whole of it."""
    b = Builder(4)
    x = b.node("Relu", [b.conv("x", "c1", 3, 6, stride=2)], "r1")
    x = b.node("Relu", [b.conv(x, "c2", 6, 9)], "r2")
    x = b.node("AveragePool", [x], "pool", kernel_shape=[side // 2, side // 2], strides=[1, 1])
    x = b.node("Reshape", [x, b.keep("sizes", np.array([-1, 9]))], "fl")
    b.node("Gemm", [x, b.weight("fc_w", 9, CLASSES), b.weight("fc_b", CLASSES)], "y")
    return b.model({"y": [CLASSES]}, (3, side, side))


def made_for(side: int, wrong: int) -> onnx.ModelProto:
    model = pooled(side)
    settings(model, "pool", kernel_shape=[wrong // 2, wrong // 2])
    for axis in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = wrong
    return model


@pytest.mark.parametrize("wrong", [12, 8])
def test_a_window_for_the_declared_image_is_a_fault_of_the_input_dimensions(wrong: int, tmp_path: Path) -> None:
    looked = look(tmp_path, pooled(20), made_for(20, wrong))
    assert looked.brief == [("ID", "pool")]
    assert looked.faults[0].evidence["target_shape"][2:] == [wrong, wrong]
    assert looked.faults[0].evidence["source_shape"][2:] == [20, 20]
    assert looked.after < 1e-5
    repaired = onnx.load(tmp_path / "repaired.onnx").graph.input[0].type.tensor_type.shape
    assert [dimension.dim_value for dimension in repaired.dim][1:] == [3, 20, 20]


def test_the_same_window_with_the_right_declaration_is_a_setting(tmp_path: Path) -> None:
    target = pooled(20)
    settings(target, "pool", kernel_shape=[6, 6])
    assert looked_type(tmp_path, target) != "ID"


def test_sizes_of_a_reshape_follow_too(tmp_path: Path) -> None:
    def rows(side: int) -> onnx.ModelProto:
        b = Builder(7)
        x = b.node("Relu", [b.conv("x", "c1", 3, 5)], "r1")
        x = b.node("Reshape", [x, b.keep("sizes", np.array([-1, 5, side * side]))], "rows")
        x = b.node("ReduceMean", [x], "mean", axes=[2], keepdims=0)
        b.node("Gemm", [x, b.weight("fc_w", 5, CLASSES), b.weight("fc_b", CLASSES)], "y")
        return b.model({"y": [CLASSES]}, (3, side, side))

    target = rows(6)
    put(target, "sizes", np.array([-1, 5, 36]))
    looked = look(tmp_path, rows(12), target)
    assert looked.brief == [("ID", "rows")]
    assert node(target, "rows").op_type == "Reshape"
    assert looked.after < 1e-5


def test_where_the_declaration_is_right_nothing_is_proposed() -> None:
    source, target = pooled(20), pooled(20)
    settings(target, "pool", kernel_shape=[6, 6])
    x = np.random.default_rng(1).normal(size=(2, 3, 20, 20)).astype(np.float32)
    runner = GraphRunner(source)
    walk = Walk(GraphRunner(target), runner, Contents(runner.everything({"x": x})), {"x": x}, ["y"])
    assert [node.name for node in walk.frontier()] == ["pool"]
    assert list(input_dimensions.localise(walk, walk.frontier()[0])) == []


def looked_type(folder: Path, target: onnx.ModelProto) -> str:
    return look(folder, pooled(20), target).brief[0][0]
