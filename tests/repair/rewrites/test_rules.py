"""Every equivalent form, against onnxruntime running the graph as it was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx.numpy_helper
import onnxruntime
import pytest
from onnx import TensorProto, helper
from safeconvert.repair import rewrites
from safeconvert.repair.rewrites.rules import convolution, max_pooling

Array = npt.NDArray[Any]
BATCH = 3
TO_BOOL = ("Greater", "Less", "GreaterOrEqual", "LessOrEqual", "Equal", "Not", "And", "Or", "Xor")
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Case:
    """One operator on a tensor of (N, *shape), constants as further inputs ("" for an absent one)."""

    id: str
    op: str
    attributes: dict[str, Any] = field(default_factory=dict)
    constants: tuple[Any, ...] = ()
    shape: tuple[int, ...] = (4, 7, 10)
    opset: int = 13
    names: tuple[str, ...] | None = None
    gone: str | None = None  # an attribute that must be gone; the operator itself where None
    stays: bool = False  # neither: only the values are checked
    static: bool = False
    positive: bool = False
    outputs: int = 1
    cast: int = 0  # the operator's type of the tensor where that is not float; float again after it
    place: int = 0  # which of the operator's inputs the tensor is


def noise(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def ints(*values: int) -> Array:
    return np.asarray(values, dtype=np.int64)


def build(case: Case, tail: bool = True) -> onnx.ModelProto:
    """The operator between two Muls, so that it touches neither border of the graph."""
    batch: int | str = BATCH if case.static else "N"
    names: list[str] = []
    initializers = []
    for i, constant in enumerate(case.constants):
        if isinstance(constant, str):
            names.append("")
            continue
        names.append(f"c{i}")
        initializers.append(onnx.numpy_helper.from_array(np.asarray(constant), f"c{i}"))
    names.insert(case.place, "typed" if case.cast else "mid")
    initializers.append(onnx.numpy_helper.from_array(np.asarray(1.5, np.float32), "gain"))
    first = "x"
    nodes = []
    if case.positive:
        nodes = [
            helper.make_node("Abs", ["x"], ["size"], name="size"),
            helper.make_node("Add", ["size", "gain"], ["p"], name="p"),
        ]
        first = "p"
    nodes.append(helper.make_node("Mul", [first, "gain"], ["mid"], name="before"))
    if case.cast:
        nodes.append(helper.make_node("Cast", ["mid"], ["typed"], name="before_cast", to=case.cast))
    results = [f"y{i}" for i in range(case.outputs)]
    nodes.append(helper.make_node(case.op, names, results, name="target", **case.attributes))
    integer = case.op in ("ArgMax", "ArgMin", "Shape")
    if case.cast or case.op in TO_BOOL:
        nodes.append(helper.make_node("Cast", ["y0"], ["number"], name="after_cast", to=TensorProto.FLOAT))
        results = ["number"]
    if tail and not integer:
        nodes += [helper.make_node("Mul", [r, "gain"], [f"out{i}"], name=f"after{i}") for i, r in enumerate(results)]
        finals = [f"out{i}" for i in range(case.outputs)]
    else:
        finals = results
    kind = TensorProto.INT64 if integer else TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "case",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, *case.shape])],
        [helper.make_tensor_value_info(n, kind, None) for n in finals],
        initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", case.opset)], ir_version=8)


def execute(model: onnx.ModelProto, x: Array) -> list[Array]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, {"x": x}))


def difference(model: onnx.ModelProto, other: onnx.ModelProto, shape: Sequence[int]) -> float:
    """Largest difference relative to the largest output; inf where shapes, counts or finiteness differ."""
    x = noise(BATCH, *shape, seed=1) * 2
    left, right = execute(model, x), execute(other, x)
    if len(left) != len(right) or not left:
        return float("inf")
    worst = 0.0
    for a, b in zip(left, right, strict=True):
        if a.shape != b.shape or a.size == 0 or not np.isfinite(a).all() or not np.isfinite(b).all():
            return float("inf")
        worst = max(worst, float(np.abs(a - b).max()) / max(float(np.abs(a).max()), 1e-6))
    return worst


def W(*shape: int) -> Array:
    return noise(*shape, seed=7) * np.float32(0.4)


def conv_cases() -> list[Case]:
    cases = []
    for mode in ("SAME_UPPER", "SAME_LOWER", "VALID"):
        for stride in ([1, 1], [2, 3]):
            a = {"auto_pad": mode, "strides": stride}
            cases += [
                Case(
                    f"conv-{mode}-{stride}",
                    "Conv",
                    a,
                    (W(5, 4, 3, 4), W(5)),
                    gone="auto_pad",
                    names=("auto-pad",),
                ),
                Case(f"maxpool-{mode}-{stride}", "MaxPool", {**a, "kernel_shape": [3, 2]}, gone="auto_pad"),
                Case(f"avgpool-{mode}-{stride}", "AveragePool", {**a, "kernel_shape": [3, 2]}, gone="auto_pad"),
                Case(f"lppool-{mode}-{stride}", "LpPool", {**a, "kernel_shape": [3, 3], "p": 3}, opset=11),
                Case(f"transposed-{mode}-{stride}", "ConvTranspose", a, (W(4, 5, 4, 3), W(5)), gone="auto_pad"),
            ]
    cases += [
        Case(
            "conv-pads",
            "Conv",
            {"pads": [1, 0, 2, 3], "strides": [2, 1]},
            (W(5, 4, 3, 3), W(5)),
            gone="pads!",
        ),
        Case(
            "conv-asymmetric",
            "Conv",
            {"pads": [1, 0, 2, 3]},
            (W(5, 4, 3, 3),),
            gone="pads!",
            names=rewrites.MISSING,
        ),
        Case("conv-pads-opset20", "Conv", {"pads": [1, 0, 2, 3]}, (W(5, 4, 3, 3),), gone="pads!", opset=20),
        Case("conv-group", "Conv", {"group": 2, "pads": [1, 1, 1, 1]}, (W(6, 2, 3, 3), W(6)), gone="group!"),
        Case("conv-depthwise2", "Conv", {"group": 4}, (W(8, 1, 3, 3), W(8)), gone="group!", opset=17),
        Case("conv-dilations", "Conv", {"dilations": [2, 3]}, (W(5, 4, 3, 2),), gone="dilations!"),
        Case(
            "conv-strides",
            "Conv",
            {"strides": [2, 3], "pads": [1, 1, 0, 0]},
            (W(5, 4, 3, 2),),
            gone="strides!",
            names=("conv-strides",),
        ),
        Case("conv-bias", "Conv", {}, (W(5, 4, 3, 2), W(5)), stays=True, names=("conv-bias",)),
        Case("conv-1d", "Conv", {"pads": [1, 2], "strides": [2]}, (W(5, 4, 3), W(5)), shape=(4, 11), stays=True),
        Case(
            "conv-3d",
            "Conv",
            {"pads": [1, 2, 0, 0, 1, 1], "group": 2},
            (W(6, 2, 3, 2, 2), W(6)),
            shape=(4, 5, 6, 7),
            gone="group!",
        ),
    ]
    t: list[tuple[str, dict[str, Any], Array]] = [
        ("asymmetric", {"pads": [0, 2, 2, 0]}, W(4, 5, 3, 3)),
        ("strided", {"pads": [1, 0, 2, 1], "strides": [2, 3]}, W(4, 5, 3, 4)),
        (
            "output-padding",
            {"output_padding": [1, 2], "strides": [2, 3], "pads": [1, 1, 1, 1]},
            W(4, 5, 3, 3),
        ),
        ("output-padding-only", {"output_padding": [1, 2], "strides": [2, 3]}, W(4, 5, 3, 3)),
        ("output-shape", {"output_shape": [14, 29], "strides": [2, 3]}, W(4, 5, 3, 3)),
        (
            "output-shape-upper",
            {"output_shape": [14, 29], "strides": [2, 3], "auto_pad": "SAME_UPPER"},
            W(4, 5, 3, 3),
        ),
        (
            "output-shape-lower",
            {"output_shape": [14, 29], "strides": [2, 3], "auto_pad": "SAME_LOWER"},
            W(4, 5, 3, 3),
        ),
        ("group-dilated", {"group": 2, "dilations": [2, 1]}, W(4, 3, 3, 2)),
        ("small-kernel", {"strides": [3, 2]}, W(4, 5, 2, 1)),
    ]
    for name, attributes, weight in t:
        bias = W(weight.shape[1] * attributes.get("group", 1))
        cases.append(Case(f"transposed-{name}", "ConvTranspose", attributes, (weight, bias), gone="pads!"))
        cases.append(
            Case(
                f"transposed-conv-{name}",
                "ConvTranspose",
                attributes,
                (weight, bias),
                names=("convtranspose-as-convolution",),
            )
        )
    cases.append(
        Case(
            "transposed-1d",
            "ConvTranspose",
            {"pads": [1, 0], "strides": [2]},
            (W(4, 5, 3), W(5)),
            shape=(4, 9),
            stays=True,
        )
    )
    return cases


def pool_cases() -> list[Case]:
    geometry: list[tuple[str, dict[str, Any]]] = [
        ("plain", {"kernel_shape": [3, 2], "strides": [1, 2]}),
        ("pads", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 0, 1, 2]}),
        ("ceil", {"kernel_shape": [3, 2], "strides": [2, 3], "ceil_mode": 1}),
        ("ceil-pads", {"kernel_shape": [3, 3], "strides": [2, 3], "ceil_mode": 1, "pads": [1, 1, 0, 1]}),
        ("ceil-pads-wide", {"kernel_shape": [2, 2], "strides": [3, 3], "ceil_mode": 1, "pads": [0, 1, 1, 1]}),
    ]
    cases = []
    for name, a in geometry:
        gone: dict[str, Any] = {"stays": True} if name == "plain" else {"gone": "pads!"}
        for opset in (11, 17):
            cases.append(Case(f"maxpool-{name}-{opset}", "MaxPool", a, opset=opset, **gone))
        cases.append(Case(f"maxpool-value-{name}", "MaxPool", a, names=(*rewrites.MISSING,), **gone))
        cases.append(Case(f"maxpool-slices-{name}", "MaxPool", a, names=("maxpool-slices",), stays=True))
        for include in (0, 1):
            b = {**a, "count_include_pad": include}
            for opset in (11, 17, 20):
                cases.append(Case(f"avgpool-{name}-{include}-{opset}", "AveragePool", b, opset=opset, **gone))
            cases.append(Case(f"avgpool-conv-{name}-{include}", "AveragePool", b, names=("averagepool-convolution",)))
    return [
        *cases,
        Case(
            "maxpool-dilated",
            "MaxPool",
            {"kernel_shape": [3, 2], "dilations": [2, 3], "strides": [1, 2], "pads": [1, 0, 1, 1]},
            gone="dilations",
        ),
        Case(
            "maxpool-dilated-ceil",
            "MaxPool",
            {"kernel_shape": [2, 2], "dilations": [2, 1], "strides": [2, 3], "ceil_mode": 1},
            gone="dilations",
        ),
        Case(
            "avgpool-dilated",
            "AveragePool",
            {"kernel_shape": [3, 2], "dilations": [2, 3], "pads": [1, 0, 1, 1]},
            opset=20,
        ),
        Case(
            "maxpool-1d",
            "MaxPool",
            {"kernel_shape": [3], "pads": [1, 0], "strides": [2]},
            shape=(4, 9),
            stays=True,
        ),
        Case(
            "avgpool-1d",
            "AveragePool",
            {"kernel_shape": [3], "pads": [1, 0], "strides": [2]},
            shape=(4, 9),
            stays=True,
        ),
        Case(
            "avgpool-3d",
            "AveragePool",
            {"kernel_shape": [3, 2, 2], "pads": [1, 0, 1, 0, 1, 1]},
            shape=(2, 5, 6, 7),
            gone="pads!",
        ),
        Case(
            "maxpool-3d",
            "MaxPool",
            {"kernel_shape": [3, 2, 2], "pads": [1, 0, 1, 0, 1, 1]},
            shape=(2, 5, 6, 7),
            gone="pads!",
        ),
        Case("lppool", "LpPool", {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1], "p": 2}),
        Case("globalavg", "GlobalAveragePool"),
        Case("globalmax", "GlobalMaxPool", opset=20),
        Case("globallp", "GlobalLpPool", {"p": 3}),
    ]


def pad_cases() -> list[Case]:
    p = ints(0, 0, 1, 2, 0, 0, 3, 0)
    zero, half = np.float32(0), np.float32(-0.5)
    return [
        *(Case(f"pad-{m}", "Pad", {"mode": m}, (p,)) for m in ("reflect", "edge")),
        Case("pad-edge-7", "Pad", {"mode": "edge", "pads": p.tolist()}, opset=7),
        Case(
            "pad-constant-7",
            "Pad",
            {"mode": "constant", "pads": p.tolist(), "value": -0.5},
            opset=7,
            stays=True,
        ),
        Case("pad-wrap", "Pad", {"mode": "wrap"}, (p,), opset=19),
        Case("pad-value", "Pad", {"mode": "constant"}, (p, half), stays=True),
        Case("pad-negative", "Pad", {}, (ints(0, 0, -1, 2, 0, 0, 3, -2), half), stays=True),
        Case("pad-channels", "Pad", {}, (ints(0, 2, 1, 0, 0, 1, 0, 1),), stays=True),
        Case("pad-channels-edge", "Pad", {"mode": "edge"}, (ints(0, 2, 1, 0, 0, 1, 0, 1),)),
        Case("pad-batch", "Pad", {}, (ints(1, 0, 1, 0, 0, 0, 0, 2),), stays=True),
        Case("pad-axes", "Pad", {}, (ints(1, 2, 0, 1), half, ints(-1, 2)), opset=18, stays=True),
        Case("pad-concat", "Pad", {}, (p,), names=("pad-zeros-as-concat",)),
        Case("pad-rank2", "Pad", {}, (ints(0, 2, 0, 1), zero), shape=(5,)),
    ]


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


def activation_cases() -> list[Case]:
    both: list[tuple[str, dict[str, Any], int]] = [
        ("Gelu", {}, 20),
        ("Gelu", {"approximate": "tanh"}, 20),
        ("HardSwish", {}, 14),
        ("HardSigmoid", {"alpha": 0.3}, 13),
        ("HardSigmoid", {}, 7),
        ("Mish", {}, 18),
        ("Celu", {"alpha": 0.7}, 13),
        ("Softplus", {}, 7),
        ("Softsign", {}, 13),
        ("ThresholdedRelu", {"alpha": 0.5}, 13),
        ("Elu", {"alpha": 0.6}, 7),
        ("Selu", {}, 17),
        ("LeakyRelu", {}, 13),
        ("Shrink", {"bias": 0.2, "lambd": 0.4}, 13),
        ("Erf", {}, 13),
        ("Abs", {}, 13),
        ("Neg", {}, 13),
    ]
    lo, hi = np.float32(-0.5), np.float32(0.7)
    return [
        *(Case(f"{op.lower()}-{i}", op, a, opset=o, shape=(3, 5, 4)) for i, (op, a, o) in enumerate(both)),
        Case("reciprocal", "Reciprocal", positive=True),
        Case("clip", "Clip", {}, (lo, hi)),
        Case("clip-max", "Clip", {}, ("", hi)),
        Case("clip-6", "Clip", {"min": -0.5, "max": 0.7}, opset=7),
        *(
            Case(f"prelu-{i}", "PRelu", {}, (W(*s),))
            for i, s in enumerate([(10,), (4, 1, 1), (1, 4, 1, 1), (7, 10), (1,)])
        ),
        Case("swish", "Swish", {"alpha": 0.7}, opset=24),
        *(Case(f"rms-{axis}", "RMSNormalization", {"axis": axis}, (W(10),), opset=23) for axis in (-1, 2)),
        Case("rms-channels", "RMSNormalization", {"axis": 1, "epsilon": 1e-3}, (W(4, 7, 10),), opset=23),
        Case("crop-pad", "CenterCropPad", {"axes": [2, -1]}, (ints(5, 13),), opset=18, stays=True),
        Case("crop-pad-all", "CenterCropPad", {}, (ints(BATCH, 2, 9, 10),), opset=18, static=True),
    ]


def normal_cases() -> list[Case]:
    return [
        Case("layernorm", "LayerNormalization", {"axis": -2}, (W(7, 10), W(7, 10)), opset=17),
        Case("layernorm-20", "LayerNormalization", {"epsilon": 1e-3}, (W(10),), opset=20),
        Case("groupnorm-18", "GroupNormalization", {"num_groups": 2}, (W(2), W(2)), opset=18),
        Case("groupnorm-21", "GroupNormalization", {"num_groups": 2}, (W(4), W(4)), opset=21),
        Case("instancenorm", "InstanceNormalization", {"epsilon": 1e-3}, (W(4), W(4))),
        Case("mvn", "MeanVarianceNormalization"),
        Case("lpnorm", "LpNormalization", {"axis": 1, "p": 2}),
        Case("lpnorm1", "LpNormalization", {"axis": -1, "p": 1}),
        *(
            Case(f"lrn-{n}", "LRN", {"size": n, "alpha": 0.02, "beta": 0.6, "bias": 1.3}, shape=(6, 5, 4))
            for n in (3, 5)
        ),
        Case(
            "batchnorm",
            "BatchNormalization",
            {"epsilon": 1e-3},
            (W(4), W(4), W(4), np.abs(W(4))),
            names=("batchnorm",),
        ),
        Case(
            "batchnorm-7",
            "BatchNormalization",
            {},
            (W(4), W(4), W(4), np.abs(W(4))),
            opset=7,
            names=("batchnorm",),
        ),
        Case(
            "batchnorm-conv",
            "BatchNormalization",
            {},
            (W(4), W(4), W(4), np.abs(W(4))),
            opset=17,
            names=("batchnorm-as-convolution",),
        ),
        Case("softmax-11", "Softmax", {"axis": 1}, opset=11, stays=True),
        Case("softmax-11-default", "Softmax", {}, opset=7, stays=True),
        Case("softmax-11-axis2", "Softmax", {"axis": 2}, opset=12, stays=True),
        Case("softmax-11-axis0", "Softmax", {"axis": 0}, opset=12, stays=True, static=True),
        Case("logsoftmax-11-axis-2", "LogSoftmax", {"axis": -2}, opset=11),
        Case("logsoftmax-11", "LogSoftmax", {"axis": 1}, opset=11),
        Case("logsoftmax", "LogSoftmax", {"axis": 2}),
        Case("softmax-last", "Softmax", {"axis": 1}, names=("softmax-last-axis",), stays=True),
        Case("softmax-exp", "Softmax", {"axis": 1}, opset=18, names=("softmax-exponentials",)),
        Case("hardmax-11", "Hardmax", {"axis": 1}, opset=11),
        Case("hardmax-11-axis2", "Hardmax", {"axis": 2}, opset=11),
        *(Case(f"hardmax-{axis}", "Hardmax", {"axis": axis}) for axis in (1, -3, -1)),
    ]


def reduce_cases() -> list[Case]:
    kinds = ("L1", "L2", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare", "LogSum")
    cases = []
    for k in kinds:
        more: dict[str, Any] = {
            "positive": k == "LogSum",
            "stays": k in ("Max", "Mean", "Sum"),
            "shape": (2, 3, 4),
        }
        cases.append(Case(f"reduce-{k}-11", f"Reduce{k}", {"axes": [-1, 1], "keepdims": 0}, opset=11, **more))
        cases.append(Case(f"reduce-{k}-18", f"Reduce{k}", {"keepdims": 0}, (ints(-1, 2),), opset=18, **more))
    return [
        *cases,
        Case("reduce-all", "ReduceMean", {"keepdims": 1}, static=True, stays=True),
        *(Case(f"reduce-one-{k}", f"Reduce{k}", {}, static=True, stays=True) for k in ("Max", "L2")),
        Case("reduce-noop", "ReduceSum", {"noop_with_empty_axes": 1}, opset=13),
        Case("reduce-matmul", "ReduceMean", {"axes": [3]}, names=("reduce-as-matmul",)),
        Case("argmax", "ArgMax", {"axis": -3}, stays=True),
        Case("argmin", "ArgMin", {"axis": 1, "keepdims": 0}),
        Case("argmin-default", "ArgMin", static=True),
        Case("argmax-last", "ArgMax", {"axis": -2, "select_last_index": 1}, gone="select_last_index"),
        Case("argmin-last", "ArgMin", {"axis": 1, "select_last_index": 1, "keepdims": 0}),
    ]


def arithmetic_cases() -> list[Case]:
    integer, whole, yes = TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL
    row = np.asarray([2, -3, 5, -7, 1, -1, 4, 9, -2, 3])
    cut = W(4, 1, 1)
    mask = np.arange(10) % 3 == 0
    tall = np.arange(4).reshape(4, 1, 1) > 1
    return [
        *(Case(op.lower(), op) for op in ("Ceil", "Sign", "Round", "Sinh", "Cosh", "Sin", "Cos", "Atan")),
        Case("mod-float", "Mod", {"fmod": 1}, (row.astype(np.float32) / 3,)),
        Case("mod-float-channel", "Mod", {"fmod": 1}, (cut,)),
        Case("mod-int", "Mod", {}, (row.astype(np.int32),), cast=integer),
        Case("mod-int-fmod", "Mod", {"fmod": 1}, (row.astype(np.int32),), cast=integer),
        Case("div-int", "Div", {}, (row.astype(np.int32),), cast=integer, opset=14, stays=True),
        Case("div-int-left", "Div", {}, (np.int32(100),), positive=True, cast=integer, place=1, stays=True),
        *(Case(f"{op.lower()}", op, {}, (cut,), opset=16) for op in TO_BOOL[:5]),
        *(Case(f"{op.lower()}-int", op, {}, (row,), cast=whole) for op in TO_BOOL[:5]),
        *(Case(f"{op.lower()}", op, {}, (mask,), cast=yes) for op in ("And", "Or", "Xor")),
        Case("not", "Not", {}, cast=yes),
        Case("where-condition", "Where", {}, (W(10), cut), cast=yes),
        Case("where-zero", "Where", {}, (W(7, 1), np.float32(0)), cast=yes),
        Case(
            "where-zeros-wide",
            "Where",
            {},
            (np.zeros((4, 7, 10), np.float32), np.float32(1)),
            cast=yes,
            shape=(4, 7, 1),
        ),
        Case("where-zeros-rank", "Where", {}, (np.zeros((1, 1, 1, 1), np.float32), W(10)), cast=yes, shape=(10,)),
        Case(
            "where-zeros-one", "Where", {}, (np.zeros((1, 4, 1, 10), np.float32), W(7, 1)), cast=yes, shape=(4, 1, 10)
        ),
        Case("where-constant", "Where", {}, (mask, W(4, 1, 1)), place=1),
        Case("where-constant-zero", "Where", {}, (tall, np.float32(0)), place=2),
        Case("where-constant-wide", "Where", {}, (np.ones((4, 7, 10), bool), np.float32(0)), place=1, shape=(4, 7, 1)),
        Case("cumsum", "CumSum", {}, (np.int64(2),)),
        Case("cumsum-last", "CumSum", {"exclusive": 1}, (np.int32(-1),), opset=14),
        Case("cumsum-channels", "CumSum", {"reverse": 1}, (ints(1),), opset=11),
        Case("cumsum-both", "CumSum", {"reverse": 1, "exclusive": 1}, (np.int64(-2),)),
        Case("trilu", "Trilu", opset=14),
        Case("trilu-low", "Trilu", {"upper": 0}, (np.int64(-2),), opset=14),
        Case("trilu-high", "Trilu", {"upper": 1}, (np.int64(3),), opset=18),
        Case("power-of-constant", "Pow", {}, (np.abs(cut) + np.float32(0.5),), place=1),
        Case("power-of-number", "Pow", {}, (np.float32(2),), place=1),
    ]


def selection_cases() -> list[Case]:
    chosen = np.random.default_rng(3)
    elements = chosen.integers(-10, 10, (1, 4, 7, 6)).repeat(BATCH, 0)
    places = np.asarray([[0, 3, -1], [2, 0, 6], [1, -2, 5]])
    updates = noise(3, 10)
    one: dict[str, Any] = {"static": True}
    return [
        Case("onehot", "OneHot", {"axis": 1}, (np.int64(5), W(2)), shape=(4, 3), cast=TensorProto.INT64),
        Case("onehot-last", "OneHot", {}, (ints(9), ints(0, 1)), shape=(4,), cast=TensorProto.INT64),
        Case("compress", "Compress", {"axis": -2}, (np.arange(5) % 2 == 0,)),
        Case("compress-flat", "Compress", {}, (np.arange(30) % 7 == 0,), **one),
        Case("gather-elements", "GatherElements", {"axis": 3}, (elements,), **one),
        Case("gather-nd", "GatherND", {"batch_dims": 1}, (ints(2, 0, -1)[None, :, None].repeat(BATCH, 0),), **one),
        Case("scatter-nd", "ScatterND", {}, (places, updates), **one),
        *(
            Case(f"scatter-nd-{how}", "ScatterND", {"reduction": how}, (places, updates), opset=16, **one)
            for how in ("add", "mul")
        ),
        Case(
            "scatter-elements",
            "ScatterElements",
            {"axis": -1},
            (np.arange(10)[None, None, None] % 7 - 3, noise(1, 1, 1, 10)),
            opset=16,
            **one,
        ),
        Case(
            "scatter-elements-add",
            "ScatterElements",
            {"axis": 1, "reduction": "add"},
            (np.arange(10)[None, None, None] % 4, noise(1, 1, 1, 10)),
            opset=16,
            **one,
        ),
    ]


def product_cases() -> list[Case]:
    einsum: list[tuple[str, tuple[Array, ...], dict[str, Any]]] = [
        ("nchw,cd->ndhw", (W(4, 6),), {}),
        ("nchw->nwch", (), {}),
        ("nchw->nc", (), {}),
        ("nchw,cwd->nchd", (W(4, 10, 3),), {}),
        ("ncw,cwd->ncd", (W(7, 10, 3),), {"shape": (7, 10)}),
        ("nchw,chw->nc", (W(4, 7, 10),), {}),
        ("nchw,cdhe->nwde", (W(4, 5, 7, 2),), {}),
        ("nchw,c->nchw", (W(4),), {}),
        ("n...w,wk", (W(10, 3),), {}),
        ("...w,vw->...v", (W(3, 10),), {}),
        ("nc,d->ncd", (W(5),), {"shape": (4,)}),
        ("nchw,cd,hde->nwe", (W(4, 6), W(7, 6, 2)), {}),
        ("a,nab->nb", (W(7),), {"shape": (7, 10), "place": 1}),
        ("nchw,nkhw->nck", (W(BATCH, 3, 7, 10),), {"static": True}),
    ]
    return [
        *(Case(f"einsum-{e}", "Einsum", {"equation": e}, c, **{"opset": 13, **m}) for e, c, m in einsum),
        Case("matmul-stack", "MatMul", {}, (W(4, 10, 5),), stays=True),
        Case("matmul-stacks", "MatMul", {}, (W(1, 2, 3, 10, 5),), shape=(2, 3, 7, 10), stays=True),
        Case("matmul-stack-wide", "MatMul", {}, (W(4, 10, 5),), shape=(1, 7, 10), stays=True),
        Case("gemm-constant-left", "Gemm", {"transA": 1, "transB": 1}, (W(6, 5),), shape=(6,), place=1, gone="transA!"),
    ]


def other_cases() -> list[Case]:
    wide: dict[str, Any] = {"shape": (6,)}
    return [
        Case("gemm", "Gemm", {"alpha": 0.5, "beta": 2.0, "transB": 1}, (W(5, 6), W(5)), gone="alpha!", **wide),
        Case(
            "gemm-scalar",
            "Gemm",
            {"alpha": 0.5, "beta": 2.0},
            (W(6, 5), W(1)),
            opset=7,
            gone="alpha!",
            **wide,
        ),
        Case("gemm-column", "Gemm", {"beta": 2.0}, (W(6, 5), W(BATCH, 1)), static=True, **wide),
        Case("gemm-transA", "Gemm", {"transA": 1}, (W(BATCH, 5), W(5)), static=True, gone="transA!", **wide),
        Case("gemm-matmul", "Gemm", {"transB": 1}, (W(5, 6), W(5)), names=("gemm-as-matmul",), **wide),
        *(
            Case(f"{op.lower()}-row", op, {}, (W(10) + 2,), stays=True)
            for op in ("Add", "Sub", "Mul", "Div", "Min", "Max")
        ),
        Case("mul-batchnorm", "Mul", {}, (W(4, 1, 1),), names=("channel-constant-as-batchnorm",)),
        Case("add-convolution", "Add", {}, (W(1, 4, 1, 1),), names=("channel-constant-as-convolution",)),
        Case("sum", "Sum", {}, (W(10), W(4, 1, 1))),
        Case("mean", "Mean", {}, (W(10), W(4, 1, 1))),
        Case("max3", "Max", {}, (W(10), W(4, 1, 1)), stays=True),
        Case("identity", "Identity"),
        Case("dropout-7", "Dropout", {"ratio": 0.4}, opset=7),
        Case("dropout", "Dropout", {}, (np.float32(0.4),)),
        Case("cast", "Cast", {"to": TensorProto.FLOAT}),
        Case("flatten", "Flatten", {"axis": 2}, static=True),
        Case("flatten-0", "Flatten", {"axis": 0}),
        Case("flatten-reshape", "Flatten", {}, names=("flatten-as-reshape",)),
        Case("reshape-0", "Reshape", {}, (ints(0, 0, -1),), stays=True),
        Case("reshape-allowzero", "Reshape", {"allowzero": 1}, (ints(-1, 28, 10),), opset=17, gone="allowzero"),
        Case("squeeze-11", "Squeeze", {"axes": [1]}, shape=(1, 5, 4), opset=11),
        Case("unsqueeze", "Unsqueeze", {}, (ints(2, -1),)),
        Case("expand", "Expand", {}, (ints(1, 4, 1, 10),), shape=(4, 7, 1)),
        Case("tile", "Tile", {}, (ints(1, 2, 1, 3),)),
        Case("dts-dcr", "DepthToSpace", {"blocksize": 2}, shape=(8, 3, 5)),
        Case("dts-crd", "DepthToSpace", {"blocksize": 2, "mode": "CRD"}, shape=(8, 3, 5)),
        Case("std", "SpaceToDepth", {"blocksize": 2}, shape=(3, 4, 6)),
        Case("split", "Split", {"axis": 1}, (ints(1, 3),), outputs=2),
        Case("split-11", "Split", {"axis": -1, "split": [4, 6]}, opset=11, outputs=2),
        Case("split-18", "Split", {"axis": 3, "num_outputs": 3}, opset=18, outputs=3),
        Case("slice-9", "Slice", {"starts": [-3, 1], "ends": [2000, -1], "axes": [3, 2]}, opset=9, stays=True),
        Case("slice-steps", "Slice", {}, (ints(1, 0), ints(9, 100), ints(-1, 1), ints(3, 2)), stays=True),
        Case("slice-back", "Slice", {}, (ints(-1), ints(-1000), ints(2), ints(-2)), stays=True),
        Case("gather", "Gather", {"axis": 2}, (ints(3, -1, 0, 1),)),
        Case("gather-scalar", "Gather", {"axis": 1}, (np.int64(2),)),
        Case("greaterequal-body", "CastLike", {}, (np.float32(1),), opset=15, stays=True),
    ]


CASES = [
    *conv_cases(),
    *pool_cases(),
    *pad_cases(),
    *resize_cases(),
    *activation_cases(),
    *normal_cases(),
    *reduce_cases(),
    *arithmetic_cases(),
    *selection_cases(),
    *product_cases(),
    *other_cases(),
]


def is_plain(node: onnx.NodeProto, attribute: str) -> bool:
    """Whether the attribute is absent or says nothing."""
    for found in node.attribute:
        if found.name == attribute.rstrip("!"):
            value = helper.get_attribute_value(found)
            if not attribute.endswith("!"):
                return False
            empty = {0} if attribute.startswith("pads") or attribute == "transA!" else {1}
            return set(value if isinstance(value, list) else [value]) <= empty
    return True


@pytest.mark.parametrize("case", CASES, ids=[c.id for c in CASES])
def test_an_equivalent_form_computes_the_same(case: Case) -> None:
    model = build(case)
    result, applied = rewrites.rewrite(model, names=case.names)
    onnx.checker.check_model(result, full_check=True)
    assert [o.name for o in result.graph.output] == [o.name for o in model.graph.output]
    left = [n for n in result.graph.node if n.op_type == case.op]
    if case.gone is not None:
        assert all(is_plain(n, case.gone) for n in left), left
    elif not case.stays:
        assert not [n for n in left if not n.name.startswith(("before", "after"))], applied
    assert difference(model, result, case.shape) <= TOLERANCE


@pytest.mark.parametrize("opset", [13, 17])
def test_lowering_keeps_every_value(opset: int) -> None:
    for case in CASES:
        if case.opset <= opset:
            continue
        model = build(case)
        lower = rewrites.prepare(model, opset)
        assert {i.version for i in lower.opset_import if i.domain == ""} == {opset}
        onnx.checker.check_model(lower, full_check=True)
        assert difference(model, lower, case.shape) <= TOLERANCE, case.id


def test_raising_keeps_every_node_name() -> None:
    for case in CASES:
        if case.opset < 13:
            names = [n.name for n in rewrites.prepare(build(case), None).graph.node]
            assert {"before", "after0"} <= set(names), case.id
            assert any(n.split("/")[0] == "target" for n in names) or case.op == "Dropout", case.id


def test_an_output_of_the_graph_keeps_its_name_when_its_node_is_replaced() -> None:
    for case in CASES:
        if case.id in ("identity", "clip", "globalavg", "split", "maxpool-pads-17", "cast", "squeeze-11"):
            model = build(case, tail=False)
            result, _ = rewrites.rewrite(model)
            assert [o.name for o in result.graph.output] == [o.name for o in model.graph.output]
            assert difference(model, result, case.shape) <= TOLERANCE, case.id


def test_a_wrong_rewrite_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison of these tests, on the fault that converters really have: zeros around a max."""
    original = max_pooling.fill_border

    def zeros(at: Any, x: Any, sizes: Any, begins: Any, ends: Any, value: float) -> Any:
        return original(at, x, sizes, begins, ends, 0.0)

    case = next(c for c in CASES if c.id == "maxpool-pads-17")
    monkeypatch.setattr(max_pooling, "fill_border", zeros)
    result, _ = rewrites.rewrite(build(case))
    assert difference(build(case), result, case.shape) > 100 * TOLERANCE


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        (
            Case(
                "",
                "Resize",
                {"mode": "linear", "antialias": 1, "coordinate_transformation_mode": "tf_crop_and_resize"},
                (np.zeros(8, np.float32), np.asarray([1, 1, 0.5, 0.5], np.float32)),
                opset=18,
            ),
            "antialias of a region of interest",
        ),
        (
            Case("", "MaxPool", {"kernel_shape": [2, 2], "pads": [1, 0, 0, 0]}, outputs=2),
            "the Indices output counts in the unpadded tensor",
        ),
        (Case("", "CumSum", {}, (np.int64(0),)), "the axis is not static, or too long for a matrix"),
        (Case("", "Mod", {}, (np.int64(3),), cast=TensorProto.INT64), "integers of 64 bits, which no float holds"),
        (Case("", "Pow", {}, (np.float32(-2),), place=1), "a base that is not above 0"),
        (Case("", "Compress", {"axis": 1}, (np.zeros(4, bool),)), "nothing is kept"),
        (Case("", "Einsum", {"equation": "nchh->nch"}, shape=(4, 7, 7)), "a diagonal"),
        (
            Case("", "Einsum", {"equation": "nchw,nd->cdhw"}, (W(BATCH, 5),)),
            "axes that may be broadcast",
        ),
        (
            Case("", "Where", {}, (np.float32(np.inf), np.float32(1)), cast=TensorProto.BOOL),
            "an infinite constant by a computed condition",
        ),
        (
            Case("", "AveragePool", {"kernel_shape": [2, 2], "auto_pad": "VALID", "ceil_mode": 1}),
            "auto_pad VALID with ceil_mode is read differently by different runtimes",
        ),
        (Case("", "Pad", {"mode": "edge"}, (ints(0, 0, -1, 0, 0, 0, 1, 0),)), "negative pads in mode edge"),
        (Case("", "Tile", {}, (ints(1, 200, 1, 1),)), "computed or many repeats"),
    ],
)
def test_a_refusal_says_why(case: Case, reason: str) -> None:
    model = build(case)
    if case.op == "MaxPool":
        model.graph.output[1].type.tensor_type.elem_type = TensorProto.FLOAT
        cast = helper.make_node("Cast", ["y1"], ["c"], name="c", to=TensorProto.FLOAT)
        model.graph.node.insert(2, cast)
        model.graph.node[-1].input[0] = "c"
    assert reason in {s.reason for s in rewrites.refusals(model) if s.node == "target"}


