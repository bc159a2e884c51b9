"""Write TensorFlow's operators on windows (convolution, pooling, morphology) by others. Worker side."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from .node import Node, static

raw = tf.raw_ops
LOWEST = float(np.finfo(np.float32).min)


def transposed_convolution(node: Node) -> Any:
    """Write Conv2DBackpropInput without dilation; output beyond what the windows cover becomes explicit zeros.

    tf2onnx writes such outputs as negative pads, TFLite has no dilated transposed convolution.
    """
    kernel, image = node.known[1], node.inputs[2]
    sizes = static(image, 1, 2)
    shape_of_output = node.op.outputs[0].shape
    is_known = shape_of_output.rank is not None and None not in list(shape_of_output[1:3])
    wanted = [int(d) for d in shape_of_output[1:3]] if is_known else None
    if (shape := node.ints(0)) is not None:
        wanted = shape[1:3]
    if kernel is None or sizes is None or wanted is None or node.attr("data_format") != "NHWC":
        return None
    steps, dilation, padding = node.attr("strides")[1:3], node.attr("dilations")[1:3], node.attr("padding")
    spread = [(side - 1) * rate + 1 for side, rate in zip(kernel.shape[:2], dilation, strict=True)]
    full = [(size - 1) * step + side for size, step, side in zip(sizes, steps, spread, strict=True)]
    beyond = [max(want - cover, 0) for want, cover in zip(wanted, full, strict=True)]
    if padding == "EXPLICIT" or (not any(beyond) and max(dilation) == 1):
        return None
    wide = np.zeros((*spread, *kernel.shape[2:]), kernel.dtype)
    wide[:: dilation[0], :: dilation[1]] = kernel
    batch = tf.shape(image)[0]
    y = tf.nn.conv2d_transpose(image, wide, tf.stack([batch, *full, kernel.shape[2]]), steps, "VALID")
    before = [0 if padding == "VALID" else max(c - w, 0) // 2 for c, w in zip(full, wanted, strict=True)]
    cut = [min(want, cover) for want, cover in zip(wanted, full, strict=True)]
    y = y[:, before[0] : before[0] + cut[0], before[1] : before[1] + cut[1], :]
    return tf.pad(y, [[0, 0], [0, beyond[0]], [0, beyond[1]], [0, 0]]) if any(beyond) else y


def sparse_convolution(node: Node) -> Any:
    """Write a SAME convolution whose windows leave elements out at the end as a VALID one.

    TensorFlow's own TFLite interpreter pads it by less than nothing. What an axis does need becomes a Pad.
    """
    image, window = node.inputs[0], static(node.inputs[1], 0, 1)
    sizes = static(image, 1, 2)
    if sizes is None or window is None or node.attr("padding") != "SAME" or node.attr("data_format") != "NHWC":
        return None
    steps, rates = node.attr("strides")[1:3], node.attr("dilations")[1:3]
    missing = [
        (-(-size // step) - 1) * step + (side - 1) * rate + 1 - size
        for size, side, step, rate in zip(sizes, window, steps, rates, strict=True)
    ]
    if min(missing) >= 0:
        return None
    pads = [[max(few, 0) // 2, max(few, 0) - max(few, 0) // 2] for few in missing]
    if any(map(any, pads)):
        image = tf.pad(image, [[0, 0], *pads, [0, 0]])
    convolve = tf.nn.conv2d if node.op.type == "Conv2D" else tf.nn.depthwise_conv2d
    dilations = node.attr("dilations") if node.op.type == "Conv2D" else rates
    return convolve(image, node.inputs[1], node.attr("strides"), "VALID", dilations=dilations)


def max_pool(node: Node) -> Any:
    """Write the explicit padding of MaxPool as a Pad by the lowest number."""
    if node.attr("padding") != "EXPLICIT" or node.attr("data_format") != "NHWC":
        return None
    pads = np.reshape(node.attr("explicit_paddings"), (4, 2)).tolist()
    image = tf.pad(node.inputs[0], pads, constant_values=LOWEST)
    return tf.nn.max_pool2d(image, node.attr("ksize"), node.attr("strides"), "VALID")


def max_pool_with_argmax(node: Node) -> Any:
    """Write MaxPoolWithArgmax as MaxPool where only the values are used."""
    if node.used(1):
        return None
    values = tf.nn.max_pool2d(node.inputs[0], node.attr("ksize"), node.attr("strides"), node.attr("padding"))
    return [values, tf.zeros_like(values, dtype=node.op.outputs[1].dtype)]


def pool_of_volumes(node: Node) -> Any:
    """Write MaxPool3D and AvgPool3D as two poolings of images: over height and width, then over depth."""
    pool = tf.nn.max_pool2d if node.op.type == "MaxPool3D" else tf.nn.avg_pool2d
    volume, sizes = node.inputs[0], static(node.inputs[0], 1, 2, 3, 4)
    if sizes is None or node.attr("data_format") != "NDHWC":
        return None
    depth, height, width, channels = sizes
    window, steps, padding = node.attr("ksize"), node.attr("strides"), node.attr("padding")
    y = tf.reshape(volume, [-1, height, width, channels])
    y = pool(y, window[2:4], steps[2:4], padding)
    height, width = y.shape[1:3]
    y = pool(tf.reshape(y, [-1, depth, height * width, channels]), [window[1], 1], [steps[1], 1], padding)
    return tf.reshape(y, [-1, y.shape[1], height, width, channels])


def dilation(node: Node) -> Any:
    """Take, for Dilation2D, the largest of the image's shifted copies, each raised by its element of the filter."""
    image, kernel, sizes = node.inputs[0], node.inputs[1], static(node.inputs[0], 1, 2)
    window = static(kernel, 0, 1)
    if sizes is None or window is None or image.dtype != tf.float32:
        return None
    steps, rates = node.attr("strides")[1:3], node.attr("rates")[1:3]
    spans = [(side - 1) * rate + 1 for side, rate in zip(window, rates, strict=True)]
    pads, results = [[0, 0]], []
    for size, step, span in zip(sizes, steps, spans, strict=True):
        same = node.attr("padding") == "SAME"
        results.append(-(-size // step) if same else (size - span) // step + 1)
        missing = max((results[-1] - 1) * step + span - size, 0)
        pads.append([missing // 2, missing - missing // 2])
    image = tf.pad(image, [*pads, [0, 0]], constant_values=LOWEST)
    best = None
    for row in range(window[0]):
        for column in range(window[1]):
            top, left = row * rates[0], column * rates[1]
            bottom = top + (results[0] - 1) * steps[0] + 1
            right = left + (results[1] - 1) * steps[1] + 1
            part = image[:, top : bottom : steps[0], left : right : steps[1], :] + kernel[row, column]
            best = part if best is None else tf.maximum(best, part)
    return best


TF2ONNX = {"Conv2DBackpropInput": transposed_convolution, "Dilation2D": dilation}
TFLITE = {
    **TF2ONNX,
    "Conv2D": sparse_convolution,
    "DepthwiseConv2dNative": sparse_convolution,
    "MaxPool": max_pool,
    "MaxPoolWithArgmax": max_pool_with_argmax,
    "MaxPool3D": pool_of_volumes,
    "AvgPool3D": pool_of_volumes,
}
