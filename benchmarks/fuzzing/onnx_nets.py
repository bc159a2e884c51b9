"""Random ONNX models: ``python -m benchmarks.fuzzing.onnx_nets SEED FOLDER`` writes ``model.onnx`` and its inputs."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.fuzzing.drawing import Draw, Layer, Net, Plan, Value, draw_batch, draw_inputs, write_facts, write_inputs

Array = np.ndarray[Any, Any]
TYPES = {
    "float": TensorProto.FLOAT, "int": TensorProto.INT64, "bool": TensorProto.BOOL,
    "int32": TensorProto.INT32, "int64": TensorProto.INT64,
}  # fmt: skip


class OnnxNet(Net):
    """Nodes and weights; the batch is the first axis of every value."""

    def __init__(self, draw: Draw, plans: Sequence[Plan], opset: int) -> None:
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        inputs = [Value(p.name, p.shape, "int" if p.high else p.dtype, p.high) for p in plans]
        super().__init__(draw, inputs)
        for place, plan in enumerate(plans):
            if plan.dtype == "int32":  # layers take 64-bit integers
                cast = self.node("Cast", [plan.name], to=TensorProto.INT64)
                self.values[place] = Value(cast, plan.shape, "int", plan.high)

    def keep(self, array: Any) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def node(self, kind: str, inputs: Sequence[str], outputs: int = 1, **attributes: Any) -> str:
        names = [f"t{len(self.nodes)}_{place}" for place in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, f"{kind}_{len(self.nodes)}", **attributes))
        return names[0]

    def second(self) -> str:
        """The second output of the latest node."""
        return str(self.nodes[-1].output[1])


def same(kind: str, **choices: Sequence[Any]) -> Layer:
    """An operator on each element, with attributes drawn from ``choices``."""

    def layer(net: OnnxNet, value: Value) -> Value | None:
        if value.kind != "float":
            return None
        attributes = {name: net.draw.pick(options) for name, options in choices.items()}
        return Value(net.node(kind, [value.handle], **attributes), value.shape)

    return layer


def after(first: str, kind: str, constant: float | None = None) -> Layer:
    """An operator on values made safe for it: their absolute values, plus a constant."""

    def layer(net: OnnxNet, value: Value) -> Value | None:
        if value.kind != "float":
            return None
        handle = net.node(first, [value.handle])
        if constant is not None:
            handle = net.node("Add", [handle, net.keep(np.float32(constant))])
        return Value(net.node(kind, [handle]), value.shape)

    return layer


def hard_swish(net: OnnxNet, value: Value) -> Value | None:
    if value.kind != "float" or net.opset < 14:
        return None
    return Value(net.node("HardSwish", [value.handle]), value.shape)


def clip(net: OnnxNet, value: Value) -> Value | None:
    if value.kind != "float":
        return None
    low, high = net.draw.pick(((-1.0, 1.0), (0.0, 6.0), (-0.5, None), (None, 0.8)))
    bounds = ["" if bound is None else net.keep(np.float32(bound)) for bound in (low, high)]
    return Value(net.node("Clip", [value.handle, *bounds]), value.shape)


def prelu(net: OnnxNet, value: Value) -> Value | None:
    if value.kind != "float" or not value.shape:
        return None
    slope = net.draw.normal(value.shape[0], *[1] * (value.rank - 1), scale=0.3)
    return Value(net.node("PRelu", [value.handle, net.keep(slope)]), value.shape)


def softmax(kind: str) -> Layer:
    def layer(net: OnnxNet, value: Value) -> Value | None:
        if value.kind != "float" or not value.shape:
            return None
        axis = net.draw.between(1, value.rank)
        return Value(
            net.node(kind, [value.handle], axis=axis if net.draw.chance(0.5) else axis - value.rank - 1), value.shape
        )

    return layer


def with_constant(kind: str) -> Layer:
    """A binary operator with a constant of the value's own, a broadcast or a scalar shape, on either side."""

    def layer(net: OnnxNet, value: Value) -> Value | None:
        if value.kind != "float":
            return None
        shape = tuple(size if net.draw.chance(0.6) else 1 for size in value.shape)
        array = net.draw.normal(*net.draw.pick(((), shape, shape[-1:])))
        if kind in ("Div", "Mod"):
            array = np.abs(array) + np.float32(0.7)
        if kind == "Pow":
            return Value(net.node(kind, [value.handle, net.keep(np.float32(net.draw.pick((2, 3))))]), value.shape)
        operands = [value.handle, net.keep(array)]
        if kind in ("Sub", "Max", "Min", "Add", "Mul") and net.draw.chance(0.3):
            operands = operands[::-1]
        return Value(net.node(kind, operands, **({"fmod": 1} if kind == "Mod" else {})), value.shape)

    return layer


