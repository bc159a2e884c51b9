"""tflite -> onnx: what tf2onnx leaves as an operator of TFLite is written by operators of ONNX."""

from __future__ import annotations

import math

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.support.onnx_execution import execute
from tests.support.warm_processes import run_script

CONVERTED = """
import numpy as np, onnx, tensorflow as tf
from safeconvert.converters import tflite_onnx
from ai_edge_litert.interpreter import Interpreter

for approximate in (False, True):
    function = tf.function(lambda x: tf.nn.gelu(x, approximate=approximate))
    concrete = function.get_concrete_function(tf.TensorSpec((4, 9), tf.float32, name="x"))
    content = tf.lite.TFLiteConverter.from_concrete_functions([concrete], function).convert()
    open("model.tflite", "wb").write(content)
    tflite_onnx.convert("model.tflite", "model.onnx", opset=13)
    model = onnx.load("model.onnx")
    assert not [node for node in model.graph.node if node.op_type.startswith("TFL")]
    import onnxruntime
    session = onnxruntime.InferenceSession("model.onnx")
    x = np.linspace(-4, 4, 36, dtype=np.float32).reshape(4, 9)
    result = session.run(None, {session.get_inputs()[0].name: x})[0]
    assert np.abs(result - function(x).numpy()).max() < 1e-5, approximate
"""


@pytest.mark.parametrize("is_approximate", [False, True])
def test_gelu_is_written_by_operators_of_onnx(is_approximate: bool) -> None:
    from safeconvert.converters.tflite_onnx import with_gelu

    nodes = [
        helper.make_node("TFL_GELU", ["x"], ["inner"], approximate=int(is_approximate)),
        helper.make_node("TFL_GELU", ["inner"], ["y"], approximate=int(is_approximate)),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [9]) for name in "xy"]
    graph = helper.make_graph(nodes, "net", values[:1], values[1:])
    model = with_gelu(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8))
    onnx.checker.check_model(model)
    x = np.linspace(-4, 4, 9, dtype=np.float32)
    expected = gelu(gelu(x.astype(float), is_approximate), is_approximate)
    assert np.abs(execute(model, {"x": x})[0] - expected).max() < 1e-6


def gelu(x: np.ndarray, is_approximate: bool) -> np.ndarray:
    if is_approximate:
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * (1 + np.array([math.erf(value / math.sqrt(2)) for value in x]))


def test_a_tflite_file_with_gelu_becomes_an_onnx_file_that_runs(tmp_path_factory: pytest.TempPathFactory) -> None:
    run_script("tensorflow", CONVERTED, tmp_path_factory.mktemp("gelu"))