def _two_pools() -> onnx.ModelProto:
    nodes = [
        helper.make_node("MaxPool", ["x"], ["a"], name=name, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        for name in ("one",)
    ]
    nodes.append(helper.make_node("MaxPool", ["a"], ["y"], kernel_shape=[3, 3], pads=[1, 0, 1, 0]))
    graph = helper.make_graph(
        nodes,
        "two",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2, 6, 9])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def test_only_the_given_nodes_are_rewritten() -> None:
    model = _two_pools()
    assert [n.name for n in rewrites.named(model).graph.node] == ["one", "MaxPool:y"]
    for name in ("one", "MaxPool:y"):
        result, applied = rewrites.rewrite(model, nodes=[name])
        assert {a.node for a in applied} == {name}
        assert sum(n.op_type == "Pad" for n in result.graph.node) == 1
        assert difference(model, result, (2, 6, 9)) <= TOLERANCE
        origins = {p.value for n in result.graph.node for p in n.metadata_props if p.key == "safeconvert.origin"}
        assert origins == {"one", "MaxPool:y"}


def test_the_model_given_is_left_alone_and_the_result_is_the_same_each_time() -> None:
    model = _two_pools()
    before = model.SerializeToString()
    first, second = rewrites.rewrite(model)[0], rewrites.rewrite(model)[0]
    assert model.SerializeToString() == before
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True)


