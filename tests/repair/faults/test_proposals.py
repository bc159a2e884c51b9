"""Each fault type's proposals on a net with one fault of it: one of them makes the nodes agree, by its own edits."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import onnx
import pytest
from safeconvert.repair.alignment.matching import Contents
from safeconvert.repair.alignment.tensor_pairs import candidate_layouts
from safeconvert.repair.alignment.walk import Divergence, Walk
from safeconvert.repair.faults import (
    batchnorm_folding,
    computation_graph,
    hyperparameters,
    missing_nodes,
    preprocessing,
    proposal,
    tensor_structure,
    weights,
)
from safeconvert.repair.faults.proposal import Proposal
from safeconvert.repair.graph.runner import GraphRunner

from tests.support.seeded_faults import SINGLE, broken
from tests.support.seeded_nets import inputs, net

Propose = Callable[[Walk, Divergence], Iterator[Proposal]]


def first_divergence(target: onnx.ModelProto) -> tuple[Walk, Divergence]:
    """Walk the Target along the Source as far as they agree, and give the first tensor that differs by its name."""
    source, x = net(), inputs(net(), 1)
    sides = [GraphRunner(model) for model in (target, source)]
    walk = Walk(*sides, Contents(sides[1].everything({"x": x})), {"x": x}, sides[1].outputs)
    walk.proceed(sides[0].nodes)
    tensors = sides[1].everything({"x": x})
    for node in sides[0].nodes:
        tensor = node.output[0]
        if tensor in tensors and tensor not in walk.aligned:
            (layout, *_) = candidate_layouts(walk, tensor, tensor, node)
            return walk, walk.diverging(tensor, tensor, layout)
    raise AssertionError("nothing differs")


@pytest.mark.parametrize(
    ("fault", "propose"),
    [
        ("conv weights noisy", weights.propose),
        ("head bias", weights.propose),
        ("alpha", hyperparameters.propose),
        ("padding counted", hyperparameters.propose),
        ("activation replaced", computation_graph.propose),
        ("pooling replaced", computation_graph.propose),
        ("activation added", missing_nodes.removals),
    ],
)
def test_a_proposal_of_the_faults_type_holds_at_its_node(fault: str, propose: Propose) -> None:
    code, place, _ = SINGLE[fault]
    walk, divergence = first_divergence(broken(fault))
    holding = [candidate for candidate in propose(walk, divergence) if proposal.holds(walk, divergence, candidate)]
    assert holding
    assert (holding[0].type, holding[0].target_node) == (code, place)
    assert holding[0].words


@pytest.mark.parametrize("propose", [preprocessing.propose, tensor_structure.propose])
def test_a_type_proposes_nothing_for_a_fault_of_another(propose: Propose) -> None:
    walk, divergence = first_divergence(broken("conv weights noisy"))
    assert not [candidate for candidate in propose(walk, divergence) if proposal.holds(walk, divergence, candidate)]


def test_a_proposal_without_its_edits_does_not_hold() -> None:
    walk, divergence = first_divergence(broken("alpha"))
    assert not proposal.holds(walk, divergence, Proposal("LH", "lr", "lr", ()))


def test_a_convolution_is_read_with_what_scales_and_shifts_its_channels() -> None:
    runner = GraphRunner(net())
    nodes = [node for node in runner.nodes if node.name in ("c1", "b1")]
    layer = batchnorm_folding.affine(runner, nodes)
    assert layer is not None
    constants = {name: runner.constants[f"b1_{name}"] for name in "sbmv"}
    scale = constants["s"] / np.sqrt(constants["v"] + 1e-5)
    np.testing.assert_allclose(layer.scale.reshape(-1), scale, rtol=1e-5)
    shift = constants["b"] - constants["m"] * scale + runner.constants["c1_b"] * scale
    np.testing.assert_allclose(layer.shift.reshape(-1), shift, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(layer.whole, runner.constants["c1_w"] * scale.reshape(-1, 1, 1, 1), rtol=1e-5)


def test_an_array_is_laid_out_nearest_first() -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    (first, *_) = proposal.fitted(array, array.T + np.float32(0.01))
    np.testing.assert_array_equal(first, array.T)
    assert proposal.fitted(array, np.zeros(5)) == []
    assert proposal.same(array, array * np.float32(1 + 1e-6))
    assert not proposal.same(array, array + np.float32(0.1))
    assert not proposal.same(array, array.T)
