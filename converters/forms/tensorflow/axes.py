"""Write TensorFlow's operators that move, scan, search and reduce along axes by others. Worker side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from .node import Node, Rewrite, static

raw = tf.raw_ops


def unpack(node: Node) -> Any:
    """Write Unpack as slices: TFLite takes Unpack + Concatenation for a Reshape, whichever the axes are."""
    x, axis = node.inputs[0], int(node.attr("axis"))
    if x.shape.rank is None:
        return None
    axis %= x.shape.rank
    return [
        tf.squeeze(tf.slice(x, _at(x, axis, i, 0), _at(x, axis, 1, -1)), axis) for i in range(int(node.attr("num")))
    ]


def roll(node: Node) -> Any:
    """Write Roll as two slices, exchanged."""
    x, shifts, axes = node.inputs[0], node.ints(1), node.ints(2)
    if shifts is None or axes is None or x.shape.rank is None or static(x, *axes) is None:
        return None
    for shift, axis in zip(shifts, axes, strict=True):
        axis %= x.shape.rank
        size = int(x.shape[axis])
        if cut := -shift % size:
            tail = tf.slice(x, _at(x, axis, cut, 0), _at(x, axis, size - cut, -1))
            x = tf.concat([tail, tf.slice(x, _at(x, axis, 0, 0), _at(x, axis, cut, -1))], axis)
    return x


def _at(x: Any, axis: int, value: int, others: int) -> list[int]:
    return [value if other == axis else others for other in range(x.shape.rank)]


def scan(combine: Callable[[Any, Any], Any], neutral: float) -> Rewrite:
    """Write Cumprod and CumulativeLogsumexp by doubling: after step k every element covers the 2**k before it."""

    def build(node: Node) -> Any:
        x, axes = node.inputs[0], node.ints(1)
        if axes is None or x.shape.rank is None or static(x, axes[0]) is None:
            return None
        axis = axes[0] % x.shape.rank
        size, reverse = int(x.shape[axis]), bool(node.attr("reverse"))

        def shifted(y: Any, by: int) -> Any:
            pads = [[0, 0]] * x.shape.rank
            pads[axis] = [0, by] if reverse else [by, 0]
            y = tf.slice(y, _at(x, axis, by if reverse else 0, 0), _at(x, axis, size - by, -1))
            return tf.pad(y, pads, constant_values=tf.constant(neutral, x.dtype))

        if node.attr("exclusive"):
            x = shifted(x, 1)
        step = 1
        while step < size:
            x = combine(x, shifted(x, step))
            step *= 2
        return x

    return build


def _log_sum_exp(a: Any, b: Any) -> Any:
    return tf.maximum(a, b) + tf.math.log(1.0 + tf.exp(-tf.abs(a - b)))


def bucketize(node: Node) -> Any:
    """Count, for Bucketize, how many boundaries are not above the number."""
    x = tf.cast(node.inputs[0], tf.float32)[..., None]
    edges = tf.constant(node.attr("boundaries"), tf.float32)
    return tf.reduce_sum(tf.cast(x >= edges, tf.int32), -1)


def bound(before: Callable[[Any, Any], Any]) -> Rewrite:
    """Count, for LowerBound and UpperBound, how many of the sorted numbers come before each value."""

    def build(node: Node) -> Any:
        ordered, values = node.inputs
        counted = tf.cast(before(ordered[:, None, :], values[:, :, None]), node.op.outputs[0].dtype)
        return tf.reduce_sum(counted, -1)

    return build


def euclidean_norm(node: Node) -> Any:
    x, axes = node.inputs[0], node.ints(1)
    return None if axes is None else tf.sqrt(tf.reduce_sum(x * x, axes, keepdims=bool(node.attr("keep_dims"))))


def diagonal(node: Node) -> Any:
    """Sum over everything but the main diagonal set to 0, for MatrixDiagPartV3."""
    x, at = node.inputs[0], node.ints(1)
    sizes = None if x.shape.rank is None else static(x, -2, -1)
    if sizes is None or at is None or set(at) != {0}:
        return None
    short = min(sizes)
    x = x[..., :short, :short]
    return tf.reduce_sum(tf.where(np.eye(short, dtype=bool), x, tf.zeros([], x.dtype)), -1)


def cross_product(node: Node) -> Any:
    a, b = node.inputs

    def rotated(x: Any, by: int) -> Any:
        return tf.gather(x, [by % 3, (by + 1) % 3, (by + 2) % 3], axis=-1)

    return rotated(a, 1) * rotated(b, 2) - rotated(a, 2) * rotated(b, 1)


def einsum(node: Node) -> Any:
    """Write Einsum of two tensors as one product of matrices, of one tensor as a sum; no label twice in one tensor."""
    equation = node.attr("equation")
    left, result = equation.split("->")
    labels = left.split(",")
    if "." in equation:
        return None
    if len(labels) == 1 and len(set(left)) < len(left):
        return _einsum_diagonal(node.inputs[0], left, result)
    if len(labels) != 2 or any(len(set(part)) < len(part) for part in [*labels, result]):
        return None
    a, b = node.inputs
    size: dict[str, Any] = {}
    for x, part in zip((a, b), labels, strict=True):
        for axis, label in enumerate(part):
            known = x.shape[axis]
            size.setdefault(label, tf.shape(x)[axis] if known is None else int(known))

    def summed(x: Any, part: str, other: str) -> tuple[Any, str]:
        gone = [axis for axis, label in enumerate(part) if label not in other and label not in result]
        return (tf.reduce_sum(x, gone) if gone else x), "".join(p for i, p in enumerate(part) if i not in gone)

    (a, left_part), (b, right_part) = summed(a, labels[0], labels[1]), summed(b, labels[1], labels[0])
    batch = [label for label in left_part if label in right_part and label in result]
    inner = [label for label in left_part if label in right_part and label not in result]
    free_a, free_b = ([label for label in part if label not in batch + inner] for part in (left_part, right_part))

    def volume(part: list[str]) -> Any:
        sizes = [size[label] for label in part]
        return int(np.prod(sizes)) if all(isinstance(s, int) for s in sizes) else tf.reduce_prod(tf.stack(sizes))

    def matrix(x: Any, part: str, rows: list[str], columns: list[str]) -> Any:
        x = tf.transpose(x, [part.index(label) for label in batch + rows + columns])
        return tf.reshape(x, _shape([*(size[label] for label in batch), volume(rows), volume(columns)]))

    y = tf.matmul(matrix(a, left_part, free_a, inner), matrix(b, right_part, inner, free_b))
    order = batch + free_a + free_b
    y = tf.reshape(y, _shape([size[label] for label in order]))
    return tf.transpose(y, [order.index(label) for label in result])


def _shape(sizes: list[Any]) -> Any:
    """Return a shape for Reshape; static but for one free size where that can be."""
    free = [i for i, s in enumerate(sizes) if not isinstance(s, int)]
    if len(free) > 1:
        return tf.stack(sizes)
    return [-1 if i in free else s for i, s in enumerate(sizes)]


def _einsum_diagonal(x: Any, left: str, result: str) -> Any:
    """Take the diagonal of the two last axes, as of ``...ii->...i``."""
    if left[-1] != left[-2] or len(set(left)) != len(left) - 1 or result != left[:-1] or static(x, -1) is None:
        return None
    return tf.reduce_sum(tf.where(np.eye(int(x.shape[-1]), dtype=bool), x, tf.zeros([], x.dtype)), -1)


TF2ONNX: dict[str, Rewrite] = {
    "Bucketize": bucketize,
    "Cross": cross_product,
    "CumulativeLogsumexp": scan(_log_sum_exp, -1e38),
    "EuclideanNorm": euclidean_norm,
    "LowerBound": bound(tf.less),
    "Roll": roll,
    "UpperBound": bound(tf.less_equal),
}
TFLITE: dict[str, Rewrite] = {
    **{
        name: TF2ONNX[name]
        for name in ("Cross", "CumulativeLogsumexp", "EuclideanNorm", "LowerBound", "Roll", "UpperBound")
    },
    "Cumprod": scan(tf.multiply, 1.0),
    "Einsum": einsum,
    "MatrixDiagPartV3": diagonal,
    "Unpack": unpack,
}
