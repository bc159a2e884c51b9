"""A Target that differs from the Source only as two runtimes differ on the same node has no fault."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from safeconvert.repair.alignment.runtime_difference import RuntimeDifference
from safeconvert.repair.alignment.runtime_differences import compare_runtimes
from safeconvert.repair.graph.runner import GraphRunner
from safeconvert.repair.localization.locate import locate

from safeconvert.runtimes.trace_store import TvmRecord

from ...support.seeded_nets import inputs, net, settings


def test_a_node_that_a_second_runtime_computes_otherwise_is_a_runtime_difference_and_no_fault(tmp_path: Path) -> None:
    """The second runtime has another slope for LeakyRelu, here and in what comes behind it."""
    onnx.save(net(), tmp_path / "model.onnx")
    other = net()
    settings(other, "lr", alpha=0.7)
    x = {"x": inputs(net(), 1)}
    values = GraphRunner(other).everything(x)
    np.savez(tmp_path / "store.npz", *values.values())
    records = [
        TvmRecord(name, f"arr_{index}", value.shape, "float32", "", index)
        for index, (name, value) in enumerate(values.items())
    ]
    path, kept = str(tmp_path / "model.onnx"), str(tmp_path / "kept.npz")
    compared = compare_runtimes(path, x, str(tmp_path / "store.npz"), records, atol=1e-5, rtol=1e-3, keep=kept)
    assert [node.node for node in compared.nodes] == ["lr"]

    result = locate(path, path, x, x, ["y"], activations=kept)
    assert result.faults == ()
    (difference,) = result.runtime_differences
    assert isinstance(difference, RuntimeDifference)
    assert (difference.target_node, difference.source_node, difference.operator) == ("lr", "lr", "LeakyRelu")
    assert np.isclose(float(difference.values.tvm) / float(difference.values.onnxruntime), 0.7 / 0.2, rtol=1e-3)
