"""Two faults of a residual net where one hides or turns the other: each is told once, at its own node."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from safeconvert.repair.graph.edits import Rewire, applied

from tests.support.seeded_faults import agrees, noisy, other_operator
from tests.support.seeded_nets import CLASSES, Builder, behind, first, look, node, put, run, settings, weights, without

Change = Callable[[onnx.ModelProto], None]


def residual() -> onnx.ModelProto:
    """Three residual blocks of point, depthwise and point convolutions; height, width and channels all of one size."""
    b = Builder()
    x = b.node("Relu", [b.norm(b.conv("x", "stem", 3, 8), "stem_norm", 8)], "stem_relu")
    for i in range(3):
        y = b.node("Relu", [b.norm(b.conv(x, f"wide{i}", 8, 16, size=1, pad=0), f"wide_norm{i}", 16)], f"wide_relu{i}")
        y = b.node("Relu", [b.norm(b.conv(y, f"deep{i}", 16, 16, group=16), f"deep_norm{i}", 16)], f"deep_relu{i}")
        x = b.node("Add", [x, b.norm(b.conv(y, f"thin{i}", 16, 8, size=1, pad=0), f"thin_norm{i}", 8)], f"add{i}")
    x = b.node("Flatten", [b.node("GlobalAveragePool", [x], "gap")], "fl")
    b.node("Gemm", [x, b.weight("fc_w", 8, CLASSES), b.weight("fc_b", CLASSES)], "y")
    return b.model({"y": [CLASSES]}, (3, 8, 8))


def turned(place: str) -> Change:
    return lambda model: behind(model, place, "Transpose", perm=[0, 1, 3, 2])


def reread(model: onnx.ModelProto) -> None:
    """Channels last, read as if they were first."""
    behind(model, "deep_relu1", "Reshape", put(model, "sizes", np.array([-1, 16, 8, 8])))
    reader = node(model, "extra")
    place = [other.name for other in model.graph.node].index("extra")
    turn = helper.make_node("Transpose", [reader.input[0]], ["turn"], "turn", perm=[0, 2, 3, 1])
    reader.input[0] = "turn"
    model.graph.node.insert(place, turn)


FAULTS: dict[str, tuple[str, str, Change]] = {
    "input turned": ("TSS", "extra", lambda m: first(m, "Transpose", perm=[0, 1, 3, 2])),
    "trunk turned": ("TSS", "extra", turned("add0")),
    "branch turned": ("TSS", "extra", turned("deep_relu1")),
    "norm turned": ("TSS", "extra", turned("deep1")),
    "branch reread": ("TSS", "turn", reread),
    "stem": ("WB", "stem", lambda m: weights(m, "stem_w", noisy)),
    "deep": ("WB", "deep1", lambda m: weights(m, "deep1_w", noisy)),
    "thin": ("WB", "thin1", lambda m: weights(m, "thin1_w", noisy)),
    "wide epsilon": ("LH", "wide_norm1", lambda m: settings(m, "wide_norm1", epsilon=0.3)),
    "deep epsilon": ("LH", "deep_norm1", lambda m: settings(m, "deep_norm1", epsilon=0.3)),
    "thin epsilon": ("LH", "thin_norm1", lambda m: settings(m, "thin_norm1", epsilon=0.3)),
    "dilated": ("LH", "deep1", lambda m: settings(m, "deep1", dilations=[2, 2], pads=[2, 2, 2, 2])),
    "wide activation": ("CG", "wide_relu1", other_operator("wide_relu1", "Tanh")),
    "deep activation": ("CG", "deep_relu1", other_operator("deep_relu1", "Tanh")),
}


@pytest.mark.parametrize(
    "names",
    [
        ("trunk turned",),
        ("trunk turned", "wide epsilon"),
        ("trunk turned", "thin"),
        ("trunk turned", "deep activation"),
        ("branch turned", "thin"),
        ("branch turned", "thin epsilon"),
        ("norm turned", "deep epsilon"),
        ("norm turned", "thin"),
        ("input turned", "stem"),
        ("branch reread", "thin"),
        ("wide activation", "deep"),
        ("wide activation", "dilated"),
        ("deep activation", "thin"),
    ],
)
def test_a_fault_beside_or_behind_another_is_told_at_its_own_node(names: tuple[str, ...], tmp_path: Path) -> None:
    target = residual()
    for name in names:
        FAULTS[name][2](target)
    looked = look(tmp_path, residual(), target)
    assert sorted(looked.brief) == sorted(FAULTS[name][:2] for name in names), looked.faults
    assert agrees(looked), looked


def test_a_fault_that_several_nodes_read_is_told_once(tmp_path: Path) -> None:
    """The extra node's readers part at different places, and behind one of them stands another fault."""
    target = residual()
    behind(target, "add0", "Tanh")
    FAULTS["wide epsilon"][2](target)
    looked = look(tmp_path, residual(), target)
    assert looked.brief == [("CG", "extra"), ("LH", "wide_norm1")], looked.faults
    assert agrees(looked), looked