def test_rewriting_twice_changes_nothing_more() -> None:
    for case in CASES[::5]:
        result, _ = rewrites.rewrite(build(case))
        assert not rewrites.rewrite(result)[1], case.id


def test_every_rewrite_is_named_once_and_every_group_names_rewrites() -> None:
    names = [r.name for r in rewrites.REWRITES]
    assert len(names) == len(set(names))
    assert {r.fault_type for r in rewrites.REWRITES} <= {"LH", "CG", "TSS", "WB", "ID"}
    grouped = {*rewrites.PLAIN, *rewrites.MISSING, *rewrites.ALTERNATIVES, *rewrites.ON_REQUEST}
    assert grouped == set(names)
    with pytest.raises(ValueError, match="no rewrite is called"):
        rewrites.rewrite(_two_pools(), names=["magic"])


def test_what_has_no_form_at_an_opset_is_named() -> None:
    case = Case("", "BitShift", {}, ())
    model = build(Case("", "Identity", opset=20))
    grid = helper.make_node("DFT", ["mid", "", ""], ["z"], name="dft")
    model.graph.node.append(grid)
    model.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, None))
    with pytest.raises(rewrites.NotConvertible, match="DFT cannot be taken from opset 20 to 13"):
        rewrites.prepare(model, 13)
    with pytest.raises(ValueError, match="the lowest that can be prepared is 13"):
        rewrites.prepare(build(case), 11)


