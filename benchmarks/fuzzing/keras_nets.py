"""Random Keras models: ``python -m benchmarks.fuzzing.keras_nets SEED FOLDER FORMAT`` writes one, and its inputs.

FORMAT is ``keras``, or ``tf`` and ``tflite`` for what Keras and TensorFlow themselves make of the same model.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from benchmarks.fuzzing.drawing import (
    DTYPES,
    Draw,
    Layer,
    Net,
    Plan,
    Value,
    draw_batch,
    draw_inputs,
    write_facts,
    write_inputs,
)


class KerasNet(Net):
    """Layers and operations of Keras on symbolic tensors, so that every shape is Keras's own."""

    def __init__(self, draw: Draw, plans: Sequence[Plan], batch: int | None) -> None:
        self.tensors = [
            keras.Input(p.shape, batch_size=batch, name=p.name, dtype=np.dtype(DTYPES[p.dtype]).name) for p in plans
        ]
        values = [
            Value(tensor, p.shape, "int" if p.high else p.dtype, p.high)
            for tensor, p in zip(self.tensors, plans, strict=True)
        ]
        super().__init__(draw, values)
        self.batch = batch

    def call(self, function: Callable[..., Any], *values: Value, high: int = 0) -> Value | None:
        """Apply the function; None where Keras refuses it or the first axis is no batch any more."""
        try:
            result = function(*(value.handle for value in values))
        except (ValueError, TypeError, IndexError):
            return None
        if isinstance(result, list | tuple):
            parts = [self._value(part, high) for part in result]
            if not parts or any(part is None for part in parts):
                return None
            self.values += [part for part in parts[1:] if part is not None]
            return parts[0]
        return self._value(result, high)

    def _value(self, tensor: Any, high: int) -> Value | None:
        shape = tuple(tensor.shape)
        if not shape or shape[0] != self.batch or any(size is None or size < 1 for size in shape[1:]):
            return None
        kind = "bool" if tensor.dtype == "bool" else "float" if "float" in tensor.dtype else "int"
        return Value(tensor, shape[1:], kind, high)


def of(low: int, high: int, build: Callable[[Draw, tuple[int, ...]], Callable[..., Any]]) -> Layer:
    """A layer built for the value's shape, for ranks from ``low`` to ``high`` without the batch."""

    def layer(net: KerasNet, value: Value) -> Value | None:
        if value.kind != "float" or not low <= value.rank <= high:
            return None
        try:
            return net.call(build(net.draw, value.shape), value)
        except ValueError:
            return None

    return layer


def same(*functions: Callable[..., Any]) -> Layer:
    """A function of each element."""
    return of(0, 4, lambda draw, shape: draw.pick(functions))


def joined(*functions: Callable[..., Any], kind: str = "float") -> Layer:
    """A function of two values of one shape, or of shapes that broadcast."""

    def layer(net: KerasNet, value: Value) -> Value | None:
        if value.kind != kind:
            return None

        def fits(other: Value) -> bool:
            pairs = zip(other.shape, value.shape, strict=False)
            return other.kind == kind and other.rank == value.rank and all(a in (1, b) for a, b in pairs)

        other = net.other(value, fits)
        if other is None:
            return None
        net.read(other)
        return net.call(net.draw.pick(functions), value, other)

    return layer


ACTIVATIONS = (None, None, "relu", "tanh", "sigmoid", "elu", "gelu", "selu", "swish", "softmax")


def conv(draw: Draw, shape: tuple[int, ...]) -> Any:
    kind = (layers.Conv1D, layers.Conv2D, layers.Conv3D)[len(shape) - 2]
    stride = draw.pick((1, 1, 2))
    padding = draw.pick(("same", "valid", "causal")) if len(shape) == 2 else draw.pick(("same", "valid"))
    return kind(
        draw.between(1, 6), draw.between(1, 3), strides=stride, padding=padding, activation=draw.pick(ACTIVATIONS),
        dilation_rate=draw.pick((1, 2)) if stride == 1 else 1, use_bias=draw.chance(0.7),
    )  # fmt: skip


def depthwise(draw: Draw, shape: tuple[int, ...]) -> Any:
    kind = draw.pick((layers.DepthwiseConv2D, layers.SeparableConv2D))
    settings = {"strides": draw.pick((1, 2)), "padding": draw.pick(("same", "valid"))}
    if kind is layers.DepthwiseConv2D:
        return kind(draw.between(2, 3), depth_multiplier=draw.pick((1, 2)), **settings)
    return kind(draw.between(1, 5), draw.between(2, 3), **settings)