def test_rewirings_that_meet_in_one_tensor_all_hold() -> None:
    b = Builder()
    b.node("Identity", [b.node("Neg", [b.node("Relu", ["x"], "a")], "b")], "y")
    b.node("Identity", ["b"], "z")
    model = b.model({"y": (3, 8, 8), "z": (3, 8, 8)}, (3, 8, 8))

    def put_in(kind: str, name: str, *readers: str) -> Rewire:
        return Rewire("", "b", name, readers, [helper.make_node(kind, ["b"], [name], f"{kind}_node")])

    edited = applied(model, [Rewire("", "b", "a", ("y", "z")), put_in("Exp", "e", "y"), put_in("Sqrt", "s", "z")])
    x = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
    y, z = run(edited, x)
    np.testing.assert_allclose(y, np.exp(np.maximum(x, 0)), rtol=1e-5)
    np.testing.assert_allclose(z, np.sqrt(np.maximum(x, 0)), rtol=1e-5)


def test_a_whole_branch_that_is_missing_is_one_fault(tmp_path: Path) -> None:
    target = residual()
    without(target, "add1")
    looked = look(tmp_path, residual(), target)
    assert [kind for kind, _ in looked.brief] == ["CG"], looked.faults
    assert agrees(looked), looked


def gated(alpha: float = 0.7, multiplied: bool = True) -> onnx.ModelProto:
    """Two halves of the channels, each with a convolution and an activation of its own, multiplied; few nodes."""
    b = Builder()
    x = b.node("Relu", [b.norm(b.conv("x", "stem", 3, 8, stride=2), "norm", 8)], "relu")
    b.nodes.append(helper.make_node("Split", [x], ["first", "second"], "split", axis=1))
    left = b.node("HardSigmoid", [b.conv("first", "left", 4, 6)], "gate", alpha=0.3)
    right = b.node("Elu", [b.conv("second", "right", 4, 6)], "elu", alpha=alpha)
    x = b.node("Mul" if multiplied else "Add", [left, right], "joined")
    x = b.node("Flatten", [b.node("MaxPool", [x], "pool", kernel_shape=[2, 2], strides=[2, 2])], "fl")
    b.node("Gemm", [x, b.weight("fc_w", 54, CLASSES), b.weight("fc_b", CLASSES)], "y")
    b.node("Transpose", [b.conv("joined", "map", 6, 5)], "z", perm=[0, 2, 3, 1])
    return b.model({"y": [CLASSES], "z": [6, 6, 5]}, (3, 12, 12))


@pytest.mark.parametrize("wrong", [{"alpha": 1.2}, {"multiplied": False}])
def test_a_small_net_has_as_many_trials_as_its_pairs_of_tensors_need(wrong: dict[str, Any], tmp_path: Path) -> None:
    target = gated(**wrong)
    behind(target, "left", "Relu")
    looked = look(tmp_path, gated(), target)
    assert looked.brief[0] == ("CG", "extra"), looked.faults
    assert agrees(looked), looked
