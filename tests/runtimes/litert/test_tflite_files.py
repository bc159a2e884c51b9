"""What is read from a TFLite file and changed in it: input shapes, settings, single operators, traces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from safeconvert.runtimes.litert.input_shapes import change_input_shapes
from safeconvert.runtimes.litert.model import load_tflite
from safeconvert.runtimes.litert.settings import change_settings, read_settings
from safeconvert.runtimes.litert.single_operators import split_operators
from safeconvert.runtimes.litert.trace import trace
from tests.support.warm_processes import run_script

Array = np.ndarray[Any, Any]


@pytest.fixture
def model(keras_models: Path) -> str:
    return str(keras_models / "model.tflite")


def images(count: int, *sizes: int) -> dict[str, Array]:
    values = np.random.default_rng(2).normal(size=(count, *(sizes or (8, 8)), 3))
    return {"image": values.astype(np.float32)}


def named(model: str) -> dict[str, Array]:
    (spec,) = load_tflite(model).inputs
    return {spec.name: images(1)["image"]}


def test_a_file_with_other_input_sizes_declares_and_runs_them(model: str, tmp_path: Path) -> None:
    (spec,) = load_tflite(model).inputs
    target = str(tmp_path / "wide.tflite")
    assert change_input_shapes(model, target, {spec.name: [None, 8, 12, 3]}) == "tflite"
    (changed,) = load_tflite(target).inputs
    assert list(changed.shape) == [None, 8, 12, 3]
    assert list(load_tflite(model).inputs[0].shape) == list(spec.shape)


def test_the_operators_of_a_file_run_by_themselves(model: str, tmp_path: Path) -> None:
    operators = split_operators(model, named(model), str(tmp_path))
    assert operators[0].operator == "CONV_2D"
    assert operators[0].has_window
    assert not operators[-1].has_window
    for single in operators:
        alone = load_tflite(single.path)
        arrays = {spec.name: array for spec, array in zip(alone.inputs, single.inputs, strict=True)}
        (output,) = single.outputs
        np.testing.assert_allclose(alone.run(arrays)[0], output, rtol=1e-5, atol=1e-6)


def test_tensorflows_interpreter_computes_each_operator_alike(model: str, tmp_path: Path) -> None:
    """The operators travel by pickle, as they do between two workers; one output is falsified to show."""
    script = """
import dataclasses, sys
sys.path.insert(0, sys.argv[1])
from safeconvert.runtimes.litert.single_operators import split_operators
from safeconvert.runtimes.litert.model import load_tflite
from safeconvert.runtimes.litert.tensorflow_interpreter import largest_differences
import numpy
(spec,) = load_tflite(sys.argv[2]).inputs
operators = split_operators(sys.argv[2], {spec.name: numpy.ones((1, 8, 8, 3), "float32")}, ".")
assert largest_differences(operators, 1e-5, 1e-4) == [None] * len(operators)
wrong = dataclasses.replace(operators[-1], outputs=[operators[-1].outputs[0] + 1])
(far,) = largest_differences([wrong], 1e-5, 1e-4)
assert 0.9 < far < 1.1, far
(unread,) = largest_differences([dataclasses.replace(wrong, inputs=[numpy.ones((1, 2, 3), "float32")])], 1e-5, 1e-4)
assert unread == float("inf")
"""
    run_script("tensorflow", script, tmp_path, [str(Path(__file__).parents[3]), model])


def test_settings_are_read_and_changed_in_the_file(model: str, tmp_path: Path) -> None:
    place = split_operators(model, named(model), str(tmp_path))[0].tensor
    settings = read_settings(model, place)
    assert settings["strides"] == [1, 1]
    assert (settings["padding"], settings["fused_activation"]) == ("valid", "relu")
    target = str(tmp_path / "changed.tflite")
    assert change_settings(model, target, place, {"fused_activation": "relu6", "strides": [2, 3]}) == "tflite"
    changed = read_settings(target, place)
    assert (changed["strides"], changed["fused_activation"]) == ([2, 3], "relu6")
    assert changed["padding"] == "valid"
    with pytest.raises(ValueError, match="no operator gives"):
        read_settings(model, "nothing")


def test_a_trace_keeps_the_inputs_first_and_the_outputs_of_a_plain_run(model: str, tmp_path: Path) -> None:
    arrays = named(model)
    records = trace(model, arrays, str(tmp_path / "trace"))
    with np.load(tmp_path / "trace") as stored:
        np.testing.assert_array_equal(stored[records[0].key], next(iter(arrays.values())))
        (output,) = load_tflite(model).run(arrays)
        np.testing.assert_allclose(stored[records[-1].key], output, rtol=1e-5, atol=1e-6)
    assert len({record.node for record in records}) == len(records) > 3
