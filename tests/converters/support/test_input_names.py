"""Names of inputs become identifiers, each its own, and the graph still computes the same."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from safeconvert.converters.support.input_names import with_plain_inputs

NAMES = ["serving_default_image:0", "image", "2nd", "class", "a;b", "a_b"]


def model() -> onnx.ModelProto:
    nodes = [helper.make_node("Sum", NAMES, ["y"], "sum, of;all")]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [3]) for name in (*NAMES, "y")]
    graph = helper.make_graph(nodes, "net", values[:-1], values[-1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def test_every_input_gets_an_identifier_of_its_own() -> None:
    changed = with_plain_inputs(model())
    names = [entry.name for entry in changed.graph.input]
    assert names == ["serving_default_image", "image", "input_2nd", "input_class", "a_b_", "a_b"]
    assert changed.graph.node[0].name == "sum_ of_all"
    onnx.checker.check_model(changed)
    session = onnxruntime.InferenceSession(changed.SerializeToString(), providers=["CPUExecutionProvider"])
    arrays = {name: np.full(3, 10.0**place, np.float32) for place, name in enumerate(names)}
    np.testing.assert_allclose(session.run(None, arrays)[0], 111111)
