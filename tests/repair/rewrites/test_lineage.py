"""Rewrites end: none fires on what it or its inverse wrote, so that no graph grows without bound."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from safeconvert.repair import rewrites
from safeconvert.repair.rewrites.application import load, run, settle
from safeconvert.repair.rewrites.site import LINEAGE

from tests.support.rewrite_cases import Array, difference, noise

NETWORK_NODES = 14
MOST_NODES = 8 * NETWORK_NODES  # the largest seen is below six times the network
MOST_APPLIED = 10 * NETWORK_NODES


def network() -> onnx.ModelProto:
    """A model with the operators that several rewrites share: products, norms, convolutions, pools, pads, shapes."""
    shapes = {
        "scale": (1, 4, 1, 1), "shift": (4, 1, 1), "gamma": (4,), "beta": (4,), "mean": (4,), "w": (6, 4, 3, 3),
        "b": (6,), "u": (6, 3, 3, 3), "m": (5, 3), "c": (5,),
    }  # fmt: skip
    weights: dict[str, Array] = {name: noise(*shape, seed=seed) for seed, (name, shape) in enumerate(shapes.items())}
    weights["variance"] = np.abs(noise(4, seed=20)) + np.float32(0.5)
    weights["pads"], weights["pad"] = np.array([0, 0, 1, 1, 0, 0, 0, 1], np.int64), np.array(0.25, np.float32)
    node = helper.make_node
    nodes = [
        node("Mul", ["x", "scale"], ["a"]),
        node("Add", ["a", "shift"], ["a1"]),
        node("BatchNormalization", ["a1", "gamma", "beta", "mean", "variance"], ["a2"]),
        node("Pad", ["a2", "pads", "pad"], ["a3"], mode="constant"),
        node("Conv", ["a3", "w", "b"], ["a4"], pads=[1, 1, 1, 1], strides=[2, 2]),
        node("Relu", ["a4"], ["a5"]),
        node("MaxPool", ["a5"], ["a6"], kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1]),
        node("AveragePool", ["a6"], ["a7"], kernel_shape=[2, 2], strides=[1, 1]),
        node("ConvTranspose", ["a7", "u"], ["a8"], strides=[2, 2]),
        node("ReduceMean", ["a8"], ["a9"], axes=[2, 3], keepdims=1),
        node("Flatten", ["a9"], ["a10"]),
        node("Gemm", ["a10", "m", "c"], ["a11"], transB=1, alpha=0.5),
        node("Softmax", ["a11"], ["a12"], axis=1),
        node("Clip", ["a12"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4, 9, 9])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def test_every_first_and_second_form_at_once_leaves_a_graph_of_bounded_size() -> None:
    model = network()
    result, applied = rewrites.rewrite(model, names=(*rewrites.PLAIN, *rewrites.ALTERNATIVES))
    assert len(applied) > NETWORK_NODES  # it did something
    assert len(applied) <= MOST_APPLIED
    assert len(result.graph.node) <= MOST_NODES
    assert difference(model, result, (4, 9, 9)) < 1e-5


def written_by(name: str) -> set[str]:
    """The operators that a rewrite of this name writes into the network."""
    before = {node.name for node in rewrites.named(network()).graph.node}
    result, _ = rewrites.rewrite(network(), names=(name,))
    return {node.op_type for node in result.graph.node if node.name not in before}


def cyclic_pairs() -> list[tuple[str, str]]:
    """Pairs of rewrites of which each may take what the other wrote."""
    takes = {rule.name: rule.operators for rule in rewrites.REWRITES}
    writes = {name: written for name in takes if (written := written_by(name))}
    return [
        (a, b)
        for a, b in itertools.combinations_with_replacement(sorted(writes), 2)
        if takes[a] & writes[b] and takes[b] & writes[a]
    ]


PAIRS = cyclic_pairs()


def test_there_are_rewrites_that_could_undo_each_other() -> None:
    assert ("batchnorm", "channel-constant-as-batchnorm") in PAIRS
    assert len(PAIRS) > 10


@pytest.mark.parametrize("pair", PAIRS, ids=" ".join)
def test_two_rewrites_that_take_what_the_other_writes_come_to_an_end(pair: tuple[str, str]) -> None:
    result, applied = rewrites.rewrite(network(), names=set(pair))
    assert len(applied) <= 4 * NETWORK_NODES
    assert len(result.graph.node) <= 4 * NETWORK_NODES


def test_no_node_was_written_twice_by_one_rewrite_nor_by_a_rewrite_and_its_inverse() -> None:
    rules = list(rewrites.REWRITES)
    graph = load(network())
    settle(graph)
    run(graph, rules, None)
    undone = {rule.name: rule.undoes for rule in rules}
    lineages = [node.metadata_props.get(LINEAGE, "").split(",") for node in graph.graph]
    assert max(map(len, lineages)) > 1
    for lineage in lineages:
        assert len(set(lineage)) == len(lineage)
        for earlier, later in itertools.combinations(lineage, 2):
            assert earlier not in undone.get(later, ())


def test_what_is_written_out_does_not_remember_the_rewrites() -> None:
    result, _ = rewrites.rewrite(network(), names=rewrites.PLAIN)
    assert not [p.key for node in result.graph.node for p in node.metadata_props if p.key == LINEAGE]
