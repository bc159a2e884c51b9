"""The walk of a Target along its Source: each fault named at its node with its type, and nothing that is only
written otherwise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, version_converter
from safeconvert.repair.localization import explanation

from tests.support.seeded_faults import (
    ENOUGH,
    SINGLE,
    Change,
    agrees,
    broken,
    folded,
    noisy,
    scale_and_shift,
    swapped,
    zeroed,
)
from tests.support.seeded_nets import (
    CLASSES,
    Array,
    Builder,
    behind,
    blocks,
    constant,
    instead,
    look,
    net,
    node,
    put,
    settings,
    square,
    two,
    weights,
    without,
)


@pytest.mark.parametrize("name", SINGLE)
def test_one_fault_is_named_at_its_node_with_its_type_and_repaired(name: str, tmp_path: Path) -> None:
    kind, place, _ = SINGLE[name]
    looked = look(tmp_path, net(), broken(name))
    assert looked.brief == [(kind, place)], looked.faults
    assert agrees(looked), looked
    assert looked.model_runs < 40


@pytest.mark.parametrize(
    "names",
    [
        ("conv weights scaled", "alpha"),
        ("filters swapped", "norm mean"),
        ("epsilon", "padding counted", "head bias"),
        ("conv weights noisy", "slopes", "upper limit"),
        ("norm mean", "pads moved", "transposed conv bias"),
        # side by side, and of one layer
        ("norm scale", "epsilon"),
        ("filters upside down", "slopes"),
        ("stride of other phase", "channels reversed"),
        ("slopes", "activation added at the end of a branch"),
        ("norm variance", "activation missing inside"),
        ("norm mean and variance", "activation missing inside"),
        ("dilated", "activation missing"),
        ("norm missing", "pooling replaced"),
        ("input shifted", "epsilon"),
        ("turned before flattening", "one column"),
    ],
)
def test_several_faults_at_once_are_each_named(names: tuple[str, ...], tmp_path: Path) -> None:
    looked = look(tmp_path, net(), broken(*names))
    assert sorted(looked.brief) == sorted(SINGLE[name][:2] for name in names), looked.faults
    assert agrees(looked), looked
    assert looked.model_runs < 40


# -- a right Target that is written otherwise


def padded(model: onnx.ModelProto) -> None:
    """Pads as a node of their own."""
    settings(model, "c4", pads=[0, 0, 0, 0])
    pads = put(model, "pads", np.array([0, 0, 1, 1, 0, 0, 1, 1]))
    instead_of = node(model, "c4")
    pad = helper.make_node("Pad", [instead_of.input[0], pads], ["padded"], "padded")
    instead_of.input[0] = "padded"
    model.graph.node.insert([n.name for n in model.graph.node].index("c4"), pad)


def multiplied(model: onnx.ModelProto) -> None:
    scale, shift = (array.astype(np.float32).reshape(-1, 1, 1) for array in scale_and_shift(model, "b2"))
    norm = node(model, "b2")
    put(model, "scale", scale)
    put(model, "shift", shift)
    instead(
        model,
        "b2",
        helper.make_node("Mul", [norm.input[0], "scale"], ["b2_scaled"], "b2_mul"),
        helper.make_node("Add", ["b2_scaled", "shift"], list(norm.output), "b2"),
    )


def defaults_said(model: onnx.ModelProto) -> None:
    settings(model, "mp", pads=[0, 0, 0, 0], dilations=[1, 1], ceil_mode=0, storage_order=0)
    settings(model, "c5", group=None, strides=None, dilations=[1, 1], kernel_shape=[3, 3])
    settings(model, "b1", epsilon=1e-5, momentum=0.9)
    settings(model, "fl", axis=1)


def padded_by_itself(model: onnx.ModelProto) -> None:
    settings(model, "c5", auto_pad="SAME_UPPER", pads=None)
    settings(model, "mp", auto_pad="VALID")


def multiplied_matrices(model: onnx.ModelProto) -> None:
    gemm = node(model, "y")
    instead(
        model,
        "y",
        helper.make_node("MatMul", list(gemm.input)[:2], ["product"], "y"),
        helper.make_node("Add", ["product", "fc_b"], ["y"], "y_add"),
    )


def transposed_matrix(model: onnx.ModelProto) -> None:
    put(model, "fc_w", constant(model, "fc_w").T)
    settings(model, "y", transB=1)


def in_nodes(model: onnx.ModelProto) -> None:
    tensors = list(model.graph.initializer)
    del model.graph.initializer[:]
    for tensor in tensors:
        model.graph.node.insert(0, helper.make_node("Constant", [], [tensor.name], f"{tensor.name}_node", value=tensor))


def shuffled(model: onnx.ModelProto) -> None:
    tensors = list(reversed(model.graph.initializer))
    del model.graph.initializer[:]
    model.graph.initializer.extend(tensors)


def channels_last(model: onnx.ModelProto) -> None:
    """Each convolution between two Transposes, as tf2onnx writes what it cannot move."""
    for name in ("c1", "dw", "c4", "c6"):
        conv = node(model, name)
        before, after = conv.input[0], conv.output[0]
        turned = helper.make_node("Transpose", [before], [f"{name}_last"], f"{name}_to_last", perm=[0, 2, 3, 1])
        back = helper.make_node("Transpose", [f"{name}_last"], [f"{name}_first"], f"{name}_to_first", perm=[0, 3, 1, 2])
        copy = onnx.NodeProto()
        copy.CopyFrom(conv)
        copy.input[0] = f"{name}_first"
        assert after == name
        instead(model, name, turned, back, copy)


WRITTEN: dict[str, Change] = {
    "pads as a node": padded,
    "norms folded": folded,
    "norm multiplied": multiplied,
    "defaults said": defaults_said,
    "auto_pad": padded_by_itself,
    "weights in nodes": in_nodes,
    "constants shuffled": shuffled,
    "channels last": channels_last,
    "MatMul and Add": multiplied_matrices,
    "matrix transposed": transposed_matrix,
}


@pytest.mark.parametrize("way", WRITTEN)
def test_a_right_target_written_otherwise_has_no_fault(way: str, tmp_path: Path) -> None:
    target = net()
    WRITTEN[way](target)
    looked = look(tmp_path, net(), target)
    assert looked.faults == []
    assert not looked.why
    assert looked.before < ENOUGH


@pytest.mark.parametrize("opset", [14, 17, 18])
def test_another_opset_is_no_fault(opset: int, tmp_path: Path) -> None:
    looked = look(tmp_path, net(), version_converter.convert_version(net(), opset))
    assert looked.faults == []
    assert looked.before < ENOUGH


@pytest.mark.parametrize("fault", ["slopes", "transposed conv weights", "alpha", "padding counted", "upper limit"])
@pytest.mark.parametrize("way", WRITTEN)
def test_a_fault_in_a_target_written_otherwise_is_the_only_one(way: str, fault: str, tmp_path: Path) -> None:
    target = broken(fault)
    WRITTEN[way](target)
    looked = look(tmp_path, net(), target)
    assert looked.brief == [SINGLE[fault][:2]], looked.faults
    assert agrees(looked), looked


def test_wrong_pads_in_a_node_of_their_own_are_one_setting(tmp_path: Path) -> None:
    target = net()
    padded(target)
    put(target, "pads", np.array([0, 0, 2, 2, 0, 0, 0, 0]))
    looked = look(tmp_path, net(), target)
    assert [kind for kind, _ in looked.brief] == ["LH"], looked.faults
    assert agrees(looked)


@pytest.mark.parametrize(("name", "place"), [("scale", "b2_mul"), ("shift", "b2"), ("dw_w", "dw")])
@pytest.mark.parametrize("change", [noisy, zeroed, swapped])
def test_the_wrong_array_of_a_norm_that_the_source_has_folded_is_named(
    name: str, place: str, change: Callable[[Array], Array], tmp_path: Path
) -> None:
    source, target = net(), net()
    folded(source)
    multiplied(target)
    weights(target, name, change)
    looked = look(tmp_path, source, target)
    assert looked.brief == [("WB", place)], looked.faults
    assert agrees(looked)


# -- models as a whole


def test_a_target_with_other_weights_is_another_model_and_the_search_ends(tmp_path: Path) -> None:
    looked = look(tmp_path, net(), net(seed=5))
    assert "nothing to do with" in looked.why
    assert looked.unrelated_weights > 0.5
    # Four faults are looked for to the end, and then the search stops.
    assert looked.nodes_run < 4 * explanation.MIN_NODES_RUN + 12 * len(net().graph.node)


def unbiased(bias: float) -> onnx.ModelProto:
    """A product, a bias where there is one, an activation, a product: exporters leave out a bias of zeros."""
    b = Builder(4)
    x = b.node("MatMul", [b.node("Flatten", ["x"], "fl"), b.weight("w", 90, 24)], "m")
    x = b.node("Add", [x, b.keep("bias", np.full(24, bias, np.float32))], "add") if bias else x
    b.node("MatMul", [b.node("Relu", [x], "r"), b.weight("head", 24, CLASSES)], "y")
    return b.model({"y": [CLASSES]}, (3, 6, 5))


def test_a_bias_where_the_source_has_none_is_a_bias_and_no_other_graph(tmp_path: Path) -> None:
    looked = look(tmp_path, unbiased(0), unbiased(0.3))
    assert looked.brief == [("WB", "add")]
    assert agrees(looked)


def test_the_faulty_one_of_blocks_with_the_same_weights_is_named(tmp_path: Path) -> None:
    target = blocks()
    node(target, "conv2").input[1] = put(target, "w_other", noisy(constant(target, "w")))
    looked = look(tmp_path, blocks(), target)
    assert looked.brief == [("WB", "conv2")]
    assert agrees(looked)


@pytest.mark.parametrize("perm", [[0, 1, 3, 2], [0, 2, 3, 1], [0, 3, 2, 1]])
@pytest.mark.parametrize("place", ["r1", "r2", "th"])
def test_turned_axes_of_equal_size_are_named(place: str, perm: list[int], tmp_path: Path) -> None:
    target = square()
    behind(target, place, "Transpose", perm=perm)
    looked = look(tmp_path, square(), target)
    assert looked.brief == [("TSS", "extra")]
    assert agrees(looked)


def told_apart() -> onnx.ModelProto:
    """Scale, shift, slope and limits, each in a node of its own."""
    b = Builder(8)
    x = b.node(
        "Mul", [b.conv("x", "c1", 3, 8), b.keep("scale", np.linspace(0.5, 2, 8, dtype="f").reshape(8, 1, 1))], "mul"
    )
    x = b.node("Add", [x, b.weight("shift", 8, 1, 1)], "add")
    x = b.node("PRelu", [x, b.keep("slope", np.full((8, 1, 1), 0.2, np.float32))], "prelu")
    limits = [b.keep("low", np.array(-0.2, np.float32)), b.keep("high", np.array(1, np.float32))]
    x = b.node("Clip", [b.conv(x, "c2", 8, 8), *limits], "clip")
    x = b.node("LeakyRelu", [b.conv(x, "c3", 8, 8)], "leaky", alpha=0.2)
    x = b.node("Flatten", [b.node("GlobalAveragePool", [x], "gap")], "fl")
    b.node("Gemm", [x, b.weight("fc_w", 8, CLASSES), b.weight("fc_b", CLASSES)], "y")
    return b.model({"y": [CLASSES]})


def test_a_bias_of_zero_where_the_source_adds_in_a_node_of_its_own_is_a_bias(tmp_path: Path) -> None:
    source, target = told_apart(), net_with_bias()
    node(source, "c1").input.pop()  # what the Target gives is then what the Source adds to
    assert look(tmp_path, source, target).brief == []
    weights(target, "shift", np.zeros_like)
    looked = look(tmp_path, source, target)
    assert looked.brief == [("WB", "c1")]
    assert agrees(looked)


def net_with_bias() -> onnx.ModelProto:
    """``told_apart`` with scale and shift in the convolution, which had no bias of its own."""
    model = told_apart()
    scale, shift = constant(model, "scale"), constant(model, "shift")
    weights(model, "c1_w", lambda w: w * scale[..., None])
    put(model, "shift", shift.reshape(-1))
    without(model, "mul")
    without(model, "add")
    node(model, "c1").input[2] = "shift"
    return model


def unlimited(model: onnx.ModelProto) -> None:
    put(model, "low", np.array(-1e9, np.float32))
    put(model, "high", np.array(1e9, np.float32))


@pytest.mark.parametrize(
    ("name", "kind", "change"),
    [
        ("mul", "WB", lambda m: weights(m, "scale", np.ones_like)),
        ("add", "WB", lambda m: weights(m, "shift", np.zeros_like)),
        ("prelu", "WB", lambda m: weights(m, "slope", np.ones_like)),
        ("clip", "LH", unlimited),
        ("leaky", "LH", lambda m: settings(m, "leaky", alpha=1.0)),
    ],
)  # fmt: skip
def test_a_node_that_does_nothing_is_wrong_and_not_missing(
    name: str, kind: str, change: Change, tmp_path: Path
) -> None:
    target = told_apart()
    change(target)
    looked = look(tmp_path, told_apart(), target)
    assert looked.brief == [(kind, name)]
    assert agrees(looked)


def segmenting(sizes: tuple[int, int, int] = (8, 8, 8)) -> onnx.ModelProto:
    """Its output is an image: nothing follows that a wrong order could change."""
    b = Builder(5)
    x = b.node("Relu", [b.conv("x", "c1", 8, 8)], "r1")
    b.conv(x, "y", 8, 8)
    return b.model({"y": sizes}, sizes)


@pytest.mark.parametrize("perm", [[0, 1, 3, 2], [0, 2, 3, 1], [0, 3, 1, 2], [0, 3, 2, 1]])
def test_an_output_with_turned_axes_of_equal_size_is_named(perm: list[int], tmp_path: Path) -> None:
    target = segmenting()
    behind(target, "y", "Transpose", perm=perm)
    looked = look(tmp_path, segmenting(), target)
    assert looked.brief == [("TSS", "extra")]
    assert looked.after < ENOUGH


@pytest.mark.parametrize("place", ["r1", "fl"])
def test_an_output_that_is_flattened_in_another_order_is_named(place: str, tmp_path: Path) -> None:
    def flat() -> onnx.ModelProto:
        b = Builder(6)
        x = b.node("Relu", [b.conv("x", "c1", 3, 8)], "r1")
        b.node("Identity", [b.node("Flatten", [x], "fl")], "y")
        return b.model({"y": [8 * 8 * 8]}, (3, 8, 8))

    target = flat()
    if place == "r1":
        behind(target, "r1", "Transpose", perm=[0, 2, 3, 1])
    else:
        behind(target, "fl", "Reshape", put(target, "sizes", np.array([-1, 8, 64])))
        target.graph.output[0].type.tensor_type.ClearField("shape")
    looked = look(tmp_path, flat(), target)
    assert looked.brief == [("TSS", "extra")]
    assert looked.after < ENOUGH


def extra_output(model: onnx.ModelProto) -> None:
    model.graph.output.append(helper.make_tensor_value_info("r1", onnx.TensorProto.FLOAT, None))


def swapped_outputs(model: onnx.ModelProto) -> None:
    values = list(reversed(model.graph.output))
    del model.graph.output[:]
    model.graph.output.extend(values)


@pytest.mark.parametrize("change", [extra_output, swapped_outputs])
def test_outputs_too_many_or_in_another_order_are_one_fault(change: Change, tmp_path: Path) -> None:
    target = two()
    change(target)
    looked = look(tmp_path, two(), target)
    assert [kind for kind, _ in looked.brief] == ["CG"]
    assert looked.after < ENOUGH


def test_the_temperature_of_a_softmax_is_a_setting(tmp_path: Path) -> None:
    source, target = net(), net()
    behind(source, "y", "Softmax", axis=1)
    behind(target, "y", "Softmax", axis=1)
    softmax = node(target, "extra")
    scaled = helper.make_node("Mul", [softmax.input[0], put(target, "beta", np.float32(1.5).reshape(()))], ["b"], "b")
    softmax.input[0] = "b"
    target.graph.node.insert(len(target.graph.node) - 1, scaled)
    looked = look(tmp_path, source, target)
    assert looked.brief == [("LH", "b")]
    assert agrees(looked)


def test_a_missing_softmax_at_the_end_is_put_there(tmp_path: Path) -> None:
    source = net()
    behind(source, "y", "Softmax", axis=1)
    looked = look(tmp_path, source, net())
    assert [kind for kind, _ in looked.brief] == ["CG"]
    assert looked.faults[0].missing_operators == ("Softmax",)
    assert agrees(looked)


def reduced(axes: list[int], opset: int) -> onnx.ModelProto:
    """A maximum over these axes, which are an attribute before opset 18 and an input from then on."""
    b = Builder(3)
    b.node("Relu", [b.conv("x", "c", 3, 8)], "r")
    if opset < 18:
        b.node("ReduceMax", ["r"], "rm", axes=axes, keepdims=1)
    else:
        b.node("ReduceMax", ["r", b.keep("axes", np.array(axes, np.int64))], "rm", keepdims=1)
    b.node("Flatten", [b.node("GlobalAveragePool", ["rm"], "gp")], "fl")
    b.node("MatMul", ["fl", b.weight("w", 8, CLASSES)], "y")
    return b.model({"y": [CLASSES]}, (3, 6, 5), opset)


@pytest.mark.parametrize(("source", "target"), [(13, 18), (18, 13), (18, 18)])
def test_a_setting_that_another_opset_holds_elsewhere_is_repaired(source: int, target: int, tmp_path: Path) -> None:
    looked = look(tmp_path, reduced([2, 3], source), reduced([3], target))
    assert looked.brief == [("LH", "rm")]
    assert agrees(looked)
    assert look(tmp_path, reduced([2, 3], source), reduced([2, 3], target)).brief == []
