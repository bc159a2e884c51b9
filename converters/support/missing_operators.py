"""Translate ONNX operators that onnx2keras lacks, or translates wrongly, by TensorFlow functions in Lambda layers.

onnx2keras looks each operator up in a table of translators. ``extended`` adds one for each operator of ``FUNCTIONS``:
it is used where onnx2keras has none, where its own fails, and where its own is known to be wrong (a MatMul of two
computed tensors becomes an elementwise product). The Lambda layers become ``keras.ops`` operations afterwards, as do
onnx2keras's own (``keras_rebuild``). Runs in the TensorFlow worker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from . import recurrent_layers

Attributes = Mapping[str, Any]
Function = Callable[[Sequence[Any], Attributes], Any]
"""Inputs (tensors or arrays, None where absent) and ONNX attributes to the output, or to a list of outputs."""
Translator = Callable[[Any, dict[str, Any], dict[str, Any], dict[str, Any], str, Any], None]


def _ints(value: Any) -> list[int]:
    """Return a constant operand as ints. Raises TypeError for a computed one."""
    if tf.is_tensor(value) or isinstance(value, keras.KerasTensor):
        raise TypeError("the operand is computed, and must be a constant")
    return [int(item) for item in np.asarray(value).ravel()]


def _unary(function: Callable[[Any], Any]) -> Function:
    return lambda inputs, attributes: function(inputs[0])


def _binary(function: Callable[[Any, Any], Any]) -> Function:
    return lambda inputs, attributes: function(inputs[0], inputs[1])


def _logical(function: Callable[..., Any]) -> Function:
    """Return ``function`` on bools: Keras declares the output of every Lambda layer, comparisons too, as float32."""
    return lambda inputs, attributes: function(*(tf.cast(item, tf.bool) for item in inputs))


def _where(inputs: Sequence[Any], attributes: Attributes) -> Any:
    return tf.where(tf.cast(inputs[0], tf.bool), inputs[1], inputs[2])


def _gather(inputs: Sequence[Any], attributes: Attributes) -> Any:
    data, indices = inputs
    axis = int(attributes.get("axis", 0))
    size = np.shape(data)[axis]
    if not tf.is_tensor(indices):
        indices = np.where(np.asarray(indices) < 0, np.asarray(indices) + size, indices)
    return tf.gather(data, tf.cast(indices, tf.int32), axis=axis)


def _reshape(inputs: Sequence[Any], attributes: Attributes) -> Any:
    """Reshape also where the batch is folded into windows, patches or rows, or comes out of them again.

    The batch, or what it was folded into, is the outermost axis of the elements' order: where it is free, the
    first size follows from the others. So a graph that was exported for a batch of 1 takes any.
    """
    data, source_sizes = inputs[0], list(inputs[0].shape)
    sizes: list[int | None] = [-1 if size is None else int(size) for size in np.asarray(inputs[1]).ravel()]
    if not attributes.get("allowzero", 0):
        sizes = [source_sizes[axis] if size == 0 else size for axis, size in enumerate(sizes)]
    if source_sizes and source_sizes[0] is None and sizes and sizes[0] != -1:
        sizes[0] = None
    if None in sizes and -1 in sizes:  # one is the batch; the other follows from the sizes that are known
        known = [size for size in source_sizes if size is not None]
        if len(known) != len(source_sizes) - 1 or sizes.count(None) > 1:
            raise TypeError(f"{source_sizes} cannot be reshaped to {sizes}: several sizes are free")
        rest = [size for size in sizes if size is not None and size != -1]
        sizes[sizes.index(-1)] = int(np.prod(known)) // int(np.prod(rest))
    return tf.reshape(data, [-1 if size is None else size for size in sizes])


def _expand(inputs: Sequence[Any], attributes: Attributes) -> Any:
    data, shape = inputs[0], _ints(inputs[1])
    return data * tf.ones([1] * (len(data.shape) - len(shape)) + shape, data.dtype)


def _slice(inputs: Sequence[Any], attributes: Attributes) -> Any:
    data, starts, ends = inputs[0], _ints(inputs[1]), _ints(inputs[2])
    rank = len(data.shape)
    axes = _ints(inputs[3]) if len(inputs) > 3 and inputs[3] is not None else list(range(len(starts)))
    steps = _ints(inputs[4]) if len(inputs) > 4 and inputs[4] is not None else [1] * len(starts)
    key = [slice(None)] * rank
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        last = 2**31 - 1
        key[axis % rank] = slice(start, None if end >= last or end <= -last else end, step)
    return data[tuple(key)]


def _split(inputs: Sequence[Any], attributes: Attributes) -> list[Any]:
    axis, count = int(attributes.get("axis", 0)), len(attributes["_outputs"])
    sizes = inputs[1] if len(inputs) > 1 and inputs[1] is not None else attributes.get("split")
    if sizes is None:
        return list(tf.split(inputs[0], count, axis))
    return list(tf.split(inputs[0], _ints(sizes), axis))


def _squeeze(inputs: Sequence[Any], attributes: Attributes) -> Any:
    axes = inputs[1] if len(inputs) > 1 else attributes.get("axes")
    return tf.squeeze(inputs[0], None if axes is None else _ints(axes))


def _unsqueeze(inputs: Sequence[Any], attributes: Attributes) -> Any:
    axes = _ints(inputs[1] if len(inputs) > 1 else attributes["axes"])
    result, rank = inputs[0], len(inputs[0].shape) + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        result = tf.expand_dims(result, axis)
    return result


def _einsum(inputs: Sequence[Any], attributes: Attributes) -> Any:
    equation = attributes["equation"]
    return tf.einsum(equation.decode() if isinstance(equation, bytes) else equation, *inputs)


def _layer_normalization(inputs: Sequence[Any], attributes: Attributes) -> Any:
    data, rank = inputs[0], len(inputs[0].shape)
    axes = list(range(int(attributes.get("axis", -1)) % rank, rank))
    centred = data - tf.reduce_mean(data, axes, keepdims=True)
    variance = tf.reduce_mean(centred * centred, axes, keepdims=True)
    normal = centred / tf.sqrt(variance + np.float32(attributes.get("epsilon", 1e-5)))
    normal = normal * inputs[1]
    return normal + inputs[2] if len(inputs) > 2 and inputs[2] is not None else normal


def _transpose(inputs: Sequence[Any], attributes: Attributes) -> Any:
    return tf.transpose(inputs[0], attributes.get("perm"))


FUNCTIONS: dict[str, Function] = {
    **{
        name: _unary(function)
        for name, function in {
            "Abs": tf.abs, "Ceil": tf.math.ceil, "Cos": tf.cos, "Erf": tf.math.erf, "Neg": tf.negative,
            "Reciprocal": lambda x: 1 / x, "Round": tf.round, "Sign": tf.sign, "Sin": tf.sin,
            "Softplus": tf.nn.softplus, "Softsign": tf.nn.softsign, "IsNaN": tf.math.is_nan,
        }.items()
    },
    **{
        name: _binary(function)
        for name, function in {
            "Equal": tf.equal, "Greater": tf.greater, "GreaterOrEqual": tf.greater_equal,
            "Less": tf.less, "LessOrEqual": tf.less_equal, "MatMul": tf.matmul,
        }.items()
    },
    "And": _logical(tf.logical_and),
    "Not": _logical(tf.logical_not),
    "Or": _logical(tf.logical_or),
    "Einsum": _einsum,
    "Expand": _expand,
    "Gather": _gather,
    "LayerNormalization": _layer_normalization,
    "Reshape": _reshape,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Where": _where,
}  # fmt: skip


def _is_wrong(node: Any, layers: Mapping[str, Any]) -> bool:
    """Return whether onnx2keras is known to translate this node wrongly without failing.

    Its Slice of a computed tensor takes no steps, and an end beyond 32 bits, which is none, for -1.
    """
    if node.op_type == "Slice":
        return len(node.input) > 1 and not isinstance(layers[node.input[0]], np.ndarray)
    return node.op_type == "MatMul" and not any(isinstance(layers[name], np.ndarray) for name in node.input)


def _translator(function: Function, own: Translator | None) -> Translator:
    """Return a translator that uses onnx2keras's ``own`` where that works, else ``function`` in a Lambda layer."""

    def translate(
        node: Any, attributes: dict[str, Any], layers: dict[str, Any], functions: dict[str, Any], name: str, label: Any
    ) -> None:
        refusal: Exception | None = None
        if own is not None and not _is_wrong(node, layers):
            try:
                return own(node, attributes, layers, functions, name, label)
            except Exception as error:  # noqa: BLE001 - whatever onnx2keras raises for what it does not know
                refusal = error
        operands = [layers[key] if key else None for key in node.input]
        labels = label if isinstance(label, list) else [label]
        try:
            result = _in_lambda(function, operands, attributes, labels[0])
        except Exception as error:
            raise error from refusal  # onnx2keras's own reason is what a person can look up
        for output, value in zip(node.output, result if isinstance(result, list) else [result], strict=True):
            layers[output] = value

    return translate


