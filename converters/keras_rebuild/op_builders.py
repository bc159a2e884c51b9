"""How the TensorFlow graph operations that compute become Keras operations and layers on Values: one builder each.

A builder takes a `Call` and the operation's inputs (Values, or numpy arrays where they are constants) and
returns a Value, or a list where the operation has several outputs. `lambda_replay` holds their table, and
`shape_builders` the operations that only move values.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, reduce
from typing import Any

import keras
import numpy as np
from keras import ops

from .emitter import Value, identity, last
from .op_call import Builder, Call
from .shape_builders import pad_constant


def convolution(call: Call, x: Value, kernel: Any, bias: Any = None) -> Value:
    """Build a Keras layer that holds `kernel` (height, width, in, out); grouped if `in` is a part of the channels.

    For DepthwiseConv2dNative the kernel is (height, width, in, multiplier).
    """
    kernel = call.constant(kernel, "the kernel")
    order = last(4) if call.attr("data_format") == "NCHW" else identity(4)
    space = (2, 3) if call.attr("data_format") == "NCHW" else (1, 2)
    strides, dilation = ([call.attr(key)[axis] for axis in space] for key in ("strides", "dilations"))
    padding = call.attr("padding")
    if padding == "EXPLICIT":
        explicit = np.reshape(call.attr("explicit_paddings"), (4, 2)).tolist()
        x, padding = pad_constant(call, x, explicit, 0.0), "VALID"
    depthwise = call.op.type == "DepthwiseConv2dNative"
    late = max(strides) > 1 and (max(dilation) > 1 or (depthwise and strides[0] != strides[1]))
    if late and padding != "VALID":
        raise call.refuse(f"strides {strides}, dilations {dilation}, padding {padding}")
    tensor = call.emit.form(x, order)
    settings: dict[str, Any] = {
        "kernel_size": kernel.shape[:2],
        "strides": (1, 1) if late else tuple(strides),
        "padding": padding.lower(),
        "dilation_rate": tuple(dilation),
        "use_bias": bias is not None,
        "data_format": "channels_last",
        "name": call.emit.unique(call.name),
    }
    if depthwise:
        layer = keras.layers.DepthwiseConv2D(depth_multiplier=kernel.shape[3], **settings)
    else:
        groups = tensor.shape[-1] // kernel.shape[2]
        layer = keras.layers.Conv2D(kernel.shape[3], groups=groups, **settings)
    y = Value(call.name, {order: layer(tensor)})
    layer.set_weights([kernel] if bias is None else [kernel, bias])
    if not late:
        return y
    steps = {axis: slice(None, None, step) for axis, step in zip(space, strides, strict=True)}
    return call.emit.index(call.name, y, [steps.get(axis, slice(None)) for axis in range(4)])


def unary(function: Callable[..., Any]) -> Builder:
    return lambda call, x: call.emit.elementwise(call.name, function, x)


def binary(function: Callable[..., Any]) -> Builder:
    return lambda call, *xs: reduce(lambda a, b: call.emit.elementwise(call.name, function, a, b), xs)


def reduction(function: Callable[..., Any]) -> Builder:
    def build(call: Call, x: Value, axes: Any) -> Value:
        axis_list, keep = call.ints(axes, "the axis"), bool(call.attr("keep_dims"))
        return call.emit.along(call.name, partial(function, keepdims=keep), x, axis_list, keep) if axis_list else x

    return build


def arg(function: Callable[..., Any]) -> Builder:
    def build(call: Call, x: Value, axis: Any) -> Value:
        y = call.emit.along(call.name, function, x, call.ints(axis, "the axis"), keep=False)
        return call.emit.elementwise(f"{call.name}_cast", cast_to(call.attr("output_type").name), y)

    return build


def softmax(function: Callable[..., Any]) -> Builder:
    return lambda call, x: call.emit.along(call.name, function, x, [-1])


def cast_to(dtype: str) -> Callable[[Any], Any]:
    return lambda x: ops.cast(x, dtype)


def bias_add(call: Call, x: Value, bias: Any) -> Value:
    axis = 1 if call.attr("data_format") == "NCHW" else x.rank - 1
    shape = [-1 if a == axis else 1 for a in range(x.rank)]
    return call.emit.elementwise(call.name, ops.add, x, call.constant(bias, "the bias").reshape(shape))


def einsum(call: Call, *operands: Any) -> Value:
    """``keras.ops.einsum`` on tensors in logical axis order; constants are passed as they are."""
    tensors = [call.emit.form(x, identity(x.rank)) if isinstance(x, Value) else x for x in operands]
    y = call.emit.emit(call.name, ops.einsum, call.attr("equation"), *tensors)
    return Value(call.name, {identity(len(y.shape)): y})


def matmul(call: Call, x: Any, y: Any) -> Value:
    flags = ("transpose_a", "transpose_b") if call.op.type == "MatMul" else ("adj_x", "adj_y")
    left, right = (call.attr(flag) for flag in flags)
    if isinstance(x, Value) and not isinstance(y, Value) and y.ndim == 2 and not left:
        kernel = y.T if right else y
        dense = keras.layers.Dense(kernel.shape[1], use_bias=False, name=call.emit.unique(call.name))
        z = dense(call.emit.form(x, identity(x.rank)))
        dense.set_weights([kernel])
        return Value(call.name, {identity(x.rank): z})
    operands = []
    for item, flip in ((x, left), (y, right)):
        operand = call.emit.form(item, identity(item.rank)) if isinstance(item, Value) else np.asarray(item)
        swap = ops.swapaxes if isinstance(item, Value) else np.swapaxes
        operands.append(swap(operand, -1, -2) if flip else operand)
    z = call.emit.emit(call.name, ops.matmul, *operands)
    return Value(call.name, {identity(len(z.shape)): z})


def pool(layer_type: Any) -> Builder:
    def build(call: Call, x: Value) -> Value:
        channels_first = call.attr("data_format") == "NCHW"
        order, space = (last(4), slice(2, 4)) if channels_first else (identity(4), slice(1, 3))
        if call.attr("padding") == "EXPLICIT":
            raise call.refuse("explicit padding")
        layer = layer_type(
            tuple(call.attr("ksize")[space]),
            strides=tuple(call.attr("strides")[space]),
            padding=call.attr("padding").lower(),
            data_format="channels_last",
            name=call.emit.unique(call.name),
        )
        return Value(call.name, {order: layer(call.emit.form(x, order))})

    return build


def lrn(call: Call, x: Value) -> Value:
    """Compute x / (bias + alpha * sum of x^2 over 2r+1 channels) ^ beta, the sum as an average pooling."""
    radius, bias, alpha, beta = (call.attr(key) for key in ("depth_radius", "bias", "alpha", "beta"))
    emit, name, width = call.emit, call.name, 2 * int(radius) + 1
    shape = [size for size in x.shape[1:] if size is not None]
    if len(shape) < x.rank - 1:
        raise call.refuse(f"the shape {x.shape} is not fixed")
    rows = int(np.prod(shape[:-1]))
    squares = emit.elementwise(f"{name}_square", ops.square, x)
    flat = emit.form(emit.reshape(f"{name}_rows", squares, [rows, shape[-1], 1]), identity(4))
    flat = emit.emit(f"{name}_pad", ops.pad, flat, [(0, 0), (0, 0), (int(radius), int(radius)), (0, 0)])
    pooled = emit.emit(
        f"{name}_mean", ops.average_pool, flat, (1, width), 1, padding="valid", data_format="channels_last"
    )
    means = emit.reshape(f"{name}_unrows", Value(name, {identity(4): pooled}), shape)
    scaled = emit.elementwise(f"{name}_alpha", ops.multiply, means, np.float32(alpha * width))
    based = emit.elementwise(f"{name}_bias", ops.add, scaled, np.float32(bias))
    power = emit.elementwise(f"{name}_beta", ops.power, based, np.float32(beta))
    return emit.elementwise(name, ops.divide, x, power)


def resize(mode: str) -> Builder:
    def build(call: Call, x: Value, size: Any) -> Value:
        rows, columns = call.ints(size, "the size")
        tensor = call.emit.form(x, identity(4))
        whole = all(have and want % have == 0 for have, want in zip(x.shape[1:3], (rows, columns), strict=True))
        if call.attr("align_corners") or not (call.attr("half_pixel_centers") or (mode == "nearest" and whole)):
            raise call.refuse("only half_pixel_centers is exact")
        settings: dict[str, Any] = {"interpolation": mode, "data_format": "channels_last"}
        y = call.emit.emit(call.name, ops.image.resize, tensor, (rows, columns), **settings)
        return Value(call.name, {identity(4): y})

    return build
