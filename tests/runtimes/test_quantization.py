"""Quantised is what quantised weights or activations lead to, output by output."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper, save

from safeconvert.runtimes import registry
from safeconvert.runtimes.onnxruntime import model as onnx_model
from safeconvert.runtimes.onnxruntime.quantization import quantized_outputs

N = helper.make_node
X = np.ones((3, 4), np.float32)


def model(*nodes: Any, outputs: tuple[str, ...], **weights: np.ndarray[Any, Any]) -> ModelProto:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        values,
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    proto.ir_version = 8
    return proto


def two_heads(rank: int) -> ModelProto:
    """``float_head`` reads float weights; ``head`` adds, or multiplies by, a dequantised tensor of that rank."""
    shape = (4, 4) if rank == 2 else (4,)
    return model(
        N("DequantizeLinear", ["q", "scale", "zero"], ["w"]),
        N("MatMul" if rank == 2 else "Add", ["x", "w"], ["head"]),
        N("Relu", ["x"], ["float_head"]),
        outputs=("head", "float_head"),
        q=np.ones(shape, np.int8),
        scale=np.float32(0.1),
        zero=np.int8(0),
    )


def test_only_the_head_with_quantised_weights_is_quantised() -> None:
    assert quantized_outputs(two_heads(2).graph) == (True, False)


def test_a_dequantised_bias_alone_makes_nothing_quantised() -> None:
    assert quantized_outputs(two_heads(1).graph) == (False, False)


def test_a_rounded_activation_makes_what_follows_quantised() -> None:
    proto = model(
        N("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        N("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
        outputs=("y",),
        scale=np.float32(0.1),
        zero=np.uint8(0),
    )
    assert quantized_outputs(proto.graph) == (True,)


def test_the_signature_says_so_and_one_thread_computes_the_same(tmp_path: Any) -> None:
    path = str(tmp_path / "two_heads.onnx")
    save(two_heads(2), path)
    signature = onnx_model.load(path, "onnx")
    assert (signature.quantized, signature.quantized_outputs) == (True, (True, False))
    result = registry.run_single_threaded(path, {"x": X})
    assert result is not None
    for alone, usual in zip(result.outputs, registry.run(path, {"x": X}).outputs, strict=True):
        assert alone == pytest.approx(usual)
