"""Write TensorFlow's element-wise operators, activations and integer arithmetic by others. Worker side."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from .node import Node, Rewrite

raw = tf.raw_ops


def _rounded_down(node: Node) -> tuple[Any, Any, Any] | None:
    """Return the quotient towards zero, the remainder, and 1 where floor division is one less; for integers only.

    tf2onnx rounds integer quotients towards zero and takes the remainder's sign from the dividend.
    """
    x, y = node.inputs
    if not x.dtype.is_integer or x.dtype.is_unsigned:
        return None
    quotient = raw.TruncateDiv(x=x, y=y)
    remainder = x - quotient * y
    zero = tf.zeros([], x.dtype)
    lower = tf.logical_and(tf.not_equal(remainder, zero), tf.not_equal(remainder < zero, y < zero))
    return quotient, remainder, tf.cast(lower, x.dtype)


def floor_division(node: Node) -> Any:
    parts = _rounded_down(node)
    return None if parts is None else parts[0] - parts[2]


def floor_remainder(node: Node) -> Any:
    parts = _rounded_down(node)
    return None if parts is None else parts[1] + parts[2] * node.inputs[1]


def truncated_remainder(node: Node) -> Any:
    """Give the remainder of the absolute values the dividend's sign: floor and truncation agree on them."""
    x, y = node.inputs
    return tf.sign(x) * tf.math.floormod(tf.abs(x), tf.abs(y))


def softplus(node: Node) -> Any:
    """Write max(x, 0) + log(1 + exp(-|x|)): TFLite computes log(1 + exp(x)), which overflows for large x."""
    x = node.inputs[0]
    return tf.nn.relu(x) + tf.math.log(1.0 + tf.exp(-tf.abs(x)))


def exp_minus_one(node: Node) -> Any:
    """Write expm1 without the cancellation of exp(x) - 1 around 0."""
    x = node.inputs[0]
    return tf.tanh(0.5 * x) * (tf.exp(x) + 1.0)


def log_plus_one(node: Node) -> Any:
    """Use the series of log1p around 0, where log(1 + x) cancels; its relative error is below 4e-8."""
    x = node.inputs[0]
    series = x * (1.0 - x * (1 / 2 - x * (1 / 3 - x * (1 / 4))))
    return tf.where(tf.abs(x) < 0.02, series, tf.math.log(1.0 + x))


def error_function(node: Node) -> Any:
    return _erf(node.inputs[0]) if node.inputs[0].dtype == tf.float32 else None


def complementary_error_function(node: Node) -> Any:
    return 1.0 - _erf(node.inputs[0]) if node.inputs[0].dtype == tf.float32 else None


def _erf(x: Any) -> Any:
    """Compute Eigen's rational function for float32 (4 ulp); Abramowitz and Stegun 7.1.26 is too coarse."""
    above = (-2.72614225801306e-10, 2.77068142495902e-08, -2.10102402082508e-06, -5.69250639462346e-05,
             -7.34990630326855e-04, -2.95459980854025e-03, -1.60960333262415e-02)  # fmt: skip
    below = (-1.45660718464996e-05, -2.13374055278905e-04, -1.68282697438203e-03, -7.37332916720468e-03,
             -1.42647390514189e-02)  # fmt: skip
    x = tf.minimum(tf.maximum(x, -4.0), 4.0)
    square = x * x
    top, bottom = tf.zeros_like(x) + above[0], tf.zeros_like(x) + below[0]
    for factor in above[1:]:
        top = top * square + factor
    for factor in below[1:]:
        bottom = bottom * square + factor
    return x * top / bottom


def erfc_from_erf(node: Node) -> Any:
    return 1.0 - tf.math.erf(node.inputs[0])


def guarded(function: Any) -> Rewrite:
    """Return 0 where x is 0, whatever the other is, for Xlogy and Xdivy."""

    def build(node: Node) -> Any:
        x, y = node.inputs
        zero = tf.equal(x, 0.0)
        return tf.where(zero, 0.0, function(x, tf.where(zero, 1.0, y)))

    return build


def of(function: Any) -> Rewrite:
    """Apply a formula to all the inputs."""
    return lambda node: function(*node.inputs)


def _inverse_sine(x: Any) -> Any:
    return tf.atan2(x, tf.sqrt((1.0 - x) * (1.0 + x)))


