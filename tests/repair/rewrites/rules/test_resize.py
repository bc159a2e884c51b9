"""Resize in every coordinate mode, and Upsample."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.numpy_helper
import pytest
from onnx import TensorProto, helper
from safeconvert.repair import rewrites
from safeconvert.repair.rewrites.rules import resize

from tests.support.rewrite_cases import (
    BATCH,
    TOLERANCE,
    Case,
    assert_opsets_agree,
    assert_rewritten,
    case_id,
    difference,
    ints,
)


def resize_cases() -> list[Case]:
    cases = []
    scales = [np.asarray([1, 1, 3, 2.5], np.float32), np.asarray([1, 1, 0.6, 0.45], np.float32)]
    coordinates = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")
    for s in scales:
        for c in coordinates:
            a = {"coordinate_transformation_mode": c}
            for r in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"):
                cases.append(
                    Case(
                        f"nearest-{c}-{r}-{s[2]}",
                        "Resize",
                        {**a, "mode": "nearest", "nearest_mode": r},
                        ("", s),
                    )
                )
            cases.append(Case(f"linear-{c}-{s[2]}", "Resize", {**a, "mode": "linear"}, ("", s)))
            cases.append(Case(f"cubic-{c}-{s[2]}", "Resize", {**a, "mode": "cubic"}, ("", s)))
    e = {"mode": "cubic", "cubic_coeff_a": -0.5, "exclude_outside": 1}
    return [
        *cases,
        Case("cubic-exclude", "Resize", e, ("", scales[0])),
        Case(
            "linear-sizes",
            "Resize",
            {"mode": "linear"},
            ("", "", ints(BATCH, 4, 11, 13)),
            opset=17,
            static=True,
        ),
        Case(
            "linear-symmetric",
            "Resize",
            {"mode": "linear", "coordinate_transformation_mode": "half_pixel_symmetric"},
            ("", scales[0]),
            opset=19,
        ),
        Case(
            "nearest-axes",
            "Resize",
            {"mode": "nearest", "axes": [3, 2]},
            ("", np.asarray([2, 3], np.float32)),
            opset=18,
        ),
        *(
            Case(
                f"antialias-{mode}-{c}-{s[2]}-{outside}",
                "Resize",
                {"mode": mode, "antialias": 1, "coordinate_transformation_mode": c, "exclude_outside": outside},
                ("", s),
                opset=18,
            )
            for mode in ("linear", "cubic")
            for c in ("half_pixel", "align_corners", "asymmetric")
            for s in (*scales, np.asarray([1, 1, 0.3, 1], np.float32))
            for outside in ((0, 1) if mode == "cubic" else (0,))
        ),
        Case(
            "antialias-axes",
            "Resize",
            {"mode": "linear", "antialias": 1, "axes": [-1, 2]},
            ("", "", ints(4, 5)),
            opset=18,
        ),
        *(
            Case(
                f"crop-{mode}-{name}-{opset}",
                "Resize",
                {"mode": mode, "coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 0.5},
                (np.asarray(roi, np.float32), "", ints(BATCH, 4, 9, 6)),
                static=True,
                opset=opset,
            )
            for mode in ("linear", "nearest", "cubic")
            for opset in (13, 18)
            for name, roi in (
                ("inside", [0, 0, 0.1, 0.2, 1, 1, 0.8, 0.7]),
                ("outside", [0, 0, -0.2, 0.3, 1, 1, 0.9, 1.4]),
                ("turned", [0, 0, 0.9, 0, 1, 1, 0.1, 1]),
            )
        ),
        *(
            Case(
                f"aspect-{policy}-{size}",
                "Resize",
                {"mode": "linear", "axes": [3, 2], "keep_aspect_ratio_policy": policy},
                ("", "", ints(*size)),
                opset=18,
            )
            for policy in ("not_larger", "not_smaller", "stretch")
            for size in ((15, 9), (6, 6), (25, 4))
        ),
        Case("nearest-gather", "Resize", {"mode": "nearest"}, ("", scales[0]), names=("resize-nearest-gather",)),
        Case("nearest-slices", "Resize", {"mode": "nearest"}, ("", scales[1]), names=("resize-nearest-slices",)),
        Case("upsample-9", "Upsample", {"mode": "nearest"}, (np.asarray([1, 1, 2, 3], np.float32),), opset=9),
        Case(
            "upsample-linear-9",
            "Upsample",
            {"mode": "linear"},
            (np.asarray([1, 1, 2, 3], np.float32),),
            opset=9,
        ),
        Case("upsample-7", "Upsample", {"mode": "nearest", "scales": [1.0, 1.0, 2.0, 3.0]}, opset=7),
        Case("resize-10", "Resize", {"mode": "nearest"}, (np.asarray([1, 1, 2.5, 0.7], np.float32),), opset=10),
        Case(
            "resize-down-10",
            "Resize",
            {"mode": "nearest"},
            (np.asarray([1, 1, 0.5, 0.7], np.float32),),
            opset=10,
        ),
        Case(
            "resize-linear-10",
            "Resize",
            {"mode": "linear"},
            (np.asarray([1, 1, 2.5, 3], np.float32),),
            opset=10,
        ),
    ]


CASES = resize_cases()


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_a_rewritten_operator_computes_the_same(case: Case) -> None:
    assert_rewritten(case, resize.REWRITES)


@pytest.mark.parametrize("case", [case for case in CASES if case.changes_opset], ids=case_id)
def test_another_opset_keeps_values_and_names(case: Case) -> None:
    assert_opsets_agree(case)


def test_sizes_computed_from_the_batch_become_scales() -> None:
    """What exporters write for interpolate(x, size=(12, 15))."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Slice", ["s", "zero", "two"], ["n"]),
        helper.make_node("Concat", ["n", "size"], ["sizes"], axis=0),
        helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], name="up", mode="linear"),
    ]
    graph = helper.make_graph(
        nodes,
        "sizes",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4, 7, 10])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [
            onnx.numpy_helper.from_array(v, k)
            for k, v in {"zero": ints(0), "two": ints(2), "size": ints(12, 15)}.items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    plain, _ = rewrites.rewrite(model, names=())
    assert [n.op_type for n in plain.graph.node] == ["Resize"]
    assert difference(model, plain, (4, 7, 10)) == 0
    result, applied = rewrites.rewrite(model)
    assert "resize-matmul" in {a.rewrite for a in applied}
    assert difference(model, result, (4, 7, 10)) <= TOLERANCE
