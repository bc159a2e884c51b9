"""Where a Target first diverges from its Source, told by the activations of both models alone."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from safeconvert.repair.localization.first_divergence import Trace, first_divergences, match_by_content, trace

from tests.support.seeded_faults import broken
from tests.support.seeded_nets import inputs, net, settings


def traced(folder: Path, name: str, model: onnx.ModelProto) -> Trace:
    onnx.save(model, folder / f"{name}.onnx")
    store = str(folder / f"{name}.npz")
    return store, trace(str(folder / f"{name}.onnx"), {"x": inputs(net(), 1)}, store)


def test_equal_models_match_in_every_tensor_and_diverge_nowhere(tmp_path: Path) -> None:
    source, target = traced(tmp_path, "source", net()), traced(tmp_path, "target", net())
    assert first_divergences(source, target) == ()
    names = [record.tensor for record in source[1]]
    assert match_by_content(source, target) == {name: name for name in names}


@pytest.mark.parametrize(("fault", "node"), [("alpha", "lr"), ("conv weights noisy", "c4")])
def test_the_first_operator_that_gives_other_values_is_named_and_none_behind_it(
    fault: str, node: str, tmp_path: Path
) -> None:
    source, target = traced(tmp_path, "source", net()), traced(tmp_path, "target", broken(fault))
    (divergence,) = first_divergences(source, target)
    assert divergence.source is not None
    assert (divergence.type, divergence.source.node, divergence.target.node) == ("LH", divergence.target.node, node)
    assert node not in match_by_content(source, target)


def test_two_branches_diverge_each_at_its_own_operator(tmp_path: Path) -> None:
    target = net()
    settings(target, "lr", alpha=0.7)
    settings(target, "c5", pads=[2, 1, 0, 1])
    divergences = first_divergences(traced(tmp_path, "source", net()), traced(tmp_path, "target", target))
    assert {divergence.target.node for divergence in divergences} == {"lr", "c5"}


def test_an_operator_that_the_source_lacks_is_a_fault_of_the_graph(tmp_path: Path) -> None:
    target = traced(tmp_path, "target", broken("activation added"))
    (divergence,) = first_divergences(traced(tmp_path, "source", net()), target)
    assert (divergence.type, divergence.target.operator) == ("CG", "Sigmoid")