def test_a_log_of_a_sigmoid_is_made_stable_only_on_request() -> None:
    model = build(Case("", "Sigmoid"), tail=False)
    model.graph.node.append(helper.make_node("Log", ["y0"], ["z"], name="log"))
    model.graph.output[0].name = "z"
    far = np.full((BATCH, 4, 7, 10), -200, np.float32)
    assert not any(a.rewrite == "stable-logsigmoid" for a in rewrites.rewrite(model)[1])
    result, _ = rewrites.rewrite(model, names=rewrites.ON_REQUEST)
    assert np.isneginf(execute(model, far)[0]).all()
    np.testing.assert_allclose(execute(result, far)[0], -300, rtol=1e-6)
    assert difference(model, result, (4, 7, 10)) <= 100 * TOLERANCE  # the original itself rounds


def alone(
    op: str, attributes: dict[str, Any], x: Array, *constants: Array, place: int = 0, outputs: int = 1
) -> onnx.ModelProto:
    """The operator by itself on x, in opset 16."""
    names = [f"y{i}" for i in range(outputs)]
    inputs = [f"c{i}" for i in range(len(constants))]
    inputs.insert(place, "x")
    kind = helper.np_dtype_to_tensor_dtype(x.dtype)
    graph = helper.make_graph(
        [helper.make_node(op, inputs, names, name="target", **attributes)],
        "alone",
        [helper.make_tensor_value_info("x", kind, ["N", *x.shape[1:]])],
        [onnx.ValueInfoProto(name=n) for n in names],
        [onnx.numpy_helper.from_array(c, f"c{i}") for i, c in enumerate(constants)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)
    result = onnx.shape_inference.infer_shapes(model)
    assert result.graph.output[0].type.HasField("tensor_type")
    return result


HALVES = (np.arange(-41, 42, dtype=np.float32) / 2).reshape(-1, 1)
NEAR = np.concatenate([np.nextafter(HALVES, np.float32(side)) for side in (-100, 100)])
TINY = np.asarray([[0], [1e-30], [-1e-30], [1e-38], [8388607.5], [-4194303.5], [3e38], [-3e38]], np.float32)
FLOATS = np.concatenate([HALVES, NEAR, TINY])
WHOLE = np.asarray([*range(-20, 21), 2**31 - 1, -(2**31), 2**31 - 2, 46341 * 46340, 49 * 7, -49 * 7], np.int32)


@pytest.mark.parametrize(
    ("op", "attributes", "x", "constants", "place"),
    [
        *((op, {}, FLOATS, (), 0) for op in ("Ceil", "Sign", "Round")),
        *(
            (op, {}, FLOATS, (np.float32(edge),), 0)
            for op in ("Greater", "Less", "GreaterOrEqual", "LessOrEqual", "Equal")
            for edge in (0, 0.5, 1e-30)
        ),
        *(
            (op, {}, WHOLE.astype(kind)[:, None] * kind(far), (kind(-7 * far),), 0)
            for op in ("Greater", "LessOrEqual", "Equal")
            for kind, far in ((np.int32, 1), (np.int64, 2**32))
        ),
        *(("Mod", {"fmod": 1}, FLOATS[:-4], (np.float32(y),), 0) for y in (0.3, -1.7, 1000.1, 2, 0.0078125)),
        *(("Mod", {"fmod": f}, WHOLE[:, None], (np.int32(y),), 0) for f in (0, 1) for y in (7, -7, 1, 49, 46341)),
        *(("Div", {}, WHOLE[:, None], (np.int32(y),), 0) for y in (7, -7, 1, 49, 46341)),
        ("Div", {}, WHOLE[WHOLE != 0][:, None], (np.int32(2**31 - 1),), 1),
        *((op, {"axis": 1}, np.stack([WHOLE, WHOLE[::-1], 0 * WHOLE, WHOLE % 5]), (), 0) for op in ("ArgMin",)),
        *(
            (op, {"axis": 1, "select_last_index": last}, np.float32([[1, 3, 3, 1], [2, 2, 2, 2], [-1, -3, -3, -2]]),
             (), 0)
            for op in ("ArgMax", "ArgMin")
            for last in (0, 1)
        ),
        ("Hardmax", {}, np.float32([[1, 3, 3, 1], [2, 2, 2, 2], [-1, -3, -3, -1]]), (), 0),
        ("OneHot", {}, np.asarray([0, 3, -1, -4, 4, -5, 2**40]), (np.int64(4), np.float32([2, 7])), 0),
    ],
)  # fmt: skip
def test_what_jumps_or_counts_is_equal_to_the_last_bit(
    op: str, attributes: dict[str, Any], x: Array, constants: tuple[Array, ...], place: int
) -> None:
    model = alone(op, attributes, x, *(np.asarray(c) for c in constants), place=place)
    result, applied = rewrites.rewrite(model)
    assert {a.rewrite for a in applied} - set(rewrites.CANONICAL)
    wanted, got = execute(model, x)[0], execute(result, x)[0]
    assert wanted.dtype == got.dtype
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("op", ["Sinh", "Cosh"])
def test_hyperbolic_functions_lose_nothing_near_zero_or_far_out(op: str) -> None:
    x = np.asarray([[1e-6], [-1e-3], [0.3], [-1], [1.001], [5], [-30], [88.6], [89.3]], np.float32)
    model = alone(op, {}, x)
    got = execute(rewrites.rewrite(model)[0], x)[0]
    np.testing.assert_allclose(got, getattr(np, op.lower())(x.astype(np.float64)), rtol=2e-6)


def test_waves_are_right_far_from_zero_and_angles_near_it() -> None:
    x = np.concatenate([np.linspace(-3000, 3000, 4001), np.linspace(-4, 4, 801)]).astype(np.float32)[:, None]
    for op in ("Sin", "Cos", "Atan"):
        got = execute(rewrites.rewrite(alone(op, {}, x))[0], x)[0]
        np.testing.assert_allclose(got, getattr(np, op.lower().replace("at", "arct"))(x.astype(float)), atol=4e-7)
    small = np.asarray([[1e-20], [-1e-6], [0.01]], np.float32)
    for op in ("Sin", "Tan", "Atan"):
        got = execute(rewrites.rewrite(alone(op, {}, small))[0], small)[0]
        wanted = getattr(np, op.lower().replace("at", "arct"))(small.astype(float))
        np.testing.assert_allclose(got, wanted, rtol=1e-6)


@pytest.mark.parametrize("attributes", [{}, {"largest": 0}, {"axis": 1}, {"axis": -2, "largest": 0}])
def test_the_largest_come_in_order_with_their_positions(attributes: dict[str, Any]) -> None:
    x = np.float32([[1, 5, 5, -2, 5, 1], [0, 0, 0, 0, 0, 0], [-1, -3e38, 3e38, -7, 2, -7], [2, 5, 1, 1, -1, 0]])
    for shape in ((1, 4, 6), (4, 6, 1), (2, 6, 2)):
        data = np.ascontiguousarray(x.reshape(shape))
        if attributes.get("axis", -1) == -1 and shape[-1] < 2:
            continue
        model = alone("TopK", attributes, data, ints(2), outputs=2)
        result, _ = rewrites.rewrite(model)
        assert not [n for n in result.graph.node if n.op_type == "TopK"]
        for wanted, got in zip(execute(model, data), execute(result, data), strict=True):
            np.testing.assert_array_equal(got, wanted)


def test_a_mask_may_cut_off_infinities() -> None:
    """What attention writes: Where(constant mask, x, -inf), and Trilu of what holds an infinity."""
    x = noise(BATCH, 4, 4)
    mask = np.tril(np.ones((4, 4), bool))
    model = alone("Where", {}, x, mask, np.float32(-np.inf), place=1)
    result, _ = rewrites.rewrite(model)
    assert not [n for n in result.graph.node if n.op_type == "Where"]
    np.testing.assert_array_equal(execute(result, x)[0], np.where(mask, x, -np.inf))
    x[:, 0, 3] = np.inf
    model = alone("Trilu", {"upper": 0}, x)
    result, _ = rewrites.rewrite(model, names=rewrites.MISSING)
    np.testing.assert_array_equal(execute(result, x)[0], np.tril(x))


def _chain(steps: Sequence[tuple[str, dict[str, Any], tuple[Array, ...]]], shape: tuple[int, ...]) -> onnx.ModelProto:
    """Operators one after the other, with constants as further inputs; `last` puts them before the tensor."""
    nodes, initializers, value = [], [], "x"
    for i, (op, attributes, constants) in enumerate(steps):
        names = [f"c{i}_{j}" for j in range(len(constants))]
        initializers += [onnx.numpy_helper.from_array(c, n) for c, n in zip(constants, names, strict=True)]
        last = attributes.pop("last", False)
        inputs = [*names, value] if last else [value, *names]
        value = f"v{i}"
        nodes.append(helper.make_node(op, inputs, [value], name=f"{op}{i}", **attributes))
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *shape])],
        [helper.make_tensor_value_info(value, TensorProto.FLOAT, None)],
        initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


