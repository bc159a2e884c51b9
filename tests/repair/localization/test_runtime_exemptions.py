"""The view is written for another runtime in the form in which Source and Target are compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from safeconvert.repair.localization.runtime_exemptions import write_canonical

from tests.support.seeded_nets import inputs, net


def test_the_canonical_view_computes_the_same_and_names_every_node(tmp_path: Path) -> None:
    model = net()
    for node in model.graph.node[:3]:
        node.name = ""
    onnx.save(model, tmp_path / "view.onnx")
    write_canonical(str(tmp_path / "view.onnx"), str(tmp_path / "canonical.onnx"))
    canonical = onnx.load(tmp_path / "canonical.onnx")
    names = [node.name for node in canonical.graph.node]
    assert all(names)
    assert len(set(names)) == len(names)
    x = inputs(model, 1)
    cpu = ["CPUExecutionProvider"]
    left, right = (onnxruntime.InferenceSession(m.SerializeToString(), providers=cpu) for m in (model, canonical))
    expected, computed = (session.run(None, {"x": x}) for session in (left, right))
    np.testing.assert_allclose(computed[0], expected[0], rtol=1e-4, atol=1e-5)