def with_value(kind: str, result: str = "float", operand: str = "float") -> Layer:
    """A binary operator with another value of the same shape, or of one that broadcasts."""

    def layer(net: OnnxNet, value: Value) -> Value | None:
        if value.kind != operand:
            return None

        def fits(other: Value) -> bool:
            return other.kind == operand and (
                other.shape == value.shape
                or (
                    other.rank == value.rank and all(a in (1, b) for a, b in zip(other.shape, value.shape, strict=True))
                )
            )

        other = net.other(value, fits)
        if other is None:
            return None
        net.read(other)
        handle = other.handle
        if kind == "Div":
            handle = net.node("Add", [net.node("Abs", [handle]), net.keep(np.float32(0.8))])
        return Value(net.node(kind, [value.handle, handle]), value.shape, result)

    return layer


def reduce(kind: str) -> Layer:
    def layer(net: OnnxNet, value: Value) -> Value | None:
        if value.kind != "float" or not value.shape:
            return None
        count = net.draw.pick((1, 1, min(2, value.rank)))
        axes = sorted(net.draw.random.choice(value.rank, count, replace=False) + 1)
        keep = net.draw.chance(0.5)
        shape = tuple(1 if a + 1 in axes else s for a, s in enumerate(value.shape) if keep or a + 1 not in axes)
        written = [int(axis) if net.draw.chance(0.7) else int(axis) - value.rank - 1 for axis in axes]
        if net.opset >= 18 or (kind == "ReduceSum" and net.opset >= 13):
            return Value(net.node(kind, [value.handle, net.keep(np.array(written))], keepdims=int(keep)), shape)
        return Value(net.node(kind, [value.handle], axes=written, keepdims=int(keep)), shape)

    return layer


def transpose(net: OnnxNet, value: Value) -> Value | None:
    if value.rank < 2:
        return None
    order = [int(axis) for axis in net.draw.random.permutation(value.rank)]
    handle = net.node("Transpose", [value.handle], perm=[0, *(axis + 1 for axis in order)])
    return Value(handle, tuple(value.shape[axis] for axis in order), value.kind, value.high)