@pytest.mark.parametrize(
    ("steps", "shape"),
    [
        ([("Transpose", {"perm": [1, 0]}, ()), ("Gemm", {"transA": 1}, (W(6, 5), W(5)))], (6,)),
        (
            [
                ("Gemm", {"transB": 1, "last": True}, (W(5, 6),)),
                ("Add", {}, (W(5, 1),)),
                ("Transpose", {}, ()),
            ],
            (6,),
        ),
        (
            [
                ("Transpose", {}, ()),
                ("Sub", {"last": True}, (W(5, 1),)),
                ("Transpose", {"perm": [2, 0, 1]}, ()),
            ],
            (5, 6),
        ),
        ([("Transpose", {}, ()), ("Tanh", {}, ()), ("Transpose", {"perm": [3, 1, 2, 0]}, ())], (4, 5, 6)),
        ([("Reshape", {}, (ints(-1, 10),)), ("Reshape", {}, (ints(-1, 70, 4),))], (4, 7, 10)),
        ([("Flatten", {"axis": 2}, ()), ("Reshape", {}, (ints(-1, 280),))], (4, 7, 10)),
        (
            [
                ("Flatten", {"axis": 2}, ()),
                ("MatMul", {}, (W(70, 5),)),
                ("Add", {}, (W(5),)),
                ("Tanh", {}, ()),
                ("Mul", {"last": True}, (W(1, 1),)),
                ("Softmax", {"axis": 1}, ()),
                ("Reshape", {}, (ints(-1, 20),)),
            ],
            (4, 7, 10),
        ),
        (
            [
                ("Reshape", {}, (ints(-1, 10),)),
                ("Gemm", {"transB": 1}, (W(3, 10), W(3))),
                ("Relu", {}, ()),
                ("Gemm", {}, (W(3, 6),)),
                ("Reshape", {}, (ints(-1, 4, 7, 6),)),
            ],
            (4, 7, 10),
        ),
    ],
)
def test_a_batch_that_only_travels_stays_first(
    steps: list[tuple[str, dict[str, Any], tuple[Array, ...]]], shape: tuple[int, ...]
) -> None:
    model = _chain([(op, dict(attributes), constants) for op, attributes, constants in steps], shape)
    result, _ = rewrites.rewrite(model)
    onnx.checker.check_model(result, full_check=True)
    for node in result.graph.node:
        for attribute in node.attribute:
            assert attribute.name != "perm" or attribute.ints[0] == 0, result.graph.node
    fixed = onnx.ModelProto.FromString(result.SerializeToString())
    fixed.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 11
    del fixed.graph.value_info[:]
    inferred = onnx.shape_inference.infer_shapes(fixed, data_prop=True).graph.value_info
    firsts = {v.name: v.type.tensor_type.shape.dim[0].dim_value for v in inferred}
    assert all(firsts[name] == 11 for n in result.graph.node[:-1] for name in n.output), firsts
    assert difference(model, result, shape) <= TOLERANCE


