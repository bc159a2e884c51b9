"""Hold tensors in several axis orders, and build Keras operations on them.

`Value` is a tensor in ONNX's (logical) axis order, held in one or more physical orders. `Emitter` builds
named Keras operations on Values in an order that exists already: a transposition is built only where none is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import keras
import numpy as np
from keras import ops

Order = tuple[int, ...]  # Order[position] is the logical axis stored there


class UnsupportedOperation(Exception):
    """A graph operation that has no exact Keras equivalent here."""

    def __init__(self, op_type: str, layer_name: str, why: str = "") -> None:
        super().__init__(f"{op_type} in {layer_name} has no Keras equivalent here" + (f": {why}" if why else ""))
        self.op_type, self.layer_name = op_type, layer_name


def identity(rank: int) -> Order:
    return tuple(range(rank))


def last(rank: int) -> Order:
    """Return the channels-last order: (0, 2, 3, 1) for rank 4."""
    return (0, *range(2, rank), 1) if rank > 2 else identity(rank)


class Value:
    """A symbolic tensor: at least one Keras tensor, keyed by the axis order it is stored in."""

    def __init__(self, name: str, forms: dict[Order, Any]) -> None:
        self.name, self.forms = name, forms
        order, tensor = next(iter(forms.items()))
        self.rank, self.dtype = len(order), str(tensor.dtype)
        self.shape: tuple[int | None, ...] = tuple(tensor.shape[order.index(axis)] for axis in range(len(order)))


class Emitter:
    """Builds named Keras operations on Values; no name is used twice."""

    def __init__(self) -> None:
        self.used: set[str] = set()

    def unique(self, name: str) -> str:
        stem, count = name, 0
        while name in self.used:
            count += 1
            name = f"{stem}_{count}"
        self.used.add(name)
        return name

    def emit(self, name: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a function of `keras.ops` and name the operation that it records."""
        result = function(*args, **kwargs)
        first = result[0] if isinstance(result, list | tuple) else result
        first._keras_history.operation.name = self.unique(name)
        return result

    def form(self, value: Value, order: Order) -> Any:
        """Return the Keras tensor of `value` in `order`, built on first demand."""
        if order not in value.forms:
            present, tensor = next(iter(value.forms.items()))
            kind = "nhwc" if order == last(value.rank) else "nchw" if order == identity(value.rank) else "permuted"
            name = f"{value.name}_{kind}"
            dims = tuple(present.index(axis) for axis in order)
            wide = [tuple(axis for axis in some if value.shape[axis] != 1) for some in (present, order)]
            shape = tuple(value.shape[axis] for axis in order)
            if present[0] != 0 or order[0] != 0:
                value.forms[order] = self.emit(name, ops.transpose, tensor, dims)
            elif wide[0] == wide[1] and None not in shape[1:]:  # only axes of size 1 move
                value.forms[order] = keras.layers.Reshape(shape[1:], name=self.unique(name))(tensor)
            else:
                value.forms[order] = keras.layers.Permute(dims[1:], name=self.unique(name))(tensor)
        return value.forms[order]

    def order_of(self, values: Sequence[Value]) -> Order:
        """Return the order that most of `values` (of one rank) have; in a draw, not the logical one."""
        votes = [order for value in values for order in value.forms]
        return max(
            votes,
            key=lambda order: (votes.count(order), order == last(len(order)), order != identity(len(order))),
        )

    def elementwise(self, name: str, function: Callable[..., Any], *operands: Any) -> Value:
        """Apply `function` to Values and constants that broadcast as in numpy."""
        rank = max(np.ndim(item) if not isinstance(item, Value) else item.rank for item in operands)
        values = [item for item in operands if isinstance(item, Value)]
        order = self.order_of(values) if all(item.rank == rank for item in values) else identity(rank)

        def operand(item: Any) -> Any:
            if isinstance(item, Value):
                return self.form(item, order if item.rank == rank else identity(item.rank))
            item = np.asarray(item)
            return item.reshape((1,) * (rank - item.ndim) + item.shape).transpose(order) if item.ndim else item

        tensors = [operand(item) for item in operands]
        if function in (ops.add, ops.subtract):
            tensors = _whole_along_the_last_axis(tensors)
        if function is ops.add and _one_wide_axis_inside(tensors[1]):
            tensors.reverse()  # Keras adds a second operand like that along the last axis, if its size fits there too
        return Value(name, {order: self.emit(name, function, *tensors)})

    def transpose(self, value: Value, perm: Sequence[int]) -> Value:
        """Transpose logically: no operation, every form is only read by other axis numbers."""
        inverse = [list(perm).index(axis) for axis in range(value.rank)]
        return Value(value.name, {tuple(inverse[a] for a in order): t for order, t in value.forms.items()})

    def reshape(self, name: str, value: Value, target: Sequence[int]) -> Value:
        """Reshape all but the batch axis to `target` (one -1 allowed).

        Where only the channels are split or merged, this is done on the channels-last form.
        """
        source, target = list(value.shape[1:]), list(target)
        if None not in source and target.count(-1) == 1:
            size = prod(d for d in source if d is not None)
            target[target.index(-1)] = size // max(1, -prod(target))
        rank, common = len(target) + 1, 0
        while common < min(len(source), len(target)) and source[-1 - common] == target[-1 - common]:
            common += 1
        head = len(target) - common
        if 0 < common < len(source) and head and None not in source and -1 not in target:
            need = (0, *range(value.rank - common, value.rank), *range(1, value.rank - common))
            if need in value.forms or identity(value.rank) not in value.forms:
                y = keras.layers.Reshape((*target[head:], *target[:head]), name=self.unique(name))
                return Value(name, {(0, *range(head + 1, rank), *range(1, head + 1)): y(self.form(value, need))})
        layer = keras.layers.Reshape(tuple(target), name=self.unique(name))
        return Value(name, {identity(rank): layer(self.form(value, identity(value.rank)))})

    def along(
        self, name: str, function: Callable[..., Any], value: Value, axes: Sequence[int], keep: bool = True
    ) -> Value:
        """Apply `function(tensor, axis=...)`; without `keep` those axes are gone from the result."""
        order = self.order_of([value])
        positions = [order.index(axis % value.rank) for axis in axes]
        y = self.emit(name, function, self.form(value, order), axis=positions[0] if len(positions) == 1 else positions)
        return Value(name, {order if keep else _without(order, [axis % value.rank for axis in axes]): y})

    def index(self, name: str, value: Value, key: Sequence[Any]) -> Value:
        """Slice every axis; an int drops its axis."""
        if all(isinstance(item, slice) and item == slice(None) for item in key):
            return value
        order = self.order_of([value])
        physical = tuple(key[axis] for axis in order)
        y = self.emit(name, lambda tensor: tensor[physical], self.form(value, order))
        return Value(name, {_without(order, [axis for axis, item in enumerate(key) if isinstance(item, int)]): y})

    def expand(self, name: str, value: Value, axis: int) -> Value:
        """Insert an axis of size 1, where that leaves a usual order if it can."""
        order = self.order_of([value])
        moved = [a + (a >= axis) for a in order]
        options = [(*moved[:p], axis, *moved[p:]) for p in range(value.rank + 1)]
        usual = (identity(value.rank + 1), last(value.rank + 1))
        result = next((option for option in options if option in usual), options[-1])
        return Value(name, {result: self.emit(name, ops.expand_dims, self.form(value, order), result.index(axis))})

    def concat(self, name: str, operands: Sequence[Any], axis: int) -> Value:
        order = self.order_of([item for item in operands if isinstance(item, Value)])
        parts = [self.form(x, order) if isinstance(x, Value) else np.asarray(x).transpose(order) for x in operands]
        return Value(name, {order: self.emit(name, ops.concatenate, parts, axis=order.index(axis % len(order)))})


def _whole_along_the_last_axis(tensors: Sequence[Any]) -> list[Any]:
    """Repeat a constant of size 1 along the last axis: TensorFlow's optimiser adds such a one to a layer's bias before
    it, as if it had the bias's shape, and the graph no longer runs."""
    size = max((tensor.shape[-1] or 1 for tensor in tensors if len(tensor.shape)), default=1)
    return [
        np.repeat(tensor, size, axis=-1)
        if isinstance(tensor, np.ndarray) and tensor.size > 1 and tensor.shape[-1] == 1
        else tensor
        for tensor in tensors
    ]


def _one_wide_axis_inside(tensor: Any) -> bool:
    wide = [axis for axis, size in enumerate(tensor.shape) if size != 1]
    return len(wide) == 1 and wide[0] != len(tensor.shape) - 1


def _without(order: Order, axes: Sequence[int]) -> Order:
    remaining = sorted(set(order) - set(axes))
    return tuple(remaining.index(axis) for axis in order if axis in remaining)
