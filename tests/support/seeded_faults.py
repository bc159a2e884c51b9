"""Faults to seed in the net of ``seeded_nets``, each with the type and the node that localisation must name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx

from tests.support.seeded_nets import (
    Array,
    Looked,
    behind,
    constant,
    first,
    net,
    node,
    one_value,
    put,
    settings,
    weights,
    without,
)

Change = Callable[[onnx.ModelProto], None]


ENOUGH = 1e-5  # of the largest output: what a repaired view may be off on inputs that were not looked at


NOISE = np.random.default_rng(9).normal(size=4096).astype(np.float32)


def noisy(array: Array, by: float = 0.05) -> Array:
    return array + by * np.abs(array).max() * NOISE[: array.size].reshape(array.shape)


def swapped(array: Array) -> Array:
    return array[[1, 0, *range(2, len(array))]]


def zeroed(array: Array) -> Array:
    array[2] = 0
    return array


def channels(model: onnx.ModelProto, order: list[int]) -> None:
    first(model, "Gather", put(model, "order", np.array(order)), axis=1)


def scaled(model: onnx.ModelProto, kind: str, value: float | list[float]) -> None:
    array = np.array(value, np.float32)
    first(model, kind, put(model, "by", array.reshape(-1, 1, 1) if array.ndim else array))


def without_residual(model: onnx.ModelProto) -> None:
    without(model, "add")


def other_operator(name: str, kind: str) -> Change:
    return lambda model: setattr(node(model, name), "op_type", kind)


def max_pool_instead(model: onnx.ModelProto) -> None:
    node(model, "ap").op_type = "MaxPool"


def branches_swapped(model: onnx.ModelProto) -> None:
    cat = node(model, "cat")
    cat.input[:] = list(reversed(cat.input))


SINGLE: dict[str, tuple[str, str, Change]] = {
    # weights and biases
    "conv weights scaled": ("WB", "c1", lambda m: weights(m, "c1_w", lambda a: a * 1.3)),
    "conv weights noisy": ("WB", "c4", lambda m: weights(m, "c4_w", noisy)),
    "one conv weight": ("WB", "c4", lambda m: one_value(m, "c4_w", (3, 2, 1, 1), 0.2)),
    "one filter zero": ("WB", "dw", lambda m: weights(m, "dw_w", zeroed)),
    "filters swapped": ("WB", "pw", lambda m: weights(m, "pw_w", swapped)),
    "filters upside down": ("WB", "c5", lambda m: weights(m, "c5_w", lambda a: a[:, :, ::-1])),
    "conv bias negated": ("WB", "c4", lambda m: weights(m, "c4_b", lambda a: -a)),
    "conv bias gone": ("WB", "c5", lambda m: weights(m, "c5_b", np.zeros_like)),
    "norm scale": ("WB", "b1", lambda m: weights(m, "b1_s", lambda a: a * 1.2)),
    "norm mean": ("WB", "b2", lambda m: weights(m, "b2_m", lambda a: a + 0.3)),
    "norm variance": ("WB", "b3", lambda m: weights(m, "b3_v", lambda a: a * 1.5)),
    "norm mean and variance": (
        "WB",
        "b2",
        lambda m: (weights(m, "b2_m", lambda a: a + 0.3), weights(m, "b2_v", lambda a: a * 2))[0],
    ),
    "slopes": ("WB", "pr", lambda m: weights(m, "pr_slope", lambda a: a + 0.1)),
    "transposed conv weights": ("WB", "ct", lambda m: weights(m, "ct_w", noisy)),
    "transposed conv bias": ("WB", "ct", lambda m: weights(m, "ct_b", lambda a: a + 0.2)),
    "matrix": ("WB", "y", lambda m: weights(m, "fc_w", noisy)),
    "one column": ("WB", "y", lambda m: weights(m, "fc_w", lambda a: a * np.where(np.arange(10) == 4, 0.5, 1))),
    "head bias": ("WB", "y", lambda m: weights(m, "fc_b", lambda a: a + 0.5)),
    "half precision of eight bits": ("WB", "c6", lambda m: weights(m, "c6_w", lambda a: np.round(a * 8) / 8)),
    # hyperparameters
    "pads moved": ("LH", "c4", lambda m: settings(m, "c4", pads=[0, 0, 2, 2])),
    "dilated": ("LH", "dw", lambda m: settings(m, "dw", dilations=[2, 2], pads=[2, 2, 2, 2])),
    "stride of other phase": ("LH", "c1", lambda m: settings(m, "c1", pads=[0, 0, 1, 1])),
    "alpha": ("LH", "lr", lambda m: settings(m, "lr", alpha=0.01)),
    "padding counted": ("LH", "ap", lambda m: settings(m, "ap", count_include_pad=1)),
    "epsilon": ("LH", "b1", lambda m: settings(m, "b1", epsilon=0.1)),
    "upper limit": ("LH", "clip", lambda m: put(m, "high", np.array(0.4, np.float32))),
    "lower limit gone": ("LH", "clip", lambda m: node(m, "clip").input.__setitem__(1, "")),
    "larger window": ("LH", "mp", lambda m: settings(m, "mp", kernel_shape=[4, 4], pads=[1, 1, 1, 1])),
    "output pads": ("LH", "ct", lambda m: settings(m, "ct", pads=[1, 1, 0, 0], output_padding=[1, 1])),
    # computation graph
    "activation missing": ("CG", "dw", lambda m: without(m, "r1")),
    "activation missing inside": ("CG", "pw", lambda m: without(m, "r2")),
    "leaky activation missing": ("CG", "cat", lambda m: without(m, "lr")),
    "activation added": ("CG", "extra", lambda m: behind(m, "r2", "Sigmoid")),
    "activation added at the end of a branch": ("CG", "extra", lambda m: behind(m, "lr", "Tanh")),
    "activation replaced": ("CG", "r2", other_operator("r2", "Sigmoid")),
    "pooling replaced": ("CG", "mp", other_operator("mp", "AveragePool")),
    "residual missing": ("CG", "mp", without_residual),
    "residual multiplied": ("CG", "add", other_operator("add", "Mul")),
    "norm missing": ("CG", "add", lambda m: without(m, "b3")),
    "output activated": ("CG", "extra", lambda m: behind(m, "y", "Softmax", axis=1)),
    # shape and structure
    "branches swapped": ("CG", "cat", branches_swapped),
    "turned before flattening": ("TSS", "extra", lambda m: behind(m, "ap", "Transpose", perm=[0, 1, 3, 2])),
    "channels last before flattening": ("TSS", "extra", lambda m: behind(m, "ap", "Transpose", perm=[0, 2, 3, 1])),
    "input turned": ("TSS", "extra", lambda m: first(m, "Transpose", perm=[0, 1, 3, 2])),
    # preprocessing built in
    "channels reversed": ("PP", "extra", lambda m: channels(m, [2, 1, 0])),
    "input halved": ("PP", "extra", lambda m: scaled(m, "Mul", 0.5)),
    "input shifted": ("PP", "extra", lambda m: scaled(m, "Sub", [0.485, 0.456, 0.406])),
    "input clipped": ("PP", "extra", lambda m: first(m, "Clip", put(m, "zero", np.array(0, np.float32)))),
}


def broken(*names: str, build: Callable[[], onnx.ModelProto] = net) -> onnx.ModelProto:
    model = build()
    for name in names:
        SINGLE[name][2](model)
    return model


def agrees(looked: Looked) -> bool:
    return not looked.why and looked.before > 1e-4 and looked.after < ENOUGH


def scale_and_shift(model: onnx.ModelProto, name: str) -> tuple[Array, Array]:
    gamma, beta, mean, variance = (constant(model, f"{name}_{key}").astype(np.float64) for key in "sbmv")
    scale = gamma / np.sqrt(variance + 1e-5)
    return scale, beta - mean * scale


def folded(model: onnx.ModelProto) -> None:
    for conv, norm in (("c1", "b1"), ("dw", "b2"), ("pw", "b3")):
        scale, shift = scale_and_shift(model, norm)
        bias = constant(model, f"{conv}_b") * scale + shift
        weights(model, f"{conv}_w", lambda a, by=scale: a * by.reshape(-1, 1, 1, 1))  # type: ignore[misc]
        put(model, f"{conv}_b", bias.astype(np.float32))
        without(model, norm)