def test_shapes_computed_from_the_batch_become_constants() -> None:
    """What torch exporters write for x.view(x.shape[0], -1, 5)."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["n"], axis=0),
        helper.make_node("Unsqueeze", ["n", "axes"], ["n1"]),
        helper.make_node("Concat", ["n1", "rest"], ["shape"], axis=0),
        helper.make_node("Reshape", ["x", "shape"], ["r"], name="view"),
        helper.make_node("Relu", ["r"], ["y"], name="act"),
    ]
    constants = {"zero": np.int64(0), "axes": ints(0), "rest": ints(4, 14, 5)}
    graph = helper.make_graph(
        nodes,
        "computed",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4, 7, 10])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    result, _ = rewrites.rewrite(model, names=())
    assert [n.op_type for n in result.graph.node] == ["Reshape", "Relu"]
    shape = next(i for i in result.graph.initializer if i.name == result.graph.node[0].input[1])
    assert onnx.numpy_helper.to_array(shape).tolist() == [-1, 4, 14, 5]
    assert difference(model, result, (4, 7, 10)) == 0


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


def _groups(model: onnx.ModelProto) -> list[int]:
    return [a.i for n in model.graph.node for a in n.attribute if a.name == "group"]


def test_a_depthwise_conv_with_one_filter_a_channel_stays_unless_asked_for() -> None:
    case = Case("", "Conv", {"group": 4}, (W(4, 1, 3, 3), W(4)))
    assert _groups(rewrites.rewrite(build(case))[0]) == [4]
    assert _groups(rewrites.rewrite(build(case), names=["conv-depthwise"])[0]) == [1]


@pytest.mark.parametrize(("limit", "kinds"), [(287, ["Conv"] * 2), (20, ["Slice"] * 4 + ["Conv"] * 4 + ["Concat"])])
def test_large_groups_are_not_made_dense(monkeypatch: pytest.MonkeyPatch, limit: int, kinds: list[str]) -> None:
    monkeypatch.setattr(convolution, "MAX_DENSE_ELEMENTS", limit)
    case = Case("", "Conv", {"group": 4, "strides": [2, 1]}, (W(8, 1, 3, 3), W(8)))
    result, _ = rewrites.rewrite(build(case), names=["conv-group"])
    inner = [n.op_type for n in result.graph.node if n.name.startswith("target")]
    assert sorted(inner) == sorted(kinds)
    assert difference(build(case), result, case.shape) <= TOLERANCE