def _inverse_cosine(x: Any) -> Any:
    return tf.atan2(tf.sqrt((1.0 - x) * (1.0 + x)), x)


def _inverse_hyperbolic_sine(x: Any) -> Any:
    size = tf.abs(x)
    return tf.sign(x) * tf.math.log(size + tf.sqrt(size * size + 1.0))


def is_infinite(node: Node) -> Any:
    """Compare with the largest number: TFLite's lowering of IsInf takes ordinary numbers for infinite ones."""
    limit = float(np.finfo(node.inputs[0].dtype.as_numpy_dtype).max)
    return tf.abs(node.inputs[0]) > limit


def fake_quantization(node: Node) -> Any:
    """Clamp, then round half up on the nudged grid, for FakeQuantWithMinMaxArgs."""
    low, high = float(node.attr("min")), float(node.attr("max"))
    first, last = int(node.attr("narrow_range")), 2 ** int(node.attr("num_bits")) - 1
    scale = np.float32((np.float32(high) - np.float32(low)) / np.float32(last - first))
    zero = np.clip(np.floor(np.float32(first - np.float32(low) / scale) + np.float32(0.5)), first, last)
    bottom, top = np.float32((first - zero) * scale), np.float32((last - zero) * scale)
    x = tf.minimum(tf.maximum(node.inputs[0], bottom), top) - bottom
    return tf.floor(x * np.float32(1.0 / scale) + 0.5) * scale + bottom


def sign_bit(node: Node) -> Any:
    """Take the sign bits of floats by comparisons: both converters lack BitwiseAnd, and Keras's argmax asks for them.

    -0.0 has the sign bit too: its reciprocal is below 0.
    """
    bits, mask = node.inputs[0].op, node.known[1]
    if bits.type != "Bitcast" or bits.inputs[0].dtype != tf.float32 or mask is None or mask.dtype != np.int32:
        return None
    if np.any(mask != np.iinfo(np.int32).min):
        return None
    x = bits.inputs[0]
    is_negative_zero = tf.logical_and(tf.equal(x, 0.0), tf.math.reciprocal(x) < 0.0)
    is_negative = tf.logical_or(x < 0.0, is_negative_zero)
    return tf.where(is_negative, tf.constant(mask), tf.constant(0, tf.int32))


TF2ONNX: dict[str, Rewrite] = {
    "BitwiseAnd": sign_bit,
    "Erfc": erfc_from_erf,
    "Expm1": exp_minus_one,
    "FakeQuantWithMinMaxArgs": fake_quantization,
    "FloorDiv": floor_division,
    "FloorMod": floor_remainder,
    "Invert": of(lambda x: -1 - x),
    "Log1p": log_plus_one,
    "TruncateMod": truncated_remainder,
    "Xdivy": guarded(tf.divide),
    "Xlogy": guarded(lambda x, y: x * tf.math.log(y)),
}
TFLITE: dict[str, Rewrite] = {
    "Acos": of(_inverse_cosine),
    "Acosh": of(lambda x: tf.math.log(x + tf.sqrt((x - 1.0) * (x + 1.0)))),
    "Asin": of(_inverse_sine),
    "Asinh": of(_inverse_hyperbolic_sine),
    "Atan": of(lambda x: tf.atan2(x, tf.ones_like(x))),
    "Atanh": of(lambda x: 0.5 * tf.math.log((1.0 + x) / (1.0 - x))),
    "BitwiseAnd": sign_bit,
    "ClipByValue": of(lambda x, low, high: tf.minimum(tf.maximum(x, low), high)),
    "Cosh": of(lambda x: 0.5 * (tf.exp(x) + tf.exp(-x))),
    "Erf": error_function,
    "Erfc": complementary_error_function,
    "Expm1": exp_minus_one,
    "FakeQuantWithMinMaxArgs": fake_quantization,
    "Invert": of(lambda x: -1 - x),
    "IsInf": is_infinite,
    "Log1p": log_plus_one,
    "LeftShift": of(lambda x, y: x * tf.cast(tf.round(tf.pow(2.0, tf.cast(y, tf.float32))), x.dtype)),
    "Sinh": of(lambda x: 0.5 * (tf.exp(x) - tf.exp(-x))),
    "Softplus": softplus,
    "Tan": of(lambda x: tf.sin(x) / tf.cos(x)),
    "TruncateMod": truncated_remainder,
}
