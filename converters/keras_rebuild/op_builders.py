"""How single TensorFlow graph operations become Keras operations and layers on Values: one builder each.

A builder takes a `Call` and the operation's inputs (Values, or numpy arrays where they are constants) and
returns a Value, or a list where the operation has several outputs. `tensorflow_replay` holds their table.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, reduce
from typing import Any

import keras
import numpy as np
from keras import ops

from .emitter import Emitter, UnsupportedOperation, Value, identity, last

Builder = Callable[..., Any]
UNKNOWN = -(2**30)  # the batch size, while shape arithmetic is folded; only moved around, never computed with


class Call:
    """One graph operation to be replayed: its attributes, a name for what it becomes, and the emitter."""

    def __init__(self, emitter: Emitter, op: Any, layer: str, name: str) -> None:
        self.emit, self.op, self.layer, self.name = emitter, op, layer, name

    def attr(self, key: str) -> Any:
        value = self.op.get_attr(key)
        return value.decode() if isinstance(value, bytes) else value

    def refuse(self, why: str) -> UnsupportedOperation:
        return UnsupportedOperation(self.op.type, self.layer, why)

    def constant(self, value: Any, what: str) -> np.ndarray[Any, Any]:
        if isinstance(value, Value):
            raise self.refuse(f"{what} is not a constant")
        return np.asarray(value)

    def ints(self, value: Any, what: str) -> list[int]:
        return [int(item) for item in self.constant(value, what).ravel()]


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


def reshape(call: Call, x: Value, shape: Any) -> Value:
    target = [-1 if size == UNKNOWN else size for size in call.ints(shape, "the shape")]
    batch = x.shape[0]
    if target and (target[0] == batch or (target[0] == -1 and _keeps_batch(x, target))):
        return call.emit.reshape(call.name, x, target[1:])
    if target.count(-1) > 1:
        raise call.refuse(f"more than one unknown size in {target}")
    y = call.emit.emit(call.name, ops.reshape, call.emit.form(x, identity(x.rank)), tuple(target))
    return Value(call.name, {identity(len(target)): y})


def _keeps_batch(x: Value, target: list[int]) -> bool:
    known = [size for size in x.shape[1:] if size is not None]
    return x.shape[0] is None and (
        -1 in target[1:] or (len(known) == x.rank - 1 and np.prod(known) == np.prod(target[1:]))
    )


def strided_slice(call: Call, x: Value, begin: Any, end: Any, strides: Any) -> Value:
    starts, ends, steps = (call.ints(item, "a bound") for item in (begin, end, strides))
    masks = {key: call.attr(f"{key}_mask") for key in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")}
    key: list[Any] = []
    added: list[int] = []
    for i, (start, stop, step) in enumerate(zip(starts, ends, steps, strict=True)):
        bit = 1 << i
        if masks["ellipsis"] & bit:
            used = sum(1 for j in range(i + 1, len(starts)) if not masks["new_axis"] & 1 << j)
            key += [slice(None)] * (x.rank - len([k for k in key if k is not None]) - used)
        elif masks["new_axis"] & bit:
            key.append(None)
        elif masks["shrink_axis"] & bit:
            key.append(start)
        else:
            if UNKNOWN in (start, stop):
                raise call.refuse("a bound is the batch size")
            low = None if masks["begin"] & bit or (start == 0 and step > 0) else start
            key.append(slice(low, None if masks["end"] & bit else stop, step if step != 1 else None))
    logical = [item for item in key if item is not None]
    y = call.emit.index(call.name, x, logical + [slice(None)] * (x.rank - len(logical)))
    for item in key:
        if item is None:
            y = call.emit.expand(call.name, y, len(added))
        if not isinstance(item, int):
            added.append(1)
    return y


def slice_(call: Call, x: Value, begin: Any, size: Any) -> Value:
    bounds = zip(call.ints(begin, "begin"), call.ints(size, "size"), strict=True)
    key = [slice(b or None, None if s in (-1, UNKNOWN) else b + s) for b, s in bounds]
    return call.emit.index(call.name, x, key)


def _split(call: Call, x: Value, axis: int, sizes: list[int] | None) -> list[Value]:
    length = x.shape[axis]
    if length is None:
        raise call.refuse("the axis has no fixed length")
    count = int(call.attr("num_split"))
    parts = sizes or [length // count] * count
    parts = [length - sum(parts) - 1 if part == -1 else part for part in parts]
    results = []
    for part, start in zip(parts, np.cumsum([0, *parts[:-1]]).tolist(), strict=True):
        key = [slice(start or None, start + part) if a == axis else slice(None) for a in range(x.rank)]
        results.append(call.emit.index(call.name, x, key))
    return results


def even_split(call: Call, axis: Any, x: Value) -> list[Value]:
    return _split(call, x, call.ints(axis, "the axis")[0] % x.rank, None)


def sized_split(call: Call, x: Value, sizes: Any, axis: Any) -> list[Value]:
    return _split(call, x, call.ints(axis, "the axis")[0] % x.rank, call.ints(sizes, "the sizes"))


def unpack(call: Call, x: Value) -> list[Value]:
    axis = call.attr("axis") % x.rank
    return [
        call.emit.index(call.name, x, [i if a == axis else slice(None) for a in range(x.rank)])
        for i in range(call.attr("num"))
    ]


def concat(call: Call, *operands: Any) -> Value:
    return call.emit.concat(call.name, operands[:-1], call.ints(operands[-1], "the axis")[0])


def pack(call: Call, *operands: Any) -> Value:
    rank = max(len(item.shape) for item in operands) + 1
    axis = call.attr("axis") % rank
    parts = [
        call.emit.expand(f"{call.name}_expand", x, axis) if isinstance(x, Value) else np.expand_dims(x, axis)
        for x in operands
    ]
    return call.emit.concat(call.name, parts, axis)


def expand_dims(call: Call, x: Value, axis: Any) -> Value:
    return call.emit.expand(call.name, x, call.ints(axis, "the axis")[0] % (x.rank + 1))


def squeeze(call: Call, x: Value) -> Value:
    axes = [a % x.rank for a in call.attr("squeeze_dims")] or [a for a in range(x.rank) if x.shape[a] == 1]
    return call.emit.along(call.name, ops.squeeze, x, axes, keep=False) if axes else x


def tile(call: Call, x: Value, multiples: Any) -> Value:
    order, repeats = call.emit.order_of([x]), call.ints(multiples, "multiples")
    if all(count == 1 for count in repeats):
        return x
    y = call.emit.emit(call.name, ops.tile, call.emit.form(x, order), tuple(repeats[axis] for axis in order))
    return Value(call.name, {order: y})


def broadcast_to(call: Call, x: Value, shape: Any) -> Value:
    target = call.ints(shape, "the shape")
    for _ in range(len(target) - x.rank):
        x = call.emit.expand(f"{call.name}_expand", x, 0)
    repeats = [1 if size in (UNKNOWN, have) else size for size, have in zip(target, x.shape, strict=True)]
    if any(count != 1 and have != 1 for count, have in zip(repeats, x.shape, strict=True)):
        raise call.refuse(f"{x.shape} to {target}")
    return tile(call, x, np.array(repeats))


def gather(call: Call, x: Any, indices: Any, axis: Any) -> Value:
    where, rank = call.ints(axis, "the axis")[0] % len(x.shape), len(x.shape)
    if call.attr("batch_dims") != 0:
        raise call.refuse("batch_dims")
    if isinstance(x, Value) and not isinstance(indices, Value) and np.ndim(indices) == 0:
        return call.emit.index(call.name, x, [int(indices) if a == where else slice(None) for a in range(rank)])
    if isinstance(x, Value) and not isinstance(indices, Value) and np.ndim(indices) == 1:
        return call.emit.along(call.name, lambda t, axis: ops.take(t, np.asarray(indices), axis=axis), x, [where])
    data, places = (call.emit.form(v, identity(v.rank)) if isinstance(v, Value) else v for v in (x, indices))
    y = call.emit.emit(call.name, ops.take, data, places, axis=where)
    return Value(call.name, {identity(len(y.shape)): y})


def pad_constant(call: Call, x: Value, pads: Any, fill: Any = 0.0) -> Value:
    return _pad_with(call, x, pads, mode="constant", constant_values=call.constant(fill, "the fill value").item())


def mirror_pad(call: Call, x: Value, pads: Any) -> Value:
    return _pad_with(call, x, pads, mode=call.attr("mode").lower())


def _pad_with(call: Call, x: Value, pads: Any, **settings: Any) -> Value:
    order, widths = call.emit.order_of([x]), call.constant(pads, "the padding").tolist()
    physical = [tuple(int(n) for n in widths[axis]) for axis in order]
    return Value(call.name, {order: call.emit.emit(call.name, ops.pad, call.emit.form(x, order), physical, **settings)})


def reverse(call: Call, x: Value, axes: Any) -> Value:
    return call.emit.along(call.name, ops.flip, x, call.ints(axes, "the axis"))


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
    sides = []
    for item, flip in ((x, left), (y, right)):
        side = call.emit.form(item, identity(item.rank)) if isinstance(item, Value) else np.asarray(item)
        swap = ops.swapaxes if isinstance(item, Value) else np.swapaxes
        sides.append(swap(side, -1, -2) if flip else side)
    z = call.emit.emit(call.name, ops.matmul, *sides)
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
