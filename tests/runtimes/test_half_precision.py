"""An ONNX model that computes in half precision is said to, once, whatever becomes of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from safeconvert.api import check
from safeconvert.runtimes.onnxruntime.model import half_precision

F32, F16, BF16 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16


def net(path: Path, inner: int) -> Path:
    """A sum with a constant of type ``inner``, between casts to it and back."""
    nodes = [
        helper.make_node("Cast", ["x"], ["h"], to=inner),
        helper.make_node("Add", ["h", "w"], ["s"]),
        helper.make_node("Cast", ["s"], ["y"], to=F32),
    ]
    weight = numpy_helper.from_array(np.ones(3, helper.tensor_dtype_to_np_dtype(inner)), "w")
    values = [helper.make_tensor_value_info(name, F32, ["n", 3]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "net", values[:1], values[1:], [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


@pytest.mark.parametrize(("inner", "name"), [(F32, ""), (F16, "float16"), (BF16, "bfloat16")])
def test_the_type_is_read_from_constants_and_casts(tmp_path: Path, inner: int, name: str) -> None:
    model = onnx.load(net(tmp_path / "net.onnx", inner))
    assert half_precision(model) == name
    del model.graph.initializer[:]
    assert half_precision(model) == name


def test_the_report_says_it_once(tmp_path: Path) -> None:
    source, target = net(tmp_path / "source.onnx", F16), net(tmp_path / "target.onnx", F32)
    notes = check(source, target).report["notes"]
    assert [note for note in notes if "half precision" in note] == [
        "source.onnx computes in half precision (float16) in parts, which many converters do not take; "
        "float32 reaches more"
    ]
