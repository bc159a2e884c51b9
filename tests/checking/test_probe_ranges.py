"""Probes of integer inputs that a model takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

from safeconvert.checking.probe_ranges import HIGHEST_TRIED, ranges_of_inputs
from safeconvert.inputs.base import ProbeInputs
from safeconvert.records import TensorSpec
from tests.support.command import safeconvert

SPECS = (TensorSpec("ids", (None, 4), "int64"), TensorSpec("x", (None, 2), "float32"))


def test_integers_are_drawn_from_the_range_asked_for() -> None:
    values = ProbeInputs.make(SPECS, 0, 50, {"ids": (5, 30)}).read(range(50))["ids"]
    assert (values.min(), values.max()) == (5, 30)


def test_the_range_of_the_person_s_inputs_is_taken_for_integers_only() -> None:
    own = ProbeInputs.make(SPECS, 0, 40, {"ids": (100, 200)})
    low, high = ranges_of_inputs(own, range(40))["ids"]
    assert 100 <= low < 110
    assert 190 < high <= 200
    assert "x" not in ranges_of_inputs(own, range(40))


def test_a_table_with_few_rows_is_asked_for_no_more(tmp_path: Path) -> None:
    """A table of two rows refuses 9: the run ends with a verdict all the same."""
    assert max(HIGHEST_TRIED) > 1
    table = np.random.default_rng(0).normal(size=(2, 5)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "ids"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3, 5])],
        [numpy_helper.from_array(table, "table")],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    proto.ir_version = 8
    save(proto, tmp_path / "table.onnx")
    done = safeconvert("check", "table.onnx", "table.onnx", folder=tmp_path)
    assert done.code == 0, done.out + done.err
