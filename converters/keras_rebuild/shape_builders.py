"""Builders of the operations that move values and compute none: reshape, slice, split, join, gather, pad, repeat."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from .emitter import Value, identity
from .op_call import UNKNOWN, Call


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