def reshape(net: OnnxNet, value: Value) -> Value | None:
    """Flatten, merge two axes, or split one; the batch is written as 0 or as -1."""
    size = math.prod(value.shape)
    shapes: list[tuple[int, ...]] = [(size,)]
    shapes += [(value.shape[0] * value.shape[1], *value.shape[2:])] if value.rank > 1 else []
    shapes += [
        (*value.shape[:-1], part, value.shape[-1] // part)
        for part in (2, 3)
        if value.rank and value.rank < 4 and value.shape[-1] % part == 0
    ]
    shape = net.draw.pick(shapes)
    first = net.draw.pick((0, -1))
    written = [first, *shape]
    if first == 0 and shape and net.draw.chance(0.4):
        written[net.draw.between(1, len(shape))] = -1
    handle = net.node("Reshape", [value.handle, net.keep(np.array(written, np.int64))])
    return Value(handle, shape, value.kind, value.high)


def flatten(net: OnnxNet, value: Value) -> Value | None:
    return (
        None
        if value.rank < 2
        else Value(net.node("Flatten", [value.handle]), (math.prod(value.shape),), value.kind, value.high)
    )


def unsqueeze(net: OnnxNet, value: Value) -> Value | None:
    if value.rank > 3:
        return None
    place = net.draw.between(1, value.rank + 1)
    axes = net.keep(np.array([place if net.draw.chance(0.6) else place - value.rank - 2], np.int64))
    shape = (*value.shape[: place - 1], 1, *value.shape[place - 1 :])
    return Value(net.node("Unsqueeze", [value.handle, axes]), shape, value.kind, value.high)


def squeeze(net: OnnxNet, value: Value) -> Value | None:
    units = [axis for axis, size in enumerate(value.shape) if size == 1]
    if not units:
        return None
    axis = net.draw.pick(units)
    handle = net.node("Squeeze", [value.handle, net.keep(np.array([axis + 1], np.int64))])
    return Value(handle, value.shape[:axis] + value.shape[axis + 1 :], value.kind, value.high)


def concat(net: OnnxNet, value: Value) -> Value | None:
    if not value.shape or value.kind == "bool":
        return None
    axis = net.draw.between(0, value.rank - 1)

    def fits(other: Value) -> bool:
        rest = [shape[:axis] + shape[axis + 1 :] for shape in (value.shape, other.shape)]
        return other.kind == value.kind and other.rank == value.rank and rest[0] == rest[1]

    other = net.other(value, fits) or value
    net.read(other)
    handle = net.node("Concat", [value.handle, other.handle], axis=net.draw.pick((axis + 1, axis - value.rank)))
    size = value.shape[axis] + other.shape[axis]
    return Value(handle, (*value.shape[:axis], size, *value.shape[axis + 1 :]), value.kind)


def split(net: OnnxNet, value: Value) -> Value | None:
    axes = [axis for axis, size in enumerate(value.shape) if size > 2]
    if not axes or value.kind != "float":
        return None
    axis = net.draw.pick(axes)
    first = net.draw.between(1, value.shape[axis] - 1)
    sizes = (first, value.shape[axis] - first)
    handle = net.node("Split", [value.handle, net.keep(np.array(sizes, np.int64))], outputs=2, axis=axis + 1)
    shapes = [(*value.shape[:axis], size, *value.shape[axis + 1 :]) for size in sizes]
    net.values.append(Value(net.second(), shapes[1]))
    return Value(handle, shapes[0])


def slice_(net: OnnxNet, value: Value) -> Value | None:
    axes = [axis for axis, size in enumerate(value.shape) if size > 2]
    if not axes:
        return None
    axis = net.draw.pick(axes)
    size = value.shape[axis]
    start, end, step = net.draw.pick(
        ((1, size, 1), (0, -1, 1), (0, size, 2), (-2, 2**31 - 1, 1), (size - 1, -(2**31), -1))
    )
    kept = len(range(size)[start : end if end > -(2**31) else None : step])
    constants = [net.keep(np.array([number], np.int64)) for number in (start, end, axis + 1, step)]
    handle = net.node("Slice", [value.handle, *constants])
    return Value(handle, (*value.shape[:axis], kept, *value.shape[axis + 1 :]), value.kind, value.high)


def gather(net: OnnxNet, value: Value) -> Value | None:
    """Places along an axis; or an embedding, where the value is ids."""
    if value.kind == "int" and value.high and value.rank < 3:
        width = net.draw.between(2, 8)
        table = net.keep(net.draw.normal(value.high, width))
        return Value(net.node("Gather", [table, value.handle]), (*value.shape, width))
    if not value.shape or value.kind != "float":
        return None
    axis = net.draw.between(0, value.rank - 1)
    index = np.array(net.draw.random.integers(-value.shape[axis], value.shape[axis], net.draw.pick(((), (2,), (3,)))))
    handle = net.node("Gather", [value.handle, net.keep(index.astype(np.int64))], axis=axis + 1)
    return Value(handle, (*value.shape[:axis], *index.shape, *value.shape[axis + 1 :]))


def pad(net: OnnxNet, value: Value) -> Value | None:
    if value.rank not in (1, 2, 3) or value.kind != "float":
        return None
    mode = net.draw.pick(("constant", "constant", "reflect", "edge"))
    most = [0, *(min(2, size - 1) if mode == "reflect" else 2 for size in value.shape)]
    pads = [[net.draw.between(0, limit) for limit in most] for _ in range(2)]
    inputs = [value.handle, net.keep(np.array(pads[0] + pads[1], np.int64))]
    if mode == "constant" and net.draw.chance(0.5):
        inputs.append(net.keep(np.float32(0.5)))
    shape = tuple(a + s + b for a, s, b in zip(pads[0][1:], value.shape, pads[1][1:], strict=True))
    return Value(net.node("Pad", inputs, mode=mode), shape)


def tile(net: OnnxNet, value: Value) -> Value | None:
    if not value.shape or value.rank > 3 or value.kind != "float":
        return None
    repeats = [1, *(net.draw.pick((1, 1, 2)) for _ in value.shape)]
    shape = tuple(size * times for size, times in zip(value.shape, repeats[1:], strict=True))
    return Value(net.node("Tile", [value.handle, net.keep(np.array(repeats, np.int64))]), shape)


def resize(net: OnnxNet, value: Value) -> Value | None:
    if value.rank != 3 or value.kind != "float":
        return None
    mode, coordinates = net.draw.pick(
        (("nearest", "asymmetric"), ("nearest", "half_pixel"), ("linear", "half_pixel"), ("linear", "align_corners"),
         ("linear", "asymmetric"), ("linear", "pytorch_half_pixel"), ("cubic", "half_pixel"))
    )  # fmt: skip
    scales = np.array([1, 1, net.draw.pick((0.5, 2, 2, 3)), net.draw.pick((0.5, 2, 2, 1.5))], np.float32)
    attributes = {"nearest_mode": net.draw.pick(("floor", "round_prefer_floor"))} if mode == "nearest" else {}
    handle = net.node(
        "Resize",
        [value.handle, "", net.keep(scales)],
        mode=mode,
        coordinate_transformation_mode=coordinates,
        **attributes,
    )
    shape = (value.shape[0], *(int(size * scale) for size, scale in zip(value.shape[1:], scales[2:], strict=True)))
    return Value(handle, shape) if min(shape) > 0 else None


def space(net: OnnxNet, value: Value) -> Value | None:
    if value.rank != 3 or value.kind != "float":
        return None
    channels, height, width = value.shape
    if channels % 4 == 0:
        mode = net.draw.pick(("DCR", "CRD"))
        return Value(
            net.node("DepthToSpace", [value.handle], blocksize=2, mode=mode), (channels // 4, height * 2, width * 2)
        )
    if height % 2 == 0 and width % 2 == 0:
        return Value(net.node("SpaceToDepth", [value.handle], blocksize=2), (channels * 4, height // 2, width // 2))
    return None


def _window(net: OnnxNet, value: Value, rank: int, dilation: int = 1) -> tuple[dict[str, Any], tuple[int, ...]] | None:
    """Attributes of a window over the spatial axes, and the sizes that it gives."""
    sizes = value.shape[1:]
    kernel = [net.draw.between(1, min(3, size)) for size in sizes]
    strides = [net.draw.pick((1, 1, 2)) for _ in sizes]
    span = [dilation * (k - 1) + 1 for k in kernel]
    if net.draw.chance(0.15) and dilation == 1:
        upper = net.draw.chance(0.5)
        covered = tuple(math.ceil(size / stride) for size, stride in zip(sizes, strides, strict=True))
        return {
            "kernel_shape": kernel,
            "strides": strides,
            "auto_pad": "SAME_UPPER" if upper else "SAME_LOWER",
        }, covered
    pads = [[net.draw.pick((0, min(1, k - 1), k // 2)) for k in kernel] for _ in range(2)]
    if net.draw.chance(0.6):
        pads[1] = pads[0]
    total = [size + a + b for size, a, b in zip(sizes, *pads, strict=True)]
    if any(t < s for t, s in zip(total, span, strict=True)):
        return None
    result = tuple((t - s) // stride + 1 for t, s, stride in zip(total, span, strides, strict=True))
    return {"kernel_shape": kernel, "strides": strides, "pads": pads[0] + pads[1]}, result


def conv(net: OnnxNet, value: Value) -> Value | None:
    if not 2 <= value.rank <= 4 or value.kind != "float":
        return None
    dilation = net.draw.pick((1, 1, 1, 2))
    window = _window(net, value, value.rank - 1, dilation)
    if window is None:
        return None
    attributes, sizes = window
    channels = value.shape[0]
    group = net.draw.pick([1, 1, 1] + [g for g in (2, 3, channels) if channels % g == 0])
    filters = group * net.draw.between(1, 4)
    kernel = attributes["kernel_shape"]
    weight = net.draw.weights(filters, channels // group, *kernel, inputs=channels // group * math.prod(kernel))
    inputs = [value.handle, net.keep(weight)] + (
        [net.keep(net.draw.normal(filters, scale=0.3))] if net.draw.chance(0.7) else []
    )
    handle = net.node("Conv", inputs, group=group, dilations=[dilation] * len(kernel), **attributes)
    return Value(handle, (filters, *sizes))


def conv_transpose(net: OnnxNet, value: Value) -> Value | None:
    if value.rank not in (2, 3) or value.kind != "float":
        return None
    sizes = value.shape[1:]
    kernel, stride = net.draw.between(2, 3), net.draw.pick((1, 2, 2))
    padding, extra = net.draw.pick((0, 1)), net.draw.pick((0, 0, 1)) if stride == 2 else 0
    filters, channels = net.draw.between(1, 5), value.shape[0]
    weight = net.draw.weights(channels, filters, *[kernel] * len(sizes), inputs=channels * kernel)
    shape = tuple((size - 1) * stride + kernel - 2 * padding + extra for size in sizes)
    if min(shape) < 1:
        return None
    handle = net.node(
        "ConvTranspose", [value.handle, net.keep(weight), net.keep(net.draw.normal(filters, scale=0.3))],
        strides=[stride] * len(sizes), pads=[padding] * 2 * len(sizes), output_padding=[extra] * len(sizes),
        kernel_shape=[kernel] * len(sizes),
    )  # fmt: skip
    return Value(handle, (filters, *shape))


def pool(kind: str) -> Layer:
    def layer(net: OnnxNet, value: Value) -> Value | None:
        if not 2 <= value.rank <= 4 or value.kind != "float":
            return None
        window = _window(net, value, value.rank - 1)
        if window is None:
            return None
        attributes, sizes = window
        if kind == "AveragePool" and "pads" in attributes:
            attributes["count_include_pad"] = net.draw.pick((0, 1))
        return Value(net.node(kind, [value.handle], **attributes), (value.shape[0], *sizes))

    return layer


def pool_all(kind: str) -> Layer:
    def layer(net: OnnxNet, value: Value) -> Value | None:
        if not 2 <= value.rank <= 4 or value.kind != "float":
            return None
        return Value(net.node(kind, [value.handle]), (value.shape[0], *[1] * (value.rank - 1)))

    return layer


def norm(kind: str) -> Layer:
    def layer(net: OnnxNet, value: Value) -> Value | None:
        least = {"BatchNormalization": 1, "InstanceNormalization": 2, "LRN": 3}[kind]
        if value.kind != "float" or not least <= value.rank <= (3 if kind == "LRN" else 4):
            return None
        channels = value.shape[0]
        if kind == "LRN":
            return Value(net.node(kind, [value.handle], size=net.draw.pick((3, 5)), alpha=0.05), value.shape)
        scale, shift, mean = (net.draw.normal(channels, scale=0.4) for _ in range(3))
        inputs = [value.handle, net.keep(scale + np.float32(1)), net.keep(shift)]
        if kind == "BatchNormalization":
            inputs += [net.keep(mean), net.keep(np.abs(net.draw.normal(channels)) + np.float32(0.4))]
        elif math.prod(value.shape[1:]) < 3:
            return None
        return Value(net.node(kind, inputs, epsilon=net.draw.pick((1e-5, 1e-3))), value.shape)

    return layer


def layer_norm(net: OnnxNet, value: Value) -> Value | None:
    if net.opset < 17 or value.rank < 1 or value.kind != "float" or value.shape[-1] < 3:
        return None
    weights = [net.keep(net.draw.normal(value.shape[-1]) + np.float32(1)), net.keep(net.draw.normal(value.shape[-1]))]
    return Value(net.node("LayerNormalization", [value.handle, *weights], axis=-1, epsilon=1e-5), value.shape)


def gemm(net: OnnxNet, value: Value) -> Value | None:
    if value.rank != 1 or value.kind != "float":
        return None
    units, size, transposed = net.draw.between(1, 10), value.shape[0], net.draw.pick((0, 1))
    weight = net.draw.weights(size, units, inputs=size)
    inputs = [value.handle, net.keep(weight.T.copy() if transposed else weight)]
    inputs += [net.keep(net.draw.normal(units))] if net.draw.chance(0.7) else []
    scales = {"alpha": net.draw.pick((1.0, 0.5)), "beta": net.draw.pick((1.0, 2.0))}
    return Value(net.node("Gemm", inputs, transB=transposed, **scales), (units,))


def matmul(net: OnnxNet, value: Value) -> Value | None:
    if value.rank < 1 or value.kind != "float":
        return None
    size, units = value.shape[-1], net.draw.between(1, 10)
    other = net.other(
        value,
        lambda v: (
            v.kind == "float" and v.rank == value.rank > 1 and v.shape[:-2] == value.shape[:-2] and v.shape[-2] == size
        ),
    )
    if other is not None and net.draw.chance(0.6):
        net.read(other)
        scaled = net.node("Mul", [other.handle, net.keep(np.float32(size**-0.5))])
        return Value(net.node("MatMul", [value.handle, scaled]), (*value.shape[:-1], other.shape[-1]))
    weight = net.keep(net.draw.weights(size, units, inputs=size))
    return Value(net.node("MatMul", [value.handle, weight]), (*value.shape[:-1], units))


def recurrent(kind: str, gates: int) -> Layer:
    def layer(net: OnnxNet, value: Value) -> Value | None:
        if value.rank != 2 or value.kind != "float":
            return None
        steps, size = value.shape
        hidden, directions = net.draw.between(2, 5), net.draw.pick((1, 1, 2))
        weights = [
            net.keep(net.draw.weights(directions, gates * hidden, width, inputs=width)) for width in (size, hidden)
        ] + [net.keep(net.draw.normal(directions, 2 * gates * hidden, scale=0.2))]
        attributes: dict[str, Any] = {
            "hidden_size": hidden,
            "direction": "forward" if directions == 1 else "bidirectional",
        }
        if kind == "GRU":
            attributes["linear_before_reset"] = net.draw.pick((0, 1))
        inner = net.node("Transpose", [value.handle], perm=[1, 0, 2])
        result = net.node(kind, [inner, *weights], outputs=2, **attributes)
        if net.draw.chance(0.4):
            state = net.node("Transpose", [net.second()], perm=[1, 0, 2])
            return Value(state, (directions, hidden))
        order = net.node("Transpose", [result], perm=[2, 0, 1, 3])
        return Value(
            net.node("Reshape", [order, net.keep(np.array([-1, steps, directions * hidden], np.int64))]),
            (steps, directions * hidden),
        )

    return layer


def arg(kind: str) -> Layer:
    def layer(net: OnnxNet, value: Value) -> Value | None:
        if not value.shape or value.kind != "float":
            return None
        axis, keep = net.draw.between(0, value.rank - 1), net.draw.chance(0.3)
        shape = tuple(1 if a == axis else s for a, s in enumerate(value.shape) if keep or a != axis)
        handle = net.node(kind, [value.handle], axis=axis + 1, keepdims=int(keep))
        return Value(handle, shape, "int", value.shape[axis])

    return layer


def top_k(net: OnnxNet, value: Value) -> Value | None:
    if not value.shape or value.kind != "float" or value.shape[-1] < 2:
        return None
    count = net.draw.between(1, min(4, value.shape[-1]))
    handle = net.node(
        "TopK", [value.handle, net.keep(np.array([count], np.int64))], outputs=2, axis=-1, largest=net.draw.pick((0, 1))
    )
    shape = (*value.shape[:-1], count)
    net.values.append(Value(net.second(), shape, "int", value.shape[-1]))
    return Value(handle, shape)


def compare(kind: str) -> Layer:
    def layer(net: OnnxNet, value: Value) -> Value | None:
        if value.kind == "float":
            return Value(net.node(kind, [value.handle, net.keep(np.float32(0.137))]), value.shape, "bool")
        if value.kind == "int" and value.high:
            return Value(net.node(kind, [value.handle, net.keep(np.int64(value.high // 2))]), value.shape, "bool")
        return None

    return layer


def cast(net: OnnxNet, value: Value) -> Value | None:
    if value.kind == "float":
        return None
    if value.kind == "bool" and net.draw.chance(0.4):
        return Value(net.node("Cast", [value.handle], to=TensorProto.INT64), value.shape, "int", 2)
    return Value(net.node("Cast", [value.handle], to=TensorProto.FLOAT), value.shape)


def negation(net: OnnxNet, value: Value) -> Value | None:
    return Value(net.node("Not", [value.handle]), value.shape, "bool") if value.kind == "bool" else None


def where(net: OnnxNet, value: Value) -> Value | None:
    if value.kind != "bool":
        return None
    other = net.other(
        value, lambda v: v.kind == "float" and v.rank >= value.rank > 0 and v.shape[: value.rank] == value.shape
    )
    if other is None:
        return None
    net.read(other)
    mask = value.handle
    if other.rank > value.rank:
        mask = net.node("Unsqueeze", [mask, net.keep(np.arange(value.rank + 1, other.rank + 1))])
    fill = net.keep(np.float32(net.draw.pick((0.0, -1e4, 1.0))))
    return Value(net.node("Where", [mask, other.handle, fill]), other.shape)


def one_hot(net: OnnxNet, value: Value) -> Value | None:
    if value.kind != "int" or not 2 <= value.high <= 16 or value.rank > 3:
        return None
    handle = net.node("OneHot", [value.handle, net.keep(np.int64(value.high)), net.keep(np.array([0, 1], np.float32))])
    return Value(handle, (*value.shape, value.high))


def integers(net: OnnxNet, value: Value) -> Value | None:
    if value.kind != "int" or not value.high:
        return None
    kind, constant = net.draw.pick((("Add", 3), ("Mul", 2), ("Sub", 1)))
    return Value(net.node(kind, [value.handle, net.keep(np.int64(constant))]), value.shape, "int")


def cum_sum(net: OnnxNet, value: Value) -> Value | None:
    if not value.shape or value.kind != "float":
        return None
    axis = net.keep(np.int64(net.draw.between(1, value.rank)))
    flags = {"exclusive": net.draw.pick((0, 0, 1)), "reverse": net.draw.pick((0, 0, 1))}
    return Value(net.node("CumSum", [value.handle, axis], **flags), value.shape)


def attention(net: OnnxNet, value: Value) -> Value | None:
    """Softmax of a scaled product with itself, times the value."""
    if value.rank != 2 or value.kind != "float":
        return None
    weights = [net.keep(net.draw.weights(value.shape[1], 4, inputs=value.shape[1])) for _ in range(2)]
    query, key = (net.node("MatMul", [value.handle, weight]) for weight in weights)
    scores = net.node("MatMul", [query, net.node("Transpose", [key], perm=[0, 2, 1])])
    shares = net.node("Softmax", [net.node("Mul", [scores, net.keep(np.float32(0.5))])], axis=-1)
    return Value(net.node("MatMul", [shares, value.handle]), value.shape)


LAYERS: dict[str, Layer] = {
    "Relu": same("Relu"), "LeakyRelu": same("LeakyRelu", alpha=(0.01, 0.2)), "Elu": same("Elu", alpha=(1.0, 0.5)),
    "Selu": same("Selu"), "Sigmoid": same("Sigmoid"), "Tanh": same("Tanh"), "Softplus": same("Softplus"),
    "HardSigmoid": same("HardSigmoid", alpha=(0.2, 0.1666667)), "HardSwish": hard_swish,
    "Softsign": same("Softsign"), "Abs": same("Abs"), "Neg": same("Neg"), "Sin": same("Sin"), "Cos": same("Cos"),
    "Erf": same("Erf"), "Floor": same("Floor"), "Ceil": same("Ceil"), "Round": same("Round"), "Sign": same("Sign"),
    "Celu": same("Celu", alpha=(1.0,)), "ThresholdedRelu": same("ThresholdedRelu", alpha=(0.5,)),
    "Exp": after("Tanh", "Exp"), "Sqrt": after("Abs", "Sqrt", 0.1), "Log": after("Abs", "Log", 0.5),
    "Reciprocal": after("Abs", "Reciprocal", 0.6), "Clip": clip, "PRelu": prelu,
    "Softmax": softmax("Softmax"), "LogSoftmax": softmax("LogSoftmax"),
    **{f"{kind} constant": with_constant(kind) for kind in ("Add", "Sub", "Mul", "Div", "Max", "Min", "Pow", "Mod")},
    **{kind: with_value(kind) for kind in ("Add", "Sub", "Mul", "Div", "Max", "Min")},
    "Greater two": with_value("Greater", "bool"),
    "And": with_value("And", "bool", "bool"), "Or": with_value("Or", "bool", "bool"), "Xor": with_value("Xor",
    "bool", "bool"),
    **{kind: reduce(kind) for kind in ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2",
    "ReduceLogSumExp", "ReduceSumSquare")},
    "Transpose": transpose, "Reshape": reshape, "Flatten": flatten, "Unsqueeze": unsqueeze, "Squeeze": squeeze,
    "Concat": concat, "Split": split, "Slice": slice_, "Gather": gather, "Pad": pad, "Tile": tile, "Resize": resize,
    "DepthToSpace": space, "Conv": conv, "ConvTranspose": conv_transpose,
    **{kind: pool(kind) for kind in ("MaxPool", "AveragePool")},
    **{kind: pool_all(kind) for kind in ("GlobalAveragePool", "GlobalMaxPool")},
    **{kind: norm(kind) for kind in ("BatchNormalization", "InstanceNormalization", "LRN")},
    "LayerNormalization": layer_norm, "Gemm": gemm, "MatMul": matmul,
    "LSTM": recurrent("LSTM", 4), "GRU": recurrent("GRU", 3), "RNN": recurrent("RNN", 1),
    "ArgMax": arg("ArgMax"), "ArgMin": arg("ArgMin"), "TopK": top_k,
    **{kind: compare(kind) for kind in ("Greater", "Less", "GreaterOrEqual")},
    "Cast": cast, "Not": negation, "Where": where, "OneHot": one_hot, "integers": integers,
    "CumSum": cum_sum, "attention": attention,
}  # fmt: skip
COMMON = (
    "Conv",
    "Gemm",
    "MatMul",
    "Relu",
    "Add",
    "MaxPool",
    "BatchNormalization",
    "Softmax",
    "Concat",
    "Cast",
    "Gather",
    "Reshape",
)


def build(seed: int) -> tuple[onnx.ModelProto, tuple[Plan, ...], list[str], int | None]:
    """Draw a model; return it with its inputs, its layers by name, and its fixed batch."""
    draw = Draw(seed, 0)
    plans = draw_inputs(draw, is_channels_last=False)
    net = OnnxNet(draw, plans, draw.pick((13, 13, 15, 17, 18)))
    batch = draw_batch(draw)
    layers = net.grow(LAYERS, COMMON, draw.between(3, 15))
    names = draw.pick(
        (("out", "a", "k", "b"), ("logits", "out2", "out3", "out4"), ("output_0", "output_1", "output_2", "output_3"))
    )
    outputs = net.outputs()
    results = [Value(name, value.shape, value.kind) for name, value in zip(names, outputs, strict=False)]
    for result, value in zip(results, outputs, strict=True):
        net.nodes.append(helper.make_node("Identity", [value.handle], [result.handle]))
    rows = "n" if batch is None else batch
    graph = helper.make_graph(
        _needed(net.nodes, [result.handle for result in results]),
        "net",
        [helper.make_tensor_value_info(p.name, TYPES[p.dtype], [rows, *p.shape]) for p in plans],
        [helper.make_tensor_value_info(r.handle, TYPES[r.kind], [rows, *r.shape]) for r in results],
        net.weights,
    )
    used = {name for node in graph.node for name in node.input}
    del graph.initializer[:]
    graph.initializer.extend(weight for weight in net.weights if weight.name in used)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", net.opset)], ir_version=8)
    onnx.checker.check_model(model)
    return model, plans, layers, batch


def _needed(nodes: Sequence[onnx.NodeProto], outputs: Sequence[str]) -> list[onnx.NodeProto]:
    """The nodes that lead to the outputs."""
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if wanted & set(node.output):
            wanted |= set(node.input)
            kept.append(node)
    return kept[::-1]


def main() -> None:
    seed, folder = int(sys.argv[1]), Path(sys.argv[2])
    model, plans, layers, batch = build(seed)
    onnx.save(model, folder / "model.onnx")
    write_inputs(folder, plans, seed)
    write_facts(folder, plans, layers, batch)


if __name__ == "__main__":
    main()