def conv_transpose(draw: Draw, shape: tuple[int, ...]) -> Any:
    kind = (layers.Conv1DTranspose, layers.Conv2DTranspose)[len(shape) - 2]
    return kind(draw.between(1, 5), draw.between(2, 3), strides=draw.pick((1, 2)), padding=draw.pick(("same", "valid")))


def pool(draw: Draw, shape: tuple[int, ...]) -> Any:
    place = len(shape) - 2
    kinds = (
        (layers.MaxPooling1D, layers.MaxPooling2D, layers.MaxPooling3D),
        (layers.AveragePooling1D, layers.AveragePooling2D, layers.AveragePooling3D),
    )
    return draw.pick(kinds)[place](draw.between(2, 3), strides=draw.pick((1, 2)), padding=draw.pick(("same", "valid")))


def pool_all(draw: Draw, shape: tuple[int, ...]) -> Any:
    place = len(shape) - 2
    kinds = (
        (layers.GlobalMaxPooling1D, layers.GlobalMaxPooling2D, layers.GlobalMaxPooling3D),
        (layers.GlobalAveragePooling1D, layers.GlobalAveragePooling2D, layers.GlobalAveragePooling3D),
    )
    return draw.pick(kinds)[place](keepdims=draw.chance(0.3))


def recurrent(draw: Draw, shape: tuple[int, ...]) -> Any:
    kind = draw.pick((layers.LSTM, layers.GRU, layers.SimpleRNN))
    inner = kind(draw.between(2, 5), return_sequences=draw.chance(0.6), go_backwards=draw.chance(0.15))
    return layers.Bidirectional(inner) if draw.chance(0.3) and not inner.go_backwards else inner


def upsample(draw: Draw, shape: tuple[int, ...]) -> Any:
    return layers.UpSampling2D(draw.pick((2, 2, 3)), interpolation=draw.pick(("nearest", "bilinear")))


def pad(draw: Draw, shape: tuple[int, ...]) -> Any:
    kind = draw.pick((layers.ZeroPadding2D, layers.Cropping2D))
    most = 2 if kind is layers.ZeroPadding2D else 1
    return kind(tuple((draw.between(0, most), draw.between(0, most)) for _ in range(2)))


def normalise(draw: Draw, shape: tuple[int, ...]) -> Any:
    kind = draw.pick((layers.LayerNormalization, layers.UnitNormalization, layers.GroupNormalization))
    if kind is layers.GroupNormalization:
        return (
            kind(draw.pick([g for g in (1, 2, 3) if shape[-1] % g == 0]))
            if len(shape) > 1
            else layers.LayerNormalization()
        )
    return kind()


def attention(draw: Draw, shape: tuple[int, ...]) -> Callable[..., Any]:
    if draw.chance(0.5):
        inner = layers.MultiHeadAttention(draw.pick((1, 2)), draw.between(2, 4))
        return lambda x: inner(x, x, use_causal_mask=False)
    return lambda x: layers.Attention()([x, x])


def reduce(draw: Draw, shape: tuple[int, ...]) -> Callable[..., Any]:
    function = draw.pick((ops.mean, ops.sum, ops.max, ops.min, ops.logsumexp, ops.std, ops.prod))
    axis, keep = draw.pick((draw.between(1, len(shape)), -1)), draw.chance(0.4)
    return lambda x: function(x, axis=axis, keepdims=keep)


def share(draw: Draw, shape: tuple[int, ...]) -> Callable[..., Any]:
    function = draw.pick((ops.softmax, ops.log_softmax, ops.cumsum))
    axis = draw.pick((draw.between(1, len(shape)), -1))
    return lambda x: function(x, axis=axis)


def cut(draw: Draw, shape: tuple[int, ...]) -> Callable[..., Any]:
    return draw.pick((
        lambda x: x[..., 1:], lambda x: x[..., ::2], lambda x: x[..., :-1], lambda x: x[..., -1], lambda x: x[:, :1],
        lambda x: ops.flip(x, axis=-1), lambda x: ops.roll(x, 1, axis=-1),
    ))  # fmt: skip


def move(net: KerasNet, value: Value) -> Value | None:
    """The axes but the batch in another order."""
    if value.rank < 2:
        return None
    order = [int(axis) + 1 for axis in net.draw.random.permutation(value.rank)]
    if net.draw.chance(0.5):
        return net.call(layers.Permute(order), value, high=value.high)
    return net.call(lambda x: ops.transpose(x, [0, *order]), value, high=value.high)


