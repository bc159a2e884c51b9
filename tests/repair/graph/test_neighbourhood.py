"""What stands around a node of an ONNX graph, and what stands in the place of a node that was rewritten."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper
from safeconvert.repair.graph.neighbour import Neighbour
from safeconvert.repair.graph.neighbourhood import neighbourhoods, nodes_named_after
from safeconvert.repair.surroundings import side_by_side


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A chain of five nodes, with a branch around the third: a -> b -> c -> add -> e, b -> add."""
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], name="a"),
        helper.make_node("Neg", ["a"], ["b"], name="b"),
        helper.make_node("Abs", ["b"], ["c"], name="c"),
        helper.make_node("Add", ["b", "c"], ["d"], name="add"),
        helper.make_node("Exp", ["d"], ["y"], name="c/exp"),
    ]
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", tensors[:1], tensors[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), tmp_path / "m.onnx")
    return str(tmp_path / "m.onnx")


def test_neighbours_stand_in_the_networks_order_with_their_distance(path: str) -> None:
    near = neighbourhoods(path, ["c", "no such node"])
    assert near == {
        "c": [
            Neighbour(-2, "a", "Relu", 0),
            Neighbour(-1, "b", "Neg", 1),
            Neighbour(1, "add", "Add", 3),
            Neighbour(2, "c/exp", "Exp", 4),
        ]
    }
    assert [(each.position, each.node) for each in neighbourhoods(path, ["b"])["b"]] == [
        (-1, "a"), (1, "c"), (1, "add"), (2, "c/exp")
    ]  # fmt: skip


def test_a_rewritten_node_is_found_by_the_names_of_what_replaced_it(path: str) -> None:
    assert nodes_named_after(path, ["c", "a", "gone"]) == {"c": ["c", "c/exp"], "a": ["a"], "gone": []}


def test_both_sides_stand_beside_each_other_by_distance() -> None:
    source = [Neighbour(-1, "s1", "Conv", 0), Neighbour(1, "s2", "Relu", 1)]
    target = [Neighbour(-1, "t1", "Conv", 0), Neighbour(-1, "t2", "Pad", 1)]
    assert side_by_side(source, target) == [
        {"position": -1, "source": "Conv s1", "target": "Conv t1"},
        {"position": -1, "source": "", "target": "Pad t2"},
        {"position": 1, "source": "Relu s2", "target": ""},
    ]