def _recurrent(
    node: Any, attributes: dict[str, Any], layers: dict[str, Any], functions: Any, name: str, label: Any
) -> None:
    """Translate LSTM, GRU or RNN."""
    labels = label if isinstance(label, list) else [label]
    operands = [layers[key] if key else None for key in node.input]
    results = recurrent_layers.translate(node.op_type, operands, attributes, labels[0], len(node.output))
    layers.update({output: value for output, value in zip(node.output, results, strict=True) if output})


def _in_lambda(function: Function, operands: Sequence[Any], attributes: Attributes, label: str) -> Any:
    """Return ``function`` of the operands: an array where all are constants, else the output of a Lambda layer."""
    computed = [position for position, item in enumerate(operands) if isinstance(item, keras.KerasTensor)]
    if not computed:
        return keras.tree.map_structure(np.asarray, function(operands, attributes))

    def call(tensors: Any) -> Any:
        filled = list(operands)
        for position, tensor in zip(computed, tensors if isinstance(tensors, list) else [tensors], strict=True):
            filled[position] = tensor
        return function(filled, attributes)

    layer = keras.layers.Lambda(call, name=label)
    tensors = [operands[position] for position in computed]
    return layer(tensors if len(tensors) > 1 else tensors[0])


@contextmanager
def extended() -> Iterator[None]:
    """Let onnx2keras know the operators of ``FUNCTIONS`` too, inside the block."""
    from onnx2keras import converter

    available = dict(converter.AVAILABLE_CONVERTERS)
    added = {name: _translator(function, available.get(name)) for name, function in FUNCTIONS.items()}
    added |= dict.fromkeys(recurrent_layers.GATES, _recurrent)
    converter.AVAILABLE_CONVERTERS.update(added)
    try:
        yield
    finally:
        for name in added:
            del converter.AVAILABLE_CONVERTERS[name]
        converter.AVAILABLE_CONVERTERS.update(available)