def reshape(net: KerasNet, value: Value) -> Value | None:
    if value.rank < 1 or value.rank > 3:
        return None
    choices = [layers.Flatten(), lambda x: ops.expand_dims(x, 1), lambda x: ops.expand_dims(x, -1)]
    if value.rank > 1:
        choices.append(layers.Reshape((value.shape[0] * value.shape[1], *value.shape[2:])))
        choices.append(layers.Reshape((-1, value.shape[-1])))
    if value.shape[-1] % 2 == 0:
        choices.append(layers.Reshape((*value.shape[:-1], 2, value.shape[-1] // 2)))
    return net.call(net.draw.pick(choices), value, high=value.high)


def parts(net: KerasNet, value: Value) -> Value | None:
    if value.kind != "float" or not value.shape or value.shape[-1] % 2:
        return None
    return net.call(lambda x: ops.split(x, 2, axis=-1), value)


def concat(net: KerasNet, value: Value) -> Value | None:
    if value.kind != "float" or not value.shape:
        return None
    other = net.other(value, lambda v: v.kind == "float" and v.rank == value.rank and v.shape[:-1] == value.shape[:-1])
    if other is None:
        return None
    net.read(other)
    return net.call(lambda a, b: layers.Concatenate()([a, b]), value, other)


def matmul(net: KerasNet, value: Value) -> Value | None:
    if value.kind != "float" or value.rank < 2:
        return None
    other = net.other(
        value,
        lambda v: (
            v.kind == "float"
            and v.rank == value.rank
            and v.shape[:-2] == value.shape[:-2]
            and v.shape[-2] == value.shape[-1]
        ),
    )
    if other is None:
        return None
    net.read(other)
    return net.call(ops.matmul, value, other)


def embed(net: KerasNet, value: Value) -> Value | None:
    if value.kind != "int" or not value.high or value.rank > 2:
        return None
    return net.call(layers.Embedding(value.high, net.draw.between(2, 8)), value)


def indices(net: KerasNet, value: Value) -> Value | None:
    if value.kind != "float" or not value.shape:
        return None
    function = net.draw.pick((ops.argmax, ops.argmin))
    return net.call(lambda x: function(x, axis=-1), value, high=value.shape[-1])


def top_k(net: KerasNet, value: Value) -> Value | None:
    if value.kind != "float" or not value.shape or value.shape[-1] < 2:
        return None
    count = net.draw.between(1, min(3, value.shape[-1]))
    return net.call(lambda x: tuple(ops.top_k(x, count)), value)


def compare(net: KerasNet, value: Value) -> Value | None:
    if value.kind == "int" and value.high:
        return net.call(lambda x: x > value.high // 2, value)
    return net.call(net.draw.pick((lambda x: x > 0.137, lambda x: x <= -0.2)), value) if value.kind == "float" else None


def to_float(net: KerasNet, value: Value) -> Value | None:
    return None if value.kind == "float" else net.call(lambda x: ops.cast(x, "float32") * 0.25, value)


def one_hot(net: KerasNet, value: Value) -> Value | None:
    if value.kind != "int" or not 2 <= value.high <= 16 or value.rank > 3:
        return None
    return net.call(lambda x: ops.one_hot(x, value.high), value)


def where(net: KerasNet, value: Value) -> Value | None:
    if value.kind != "bool" or not value.shape:
        return None
    other = net.other(value, lambda v: v.kind == "float" and v.shape == value.shape)
    if other is None:
        return None
    net.read(other)
    fill = net.draw.pick((0.0, -1e4, 1.0))
    return net.call(lambda m, x: ops.where(m, x, fill), value, other)


def logic(net: KerasNet, value: Value) -> Value | None:
    return net.call(ops.logical_not, value) if value.kind == "bool" else None


def integers(net: KerasNet, value: Value) -> Value | None:
    choices = (lambda x: x + 3, lambda x: x * 2 - 1, lambda x: x % 3, lambda x: x // 2)
    return net.call(net.draw.pick(choices), value) if value.kind == "int" and value.high else None


LAYERS: dict[str, Layer] = {
    "activation": of(1, 4, lambda draw, shape: layers.Activation(draw.pick([name for name in ACTIVATIONS if name]))),
    "activation layer": of(1, 4,
    lambda draw, shape: draw.pick((layers.LeakyReLU, layers.ELU, layers.ReLU, layers.Softmax))()),
    "ReLU6": of(1, 4, lambda draw, shape: layers.ReLU(6.0, negative_slope=draw.pick((0.0, 0.1)))),
    "PReLU": of(1, 4, lambda draw, shape: layers.PReLU(shared_axes=[1, 2] if len(shape) == 3 else None)),
    "function": same(
        ops.abs, ops.negative, ops.sin, ops.cos, ops.erf, ops.floor, ops.round, ops.sign, ops.relu6, ops.silu,
        ops.hard_sigmoid, ops.hard_swish, ops.softsign, ops.softplus, ops.log_sigmoid, ops.celu,
        lambda x: ops.gelu(x, approximate=False), lambda x: ops.exp(ops.tanh(x)),
        lambda x: ops.sqrt(ops.abs(x) + 0.1),
        lambda x: ops.log(ops.abs(x) + 0.5), lambda x: 1 / (ops.abs(x) + 0.6), lambda x: ops.rsqrt(ops.abs(x) + 0.5),
        lambda x: x**2, lambda x: ops.clip(x, -1, 0.7), lambda x: ops.log1p(ops.abs(x)), ops.arctan, ops.ceil,
        lambda x: ops.maximum(x, 0.2), lambda x: x * 0.5 + 1, lambda x: ops.mod(x, 0.9), lambda x: 1 - x,
    ),
    "Conv": of(2, 4, conv), "DepthwiseConv": of(3, 3, depthwise), "ConvTranspose": of(2, 3, conv_transpose),
    "pool": of(2, 4, pool), "GlobalPool": of(2, 4, pool_all), "recurrent": of(2, 2, recurrent),
    "UpSampling2D": of(3, 3, upsample), "pad": of(3, 3, pad), "norm": of(1, 4, normalise),
    "attention": of(2, 2, attention),
    "BatchNormalization": of(1, 4, lambda draw, shape: layers.BatchNormalization(epsilon=draw.pick((1e-3, 1e-5)))),
    "Dense": of(1, 4, lambda draw, shape: layers.Dense(draw.between(1, 10), activation=draw.pick(ACTIVATIONS))),
    "Rescaling": of(1, 4, lambda draw, shape: layers.Rescaling(0.5, 0.1)),
    "RepeatVector": of(1, 1, lambda draw, shape: layers.RepeatVector(draw.between(2, 4))),
    "TimeDistributed": of(2, 3, lambda draw, shape: layers.TimeDistributed(layers.Dense(draw.between(2, 5)))),
    "reduce": of(1, 4, reduce), "softmax": of(1, 4, share), "slice": of(1, 4, cut), "transpose": move,
    "Reshape": reshape,
    "split": parts, "Concatenate": concat, "matmul": matmul, "Embedding": embed, "argmax": indices, "top_k": top_k,
    "compare": compare, "to float": to_float, "one_hot": one_hot, "where": where, "not": logic, "integers": integers,
    "join": joined(
        lambda a, b: layers.Add()([a, b]), lambda a, b: layers.Multiply()([a, b]),
        lambda a, b: layers.Maximum()([a, b]),
        lambda a, b: layers.Average()([a, b]), lambda a, b: a - b, lambda a, b: a / (ops.abs(b) + 0.8),
    ),
    "logic": joined(ops.logical_and, ops.logical_or, ops.logical_xor, kind="bool"), "greater": joined(ops.greater),
}  # fmt: skip
COMMON = ("Conv", "Dense", "activation", "BatchNormalization", "join", "pool", "softmax", "to float", "Embedding")


def build(seed: int) -> tuple[Any, tuple[Plan, ...], list[str], int | None]:
    """Draw a model; return it with its inputs, its layers by name, and its fixed batch."""
    draw = Draw(seed, 0)
    keras.utils.set_random_seed(seed)
    plans = draw_inputs(draw, is_channels_last=True)
    batch = draw_batch(draw)
    net = KerasNet(draw, plans, batch)
    names = net.grow(LAYERS, COMMON, draw.between(3, 15))
    outputs = [value.handle for value in net.outputs()]
    model = keras.Model(net.tensors, outputs[0] if len(outputs) == 1 else outputs)
    for variable in model.variables:  # no weight is left at a default that a converter may take for granted
        name = variable.path.rsplit("/", 1)[-1]
        if "seed" in name or variable.dtype != "float32":
            continue
        noise = draw.normal(*variable.shape, scale=0.3)
        if name in ("bias", "beta", "moving_mean", "alpha"):
            variable.assign(noise)
        elif name in ("gamma", "moving_variance"):
            variable.assign(np.abs(noise) + 0.6)
    return model, plans, names, batch


def main() -> None:
    seed, folder, format_name = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    model, plans, names, batch = build(seed)
    if format_name == "keras":
        model.save(folder / "model.keras")
    else:
        model.export(folder / "model_savedmodel", verbose=False)
    if format_name == "tflite":
        import tensorflow as tf

        converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "model_savedmodel"))
        (folder / "model.tflite").write_bytes(converter.convert())
    write_inputs(folder, plans, seed)
    write_facts(folder, plans, names, batch)


if __name__ == "__main__":
    main()
