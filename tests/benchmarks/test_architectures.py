"""The benchmark over architectures: its own judgement, which shares no code with the product's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks import architectures
from benchmarks.architecture_sources.inputs import Input, arrays

A = np.random.default_rng(0).normal(size=(4, 5)).astype("float32")
B = np.arange(4.0)


def outputs(*values: Any, names: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"names": np.array(names, dtype=str), **{str(index): value for index, value in enumerate(values)}}


def test_equal_outputs_are_right_and_every_kind_of_difference_is_wrong() -> None:
    assert architectures.compare(outputs(A), outputs(A * (1 + 1e-6)))["judged"] == "right"
    with_nan = A.copy()
    with_nan[0, 0] = np.nan
    for other in (outputs(2 * A), outputs(A[:, :4]), outputs(A, B), outputs(with_nan), outputs(A[::-1])):
        assert architectures.compare(outputs(A), other)["judged"] == "wrong"


def test_outputs_are_compared_by_name_where_the_names_are_the_same() -> None:
    source = outputs(A, B, names=("a", "b"))
    assert architectures.compare(source, outputs(B, A, names=("b", "a")))["judged"] == "right"
    assert architectures.compare(source, outputs(B, A, names=("x", "y")))["judged"] == "wrong"


def test_other_seeds_give_other_inputs_of_the_same_kind() -> None:
    described = [
        Input("x", (3, 4)),
        Input("p", (3, 4), "pixels"),
        Input("ids", (6,), "ids", 9),
        Input("mask", (6,), "mask"),
    ]
    first, second = arrays(described, 5, 1), arrays(described, 5, 2)
    assert not any(np.array_equal(first[name], second[name]) for name in first)
    assert {first["ids"].dtype, first["mask"].dtype} == {np.dtype("int64")}
    assert first["ids"].max() <= 9
    assert 0 <= first["p"].min() < 128 < first["p"].max() <= 255
    assert (np.diff(first["mask"]) <= 0).all()
    assert first["mask"].any(axis=1).all()


@pytest.mark.parametrize("row", [{"verdict": "failed"}, {"verdict": "verified", "error": 1e-6, "seconds": 3.0}])
def test_a_row_has_a_cell_for_each_head(row: dict[str, Any]) -> None:
    cells = architectures._cells({"model": "unet", "source": "torch", "target": "onnx", **row})
    assert len(cells) == len(architectures.HEADS)


def test_every_source_has_a_format() -> None:
    assert set(architectures.sources().values()) == set(architectures.TARGETS)
