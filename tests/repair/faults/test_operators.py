"""When two chains of operators do the same in effect, and what the Target gets when they do not."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from safeconvert.repair.alignment.matching import Contents
from safeconvert.repair.alignment.tensor_pairs import candidate_layouts
from safeconvert.repair.alignment.walk import Walk
from safeconvert.repair.faults.idle_nodes import has_zero_bias, idle_divergences
from safeconvert.repair.faults.operators import effective_operators, has_like_operators, has_same_effect
from safeconvert.repair.faults.source_nodes import build
from safeconvert.repair.graph.runner import GraphRunner, run_nodes

X = np.random.default_rng(3).normal(size=(2, 4, 6, 5)).astype(np.float32)


def chain(*kinds: str, **constants: object) -> onnx.ModelProto:
    """One node after the other, each named as its operator and its place; ``constants`` are second inputs by name."""
    nodes, tensors, before = [], [], "x"
    for place, kind in enumerate(kinds):
        name = f"{kind.lower()}{place}"
        more = [key for key in constants if key.startswith(f"{name}_")]
        tensors += [numpy_helper.from_array(np.asarray(constants[key], np.float32), key) for key in more]
        nodes.append(helper.make_node(kind, [before, *more], [name], name))
        before = name
    value = helper.make_tensor_value_info
    x, y = value("x", TensorProto.FLOAT, ["n", 4, 6, 5]), value(before, TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "chain", [x], [y], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def walked(target: onnx.ModelProto, source: onnx.ModelProto) -> Walk:
    sides = [GraphRunner(model) for model in (target, source)]
    return Walk(*sides, Contents(sides[1].everything({"x": X})), {"x": X}, sides[1].outputs)


@pytest.mark.parametrize(
    ("kinds", "constants", "effect"),
    [
        (("Mul", "Relu", "Add"), {"mul0_by": 2.0, "add2_by": 1.0}, ["Relu"]),
        (("Relu", "Max", "Min"), {"max1_by": 0.0, "min2_by": 6.0}, ["Clip"]),
        (("Sigmoid", "Identity", "Tanh"), {}, ["Sigmoid", "Tanh"]),
        (("Transpose", "Cast"), {}, []),
    ],
)
def test_operators_that_only_scale_and_shift_by_constants_do_not_count(
    kinds: tuple[str, ...], constants: dict[str, float], effect: list[str]
) -> None:
    runner = GraphRunner(chain(*kinds, **constants))
    assert effective_operators(runner, runner.nodes) == effect


def test_a_scale_more_leaves_the_effect_and_another_activation_does_not() -> None:
    source = chain("Tanh")
    scaled = walked(chain("Mul", "Tanh", mul0_by=2.0), source)
    layout = candidate_layouts(scaled, "tanh1", "tanh0", scaled.target.nodes[-1])[0]
    divergence = scaled.diverging("tanh1", "tanh0", layout)
    assert has_same_effect(scaled, divergence)
    assert has_like_operators(scaled, divergence)
    other = walked(chain("Sigmoid"), source)
    assert not has_like_operators(other, other.diverging("sigmoid0", "tanh0", layout))


def test_a_slope_of_one_is_a_node_that_should_do_something() -> None:
    source, target = (chain("Tanh", "PRelu", "Sigmoid", prelu1_by=slope) for slope in (0.25, 1.0))
    walk = walked(target, source)
    divergences = list(idle_divergences(walk, walk.target.nodes[2]))
    assert (divergences[0].target, divergences[0].source) == ("prelu1", "prelu1")
    assert {each.target for each in divergences} == {"prelu1"}
    assert walk.aligned["prelu1"][0].name == "tanh0", "the walk itself is left as it was"
    assert list(idle_divergences(walk, walk.target.nodes[1])) == []


def test_only_a_bias_of_zeros_adds_nothing() -> None:
    model = chain("Conv", conv0_w=np.ones((3, 4, 1, 1)), conv0_z=np.zeros(3))
    walk = walked(model, model)
    assert has_zero_bias(walk, walk.target.nodes[0])
    biased = chain("Conv", conv0_w=np.ones((3, 4, 1, 1)), conv0_z=[0, 0, 1])
    assert not has_zero_bias(walked(biased, biased), GraphRunner(biased).nodes[0])


def test_nodes_of_the_source_read_the_target_in_the_sources_layout() -> None:
    """The Target holds the input channels last: the copied node must see it channels first, and give it back so."""
    source = chain("PRelu", prelu0_by=np.arange(4).reshape(4, 1, 1))
    last = X.transpose(0, 2, 3, 1)
    target = chain("Tanh")
    target.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 6, 5, 4]))
    sides = GraphRunner(target), GraphRunner(source)
    tensors = sides[1].everything({"x": X})
    walk = Walk(*sides, Contents(tensors), {"x": last}, ["prelu0"])
    layout = walk.aligned["x"][0].arrangement
    built = build(walk, walk.source.nodes, "prelu0", layout)
    assert built is not None
    added, constants, name = built
    assert [node.op_type for node in added] == ["Transpose", "PRelu", "Transpose"]
    (result,) = run_nodes(added, target, {"x": last}, constants, [name])
    np.testing.assert_array_equal(result, tensors["prelu0"].transpose(0, 2, 3, 1))


def test_nodes_whose_input_the_target_holds_nowhere_cannot_be_built() -> None:
    walk = walked(chain("Tanh"), chain("Sigmoid", "Softplus"))
    assert build(walk, walk.source.nodes[1:], "softplus1", walk.aligned["x"][0].arrangement) is None
