"""LSTM, GRU and RNN of ONNX become Keras's own layers, equal to onnxruntime in each direction and layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.support.onnx_execution import execute
from tests.support.warm_processes import run_script

ROOT = Path(__file__).resolve().parents[3]
STEPS, SIZE, HIDDEN, BATCH = 5, 3, 4, 2
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def net(kind: str, way: str, *, is_batch_first: bool = False, **attributes: Any) -> onnx.ModelProto:
    """The layer on x [N, steps, size], with every output, each put batch first."""
    rng, count, gates = np.random.default_rng(0), 2 if way == "bidirectional" else 1, GATES[kind]
    sizes = {"w": (count, gates * HIDDEN, SIZE), "r": (count, gates * HIDDEN, HIDDEN), "b": (count, 2 * gates * HIDDEN)}
    arrays = [numpy_helper.from_array(rng.normal(size=size).astype("float32"), name) for name, size in sizes.items()]
    outputs = ["y", "h", "c"][: 3 if kind == "LSTM" else 2]
    node, read = helper.make_node, "x" if is_batch_first else "t"
    if is_batch_first:
        attributes["layout"] = 1
    nodes = [] if is_batch_first else [node("Transpose", ["x"], ["t"], perm=[1, 0, 2])]
    nodes.append(node(kind, [read, "w", "r", "b"], outputs, hidden_size=HIDDEN, direction=way, **attributes))
    for name in outputs:
        perm = [0, 1, 2, 3][: 4 if name == "y" else 3] if is_batch_first else [2, 0, 1, 3] if name == "y" else [1, 0, 2]
        nodes.append(node("Transpose", [name], [f"{name}_first"], perm=perm))
    graph = helper.make_graph(
        nodes,
        "recurrent",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", STEPS, SIZE])],
        [helper.make_tensor_value_info(f"{name}_first", TensorProto.FLOAT, None) for name in outputs],
        arrays,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)


CASES = [
    *((kind, way, {}) for kind in GATES for way in ("forward", "reverse", "bidirectional")),
    *(("GRU", way, {"linear_before_reset": 1}) for way in ("forward", "bidirectional")),
]


def check_layers() -> None:
    """Convert each case and compare with onnxruntime; run in a process of its own, since it imports TensorFlow."""
    import keras
    from safeconvert.converters import onnx_keras

    x = np.random.default_rng(1).normal(size=(BATCH, STEPS, SIZE)).astype("float32")
    for kind, way, attributes in CASES:
        model = net(kind, way, **attributes)
        onnx.save(model, "net.onnx")
        onnx_keras.convert("net.onnx", "net.keras")
        loaded = keras.saving.load_model("net.keras")
        layers = [layer for layer in loaded.layers if isinstance(layer, keras.layers.RNN)]
        assert len(layers) == (2 if way == "bidirectional" else 1), (kind, way)
        for expected, value in zip(execute(model, {"x": x}), loaded(x), strict=True):
            np.testing.assert_allclose(np.asarray(value), expected, atol=1e-5, err_msg=f"{kind} {way} {attributes}")


def check_batch_first() -> None:
    """Check the outputs' axes with the batch first, which onnxruntime lacks, against the other layout."""
    from safeconvert.converters.support.recurrent_layers import translate

    x = np.random.default_rng(2).normal(size=(BATCH, STEPS, SIZE)).astype("float32")
    model = net("LSTM", "bidirectional")
    w, r, b = (numpy_helper.to_array(tensor) for tensor in model.graph.initializer)
    first = translate("LSTM", [x, w, r, b], {"direction": b"bidirectional", "layout": 1}, "first", 3)
    turned = translate("LSTM", [x.transpose(1, 0, 2), w, r, b], {"direction": b"bidirectional"}, "second", 3)
    for value, other, perm in zip(first, turned, ((2, 0, 1, 3), (1, 0, 2), (1, 0, 2)), strict=True):
        np.testing.assert_allclose(np.asarray(value), np.asarray(other).transpose(perm), atol=1e-6)


def check_refusals() -> None:
    from safeconvert.converters.support.recurrent_layers import translate

    w, r = np.zeros((1, 16, SIZE), "float32"), np.zeros((1, 16, HIDDEN), "float32")
    x, state = np.zeros((STEPS, BATCH, SIZE), "float32"), np.zeros((1, BATCH, HIDDEN), "float32")
    for inputs, attributes, reason in (
        ([x, w, r, None, None, state], {}, "initial states"),
        ([x, w, r], {"activations": [b"Relu", b"Tanh", b"Tanh"]}, "the activations Relu"),
        ([x, w, r], {"clip": 1.0}, "with clip"),
        ([x, w, r], {"input_forget": 1}, "input_forget"),
    ):
        with pytest.raises(NotImplementedError, match=reason):
            translate("LSTM", inputs, attributes, "refused", 1)


@pytest.mark.parametrize("check", [check_layers, check_batch_first, check_refusals], ids=lambda check: check.__name__)
def test_recurrent_layers_in_a_process_with_tensorflow(check: Any, tmp_path: Path) -> None:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
    code += f"from tests.converters.support.test_recurrent_layers import {check.__name__} as check; check()"
    run_script("tensorflow", code, tmp_path)
