"""Sizes of inputs that a model leaves open: from --input-shape, else from the arrays; and what does not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from safeconvert.errors import BadInput
from safeconvert.models.loader import given_shapes, resolve_shapes, specs
from safeconvert.options import Options
from safeconvert.records import Signature, TensorSpec

PATH = Path("model.onnx")
OPEN = Signature((TensorSpec("x", (None, 3, None, None), "float32"),), ())
CLOSED = Signature((TensorSpec("x", (None, 3, 8, 8), "float32"),), ())


def options(**chosen: object) -> Options:
    return Options.of(chosen)


def test_a_closed_shape_is_taken_as_it_is() -> None:
    assert resolve_shapes(PATH, CLOSED, options()) == {"x": (None, 3, 8, 8)}


def test_an_open_size_is_asked_for_or_read_from_the_arrays(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="input-shape"):
        resolve_shapes(PATH, OPEN, options())
    asked = options(input_shape={"x": (1, 3, 10, 12)})
    assert resolve_shapes(PATH, OPEN, asked) == {"x": (None, 3, 10, 12)}
    np.savez(tmp_path / "arrays.npz", x=np.zeros((5, 3, 9, 7), np.float32))
    stored = options(inputs=tmp_path / "arrays.npz")
    assert given_shapes(stored) == {"": [5, 3, 9, 7]}
    assert resolve_shapes(PATH, OPEN, stored) == {"x": (None, 3, 9, 7)}


@pytest.mark.parametrize(
    ("shape", "saying"),
    [
        ({"x": (1, 4, 8, 8)}, "does not fit"),
        ({"x": (1, 3, 8)}, "does not fit"),
        ({"y": (1, 3, 8, 8)}, "names 'y'"),
    ],
)
def test_a_shape_that_does_not_fit_is_refused(shape: dict[str, tuple[int, ...]], saying: str) -> None:
    with pytest.raises(BadInput, match=saying):
        resolve_shapes(PATH, OPEN, options(input_shape=shape))


def test_a_shape_without_a_name_is_for_a_single_input() -> None:
    assert resolve_shapes(PATH, OPEN, options(input_shape={"": (1, 3, 8, 8)})) == {"x": (None, 3, 8, 8)}
    two = Signature((*OPEN.inputs, TensorSpec("y", (None, 2), "float32")), ())
    with pytest.raises(BadInput, match="needs a name"):
        resolve_shapes(PATH, two, options(input_shape={"": (1, 3, 8, 8)}))


def test_specs_carry_the_shapes_of_the_run() -> None:
    (spec,) = specs(OPEN, {"x": (None, 3, 8, 6)})
    assert (spec.name, tuple(spec.shape or ()), spec.dtype) == ("x", (None, 3, 8, 6), "float32")
