"""Write TensorFlow's image operators as convolutions, gathers and element-wise operators. Worker side.

Every resize of TensorFlow is linear and works on rows and columns apart, so it is one matrix a side. The matrices are
not derived from a formula but measured, by giving the operator itself the unit images: they hold its every rounding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from .node import Array, Node, static

raw = tf.raw_ops
EDGE = 1e-4  # pixels


def resize(node: Node) -> Any:
    """Resize to a known size by products with matrices (area, bicubic, bilinear, nearest)."""
    image, size, sizes = node.inputs[0], node.ints(1), static(node.inputs[0], 1, 2)
    if size is None or sizes is None:
        return None
    options = {"align_corners": node.attr("align_corners")}
    if node.op.type != "ResizeArea":
        options["half_pixel_centers"] = node.attr("half_pixel_centers")

    def matrix(old: int, new: int) -> Array:
        return _measured(lambda units: getattr(raw, node.op.type)(images=units, size=[new, 1], **options), old)

    rows, columns = (matrix(old, new) for old, new in zip(sizes, size, strict=False))
    if node.op.type == "ResizeNearestNeighbor":
        return tf.gather(tf.gather(image, np.argmax(rows, 1), axis=1), np.argmax(columns, 1), axis=2)
    return _separable(tf.cast(image, tf.float32), rows, columns)


def scale_and_translate(node: Node) -> Any:
    """Write ScaleAndTranslate, which tf.image.resize makes of anti-aliased, Lanczos, Gaussian and Mitchell resizing."""
    size, scale, shift = node.ints(1), node.known[2], node.known[3]
    sizes = static(node.inputs[0], 1, 2)
    if size is None or scale is None or shift is None or sizes is None:
        return None

    def matrix(axis: int) -> Array:
        return _measured(
            lambda units: raw.ScaleAndTranslate(
                images=units,
                size=[size[axis], 1],
                scale=[scale[axis], 1.0],
                translation=[shift[axis], 0.0],
                kernel_type=node.attr("kernel_type"),
                antialias=node.attr("antialias"),
            ),
            sizes[axis],
        )

    return _separable(tf.cast(node.inputs[0], tf.float32), matrix(0), matrix(1))


def _measured(operator: Any, size: int) -> Array:
    """Measure the matrix (new size, old size) of an operator on columns: channel i is the i-th unit column."""
    with tf.init_scope():  # eagerly, although a function is being traced
        units = tf.constant(np.eye(size, dtype=np.float32).reshape(1, size, 1, size))
        return np.asarray(operator(units))[0, :, 0, :]


def _separable(image: Any, rows: Array, columns: Array) -> Any:
    """Compute ``rows @ image @ columns.T`` for every image (N, H, W, C) and channel.

    Each product is a 1x1 convolution over the axis that is resized, held last: unlike MatMul with a constant on the
    left and the batch folded into another axis, every converter, and the next one in a chain, takes that.
    """
    y = tf.nn.conv2d(tf.transpose(image, [0, 2, 3, 1]), rows.T[None, None], 1, "VALID")  # N, W, C, rows
    y = tf.nn.conv2d(tf.transpose(y, [0, 3, 2, 1]), columns.T[None, None], 1, "VALID")  # N, rows, C, columns
    return tf.transpose(y, [0, 1, 3, 2])


def crop_and_resize(node: Node) -> Any:
    """Write CropAndResize as a product with matrices of interpolation weights, one pair a box."""
    image, boxes, which, _ = node.inputs
    size, sizes = node.ints(3), static(image, 1, 2, 3)
    if size is None or sizes is None:
        return None
    height, width, channels = sizes
    method, outside = node.attr("method"), float(node.attr("extrapolation_value"))

    def weights(low: Any, high: Any, old: int, new: int) -> tuple[Any, Any]:
        """Return weights (boxes, new, old), and which samples (boxes, new) fall inside the image."""
        if new > 1:
            step = (high - low) * float(old - 1) / float(new - 1)
            position = low * float(old - 1) + step * tf.range(new, dtype=tf.float32)
        else:
            position = 0.5 * (low + high) * float(old - 1)
        # A sample on the very edge must not fall outside because a converter rounds the division another way.
        inside = tf.logical_and(position >= -EDGE, position <= float(old - 1) + EDGE)
        position = tf.clip_by_value(position, 0.0, float(old - 1))
        if method == "nearest":
            position = tf.floor(position + 0.5)  # roundf; never negative here
        grid = tf.range(old, dtype=tf.float32)
        return tf.maximum(0.0, 1.0 - tf.abs(position[:, :, None] - grid)), inside

    rows, inside_rows = weights(boxes[:, 0:1], boxes[:, 2:3], height, size[0])
    columns, inside_columns = weights(boxes[:, 1:2], boxes[:, 3:4], width, size[1])
    chosen = tf.cast(tf.gather(image, which), tf.float32)
    y = tf.matmul(rows, tf.reshape(chosen, [-1, height, width * channels]))
    y = tf.transpose(tf.reshape(y, [-1, size[0], width, channels]), [0, 2, 1, 3])
    y = tf.matmul(columns, tf.reshape(y, [-1, width, size[0] * channels]))
    y = tf.transpose(tf.reshape(y, [-1, size[1], size[0], channels]), [0, 2, 1, 3])
    inside = tf.logical_and(inside_rows[:, :, None], inside_columns[:, None, :])
    return tf.where(inside[..., None], y, outside)


def extract_patches(node: Node) -> Any:
    """Write ExtractImagePatches as a convolution that sends each position of the window to its own channel."""
    image, sizes = node.inputs[0], static(node.inputs[0], 1, 2, 3)
    if sizes is None or image.dtype != tf.float32:
        return None
    _, height, width, _ = node.attr("ksizes")
    kernel = np.eye(height * width * sizes[2], dtype=np.float32).reshape(height, width, sizes[2], -1)
    return tf.nn.conv2d(
        image, kernel, node.attr("strides")[1:3], node.attr("padding"), dilations=node.attr("rates")[1:3]
    )


def to_hsv(node: Node) -> Any:
    return tf.stack(_hsv(node.inputs[0]), -1)


def to_rgb(node: Node) -> Any:
    hue, saturation, value = tf.unstack(node.inputs[0], axis=-1)
    return _rgb(hue, value - saturation * value, saturation * value)


def adjust_saturation(node: Node) -> Any:
    hue, saturation, value = _hsv(node.inputs[0])
    saturation = tf.clip_by_value(saturation * node.inputs[1], 0.0, 1.0)
    return _rgb(hue, value - saturation * value, saturation * value)


def adjust_hue(node: Node) -> Any:
    hue, _, value = _hsv(node.inputs[0])
    low = tf.reduce_min(node.inputs[0], -1)
    hue = hue + node.inputs[1]
    return _rgb(hue - tf.floor(hue), low, value - low)


def adjust_contrast(node: Node) -> Any:
    mean = tf.reduce_mean(node.inputs[0], [-3, -2], keepdims=True)
    return (node.inputs[0] - mean) * node.inputs[1] + mean


def _hsv(image: Any) -> tuple[Any, Any, Any]:
    """Return hue, saturation and value (…) of an RGB image (…, 3), as TensorFlow's kernels compute them."""
    red, green, blue = (tf.squeeze(part, -1) for part in tf.split(image, 3, axis=-1))
    value = tf.reduce_max(image, -1)
    extent = value - tf.reduce_min(image, -1)
    coloured = extent > 0.0
    norm = 1.0 / (6.0 * tf.where(coloured, extent, 1.0))
    other = tf.where(tf.equal(green, value), norm * (blue - red) + 2.0 / 6.0, norm * (red - green) + 4.0 / 6.0)
    hue = tf.where(coloured, tf.where(tf.equal(red, value), norm * (green - blue), other), 0.0)
    hue = tf.where(hue < 0.0, hue + 1.0, hue)
    lit = value > 0.0
    return hue, tf.where(lit, extent / tf.where(lit, value, 1.0), 0.0), value


def _rgb(hue: Any, low: Any, extent: Any) -> Any:
    six = hue * 6.0
    red = tf.clip_by_value(tf.abs(six - 3.0) - 1.0, 0.0, 1.0)
    green = tf.clip_by_value(2.0 - tf.abs(six - 2.0), 0.0, 1.0)
    blue = tf.clip_by_value(2.0 - tf.abs(six - 4.0), 0.0, 1.0)
    return tf.stack([low + extent * part for part in (red, green, blue)], -1)


TF2ONNX = {
    "ResizeArea": resize,
    "ResizeBicubic": resize,
    "ResizeNearestNeighbor": resize,
    "ScaleAndTranslate": scale_and_translate,
    "ExtractImagePatches": extract_patches,
    "RGBToHSV": to_hsv,
    "HSVToRGB": to_rgb,
    "AdjustSaturation": adjust_saturation,
}
TFLITE = {
    **TF2ONNX,
    "CropAndResize": crop_and_resize,
    "AdjustHue": adjust_hue,
    "AdjustContrastv2": adjust_contrast,
}
