"""Which input is which, and in which layout."""

from __future__ import annotations

import numpy as np
import pytest

from safeconvert.formats import format_named
from safeconvert.models.input_mapping import TO_NHWC, Mismatch, apply_mapping, layout_of, map_inputs, match_outputs
from safeconvert.records import Signature, TensorSpec


def takes(*inputs: tuple[str, tuple[int | None, ...] | None]) -> Signature:
    return Signature(tuple(TensorSpec(name, shape, "float32") for name, shape in inputs), ())


SOURCE = takes(("x", (None, 3, 5, 7)))
SHAPES = {"x": (None, 3, 5, 7)}


def test_the_same_layout_is_fed_as_it_is() -> None:
    mapping = map_inputs(SOURCE, SHAPES, takes(("other_name", (None, 3, 5, 7))))
    assert not isinstance(mapping, Mismatch)
    assert mapping[0].axes is None
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 7))
    target_arrays = apply_mapping(mapping, {"x": x})
    assert list(target_arrays) == ["other_name"]
    assert target_arrays["other_name"].dtype == np.float32


def test_the_other_layout_is_fed_transposed() -> None:
    mapping = map_inputs(SOURCE, SHAPES, takes(("x", (1, 5, 7, 3))))
    assert not isinstance(mapping, Mismatch)
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 7)).astype("float32")
    assert np.array_equal(apply_mapping(mapping, {"x": x})["x"], x.transpose(0, 2, 3, 1))


def test_a_turn_made_on_purpose_is_fed_turned_even_where_sizes_do_not_tell() -> None:
    mapping = map_inputs(
        takes(("x", (None, 4, 4, 4))), {"x": (None, 4, 4, 4)}, takes(("x", (None, 4, 4, 4))), {"x": TO_NHWC}
    )
    assert not isinstance(mapping, Mismatch)
    x = np.arange(64, dtype="float32").reshape(1, 4, 4, 4)
    assert np.array_equal(apply_mapping(mapping, {"x": x})["x"], x.transpose(0, 2, 3, 1))


@pytest.mark.parametrize(
    "target",
    [
        takes(("x", (None, 3, 5, 7)), ("mean", (3,))),
        takes(),
        takes(("x", (None, 3, 5, 8))),
        takes(("x", (None, 5, 3, 7))),
        takes(("x", (None, 105))),
    ],
)
def test_an_input_more_or_less_or_of_other_sizes_is_a_mismatch(target: Signature) -> None:
    assert isinstance(map_inputs(SOURCE, SHAPES, target), Mismatch)


def test_square_sizes_with_the_channels_between_them_are_no_layout_but_a_mismatch() -> None:
    square = {"x": (None, 3, 5, 5)}
    source = takes(("x", (None, 3, 5, 5)))
    assert isinstance(map_inputs(source, square, takes(("x", (None, 5, 3, 5)))), Mismatch)
    mapping = map_inputs(source, square, takes(("x", (None, 5, 5, 3))))
    assert not isinstance(mapping, Mismatch)
    assert mapping[0].axes == TO_NHWC


def test_inputs_are_matched_by_name_before_position() -> None:
    source = takes(("a", (None, 4)), ("b", (None, 4)))
    mapping = map_inputs(source, {"a": (None, 4), "b": (None, 4)}, takes(("b", (None, 4)), ("a", (None, 4))))
    assert not isinstance(mapping, Mismatch)
    assert [mapped.source for mapped in mapping] == ["b", "a"]


@pytest.mark.parametrize("written", ["serving_default_{}:0", "serving_default_{}", "{}:0"])
def test_inputs_are_matched_by_name_whatever_tensorflow_puts_around_it(written: str) -> None:
    source = takes(("y", (None, 4)), ("x", (None, 4)))
    target = takes((written.format("x"), (None, 4)), (written.format("y"), (None, 4)))
    mapping = map_inputs(source, {"y": (None, 4), "x": (None, 4)}, target)
    assert not isinstance(mapping, Mismatch)
    assert [mapped.source for mapped in mapping] == ["x", "y"]


def test_names_that_only_decoration_tells_apart_are_matched_by_position() -> None:
    source = takes(("x", (None, 4)), ("x:0", (None, 4)))
    mapping = map_inputs(source, {"x": (None, 4), "x:0": (None, 4)}, takes(("a", (None, 4)), ("b", (None, 4))))
    assert not isinstance(mapping, Mismatch)
    assert [mapped.source for mapped in mapping] == ["x", "x:0"]


def test_inputs_that_lost_names_and_order_are_matched_by_shape_and_dtype_where_those_allow_one_order() -> None:
    source = Signature(
        (
            TensorSpec("a", (None, 4), "float32"),
            TensorSpec("b", (None, 4), "int64"),
            TensorSpec("c", (None, 9), "bool"),
        ),
        (),
    )
    shapes = {spec.name: spec.shape for spec in source.inputs if spec.shape}

    def origins(*inputs: tuple[int, str]) -> list[str] | None:
        specs = tuple(TensorSpec(f"input_{i}", (None, size), dtype) for i, (size, dtype) in enumerate(inputs))
        mapping = map_inputs(source, shapes, Signature(specs, ()))
        return None if isinstance(mapping, Mismatch) else [mapped.source for mapped in mapping]

    assert origins((9, "bool"), (4, "int64"), (4, "float32")) == ["c", "b", "a"]
    assert origins((9, "int32"), (4, "int64"), (4, "float32")) == ["c", "b", "a"]
    assert origins((4, "int64"), (4, "float32"), (9, "bool")) == ["b", "a", "c"]
    assert origins((4, "int32"), (4, "int32"), (9, "bool")) == ["a", "b", "c"], "positions that fit are kept"
    assert origins((9, "bool"), (4, "float32"), (4, "float32")) is None, "two orders are possible"


def test_very_many_inputs_without_names_are_told_not_to_fit_at_once() -> None:
    """Caches of a decoder: 30 alike, and two that one input of the Source alone fits. There are 30! orders to try."""
    sizes = [*[4] * 30, 9, 7]
    source = takes(*((f"cache_{i}", (None, size)) for i, size in enumerate(sizes)))
    target = takes(*((f"input_{i}", (None, size)) for i, size in enumerate([*sizes[:31], 9])))
    shapes = {spec.name: spec.shape for spec in source.inputs if spec.shape}
    assert isinstance(map_inputs(source, shapes, target), Mismatch)


def test_outputs_are_matched_by_name_where_the_names_are_the_same() -> None:
    first, two = np.zeros(1), np.ones(1)
    assert match_outputs(["a", "b"], ["b", "a"], [two, first]) == [first, two]
    assert match_outputs(["a", "b"], ["c", "a"], [two, first]) == [two, first]


@pytest.mark.parametrize(
    ("shape", "format", "layout"),
    [
        ((None, 3, 224, 224), "keras", "nchw"),
        ((None, 224, 224, 3), "torch", "nhwc"),
        ((1, 1, 28, 28), "tflite", "nchw"),
        ((1, 3, 5, 3), "torch", "nchw"),
        ((1, 3, 5, 3), "keras", "nhwc"),
        ((1, 8, 8, 8), "onnx", "nchw"),
    ],
)
def test_the_layout_is_where_the_channels_stand_else_the_formats_custom(
    shape: tuple[int | None, ...], format: str, layout: str
) -> None:
    assert layout_of(shape, format_named(format)) == layout
