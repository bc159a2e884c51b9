"""Translate ONNX LSTM, GRU and RNN, which onnx2keras lacks, into Keras's layers. Runs in the TensorFlow worker.

Equations and orders of gates: the ONNX operator specification (LSTM-7/14, GRU-7/14, RNN-7/14) and Keras's layers. With
T steps, batch N, H units and D directions, the ONNX outputs are Y [T, D, N, H] and the last states [D, N, H], or with
``layout`` 1 [N, T, D, H] and [N, D, H]. Default activations alone; no clipping, peepholes, initial states or lengths.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

Attributes = Mapping[str, Any]
Weights = list[np.ndarray[Any, Any]]
GATES = {"LSTM": (0, 2, 3, 1), "GRU": (0, 1, 2), "RNN": (0,)}
"""Keras's gates by their number in ONNX: LSTM has i, o, f, c in ONNX and i, f, c, o in Keras."""
ACTIVATIONS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
SUPPORTED_ATTRIBUTES = {"direction", "hidden_size", "linear_before_reset", "layout", "activations", "input_forget"}


def translate(kind: str, inputs: Sequence[Any], attributes: Attributes, label: str, outputs: int) -> list[Any]:
    """Return the first ``outputs`` of the operator's outputs, as tensors of Keras layers.

    Raises NotImplementedError where a Keras layer does not compute the operator.
    """
    operands = [*inputs, *[None] * 8][:8]
    _refuse_what_keras_lacks(kind, operands, attributes)
    w, r = np.asarray(operands[1]), np.asarray(operands[2])
    biases = np.zeros([len(w), 2 * w.shape[1]], w.dtype) if operands[3] is None else np.asarray(operands[3])
    is_batch_first = bool(attributes.get("layout", 0))
    x = operands[0] if is_batch_first else _in_lambda(_batch_first, operands[0], f"{label}_batch_first")
    sequences, states = [], []
    for direction, name in enumerate(_directions(attributes)):
        layer = _layer(kind, r.shape[2], attributes, is_backwards=name == "reverse", label=f"{label}_{name}")
        layer.build(x.shape)
        layer.set_weights(_weights(kind, w[direction], r[direction], biases[direction], attributes))
        sequence, *last = layer(x)
        if name == "reverse":
            sequence = _in_lambda(lambda y: tf.reverse(y, [1]), sequence, f"{label}_{name}_in_order")
        sequences.append(sequence)
        states.append(last)
    orders = [(0, 1, 2, 3), (0, 1, 2)] if is_batch_first else [(1, 2, 0, 3), (1, 0, 2)]
    results = [_joined(sequences, 2, orders[0], f"{label}_sequence")]
    for number, parts in enumerate(list(zip(*states, strict=True))[: outputs - 1]):
        results.append(_joined(list(parts), 1, orders[1], f"{label}_state_{number}"))
    return results


def _refuse_what_keras_lacks(kind: str, operands: Sequence[Any], attributes: Attributes) -> None:
    names = [_text(name) for name in attributes.get("activations", ACTIVATIONS[kind])]
    count = len(_directions(attributes))
    if names not in (list(ACTIVATIONS[kind]), list(ACTIVATIONS[kind]) * count):
        raise NotImplementedError(f"{kind} with the activations {', '.join(names)}")
    settings = {name for name in attributes if not name.startswith("_") and name not in _OF_ONNX2KERAS}
    if (more := sorted(settings - SUPPORTED_ATTRIBUTES)) or attributes.get("input_forget", 0):
        raise NotImplementedError(f"{kind} with {', '.join(more) or 'input_forget'}")
    if any(item is not None for item in operands[4:]):
        raise NotImplementedError(f"{kind} with lengths, initial states or peepholes")
    if any(isinstance(item, keras.KerasTensor) for item in operands[1:4]):
        raise NotImplementedError(f"{kind} with computed weights")


_OF_ONNX2KERAS = {"change_ordering", "name_policy"}  # settings that it passes among the attributes


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _directions(attributes: Attributes) -> tuple[str, ...]:
    direction = _text(attributes.get("direction", "forward"))
    return ("forward", "reverse") if direction == "bidirectional" else (direction,)


def _layer(kind: str, units: int, attributes: Attributes, *, is_backwards: bool, label: str) -> Any:
    settings = {"return_sequences": True, "return_state": True, "go_backwards": is_backwards, "name": label}
    if kind == "GRU":
        return keras.layers.GRU(units, reset_after=bool(attributes.get("linear_before_reset", 0)), **settings)
    return (keras.layers.LSTM if kind == "LSTM" else keras.layers.SimpleRNN)(units, **settings)


def _weights(kind: str, w: Any, r: Any, biases: Any, attributes: Attributes) -> Weights:
    """Return one direction's weights in Keras's order: [I, G H], [H, G H] and the bias."""
    units = r.shape[1]

    def ordered(array: Any) -> Any:
        return np.concatenate([array[gate * units : (gate + 1) * units] for gate in GATES[kind]])

    both = [ordered(part) for part in np.split(biases, 2)]
    has_two_biases = kind == "GRU" and attributes.get("linear_before_reset", 0)
    return [ordered(w).T, ordered(r).T, np.stack(both) if has_two_biases else both[0] + both[1]]


def _batch_first(x: Any) -> Any:
    return tf.transpose(x, [1, 0, 2])


def _joined(parts: Sequence[Any], axis: int, order: Sequence[int], label: str) -> Any:
    """Return the directions' tensors stacked along a new axis, in ONNX's order of axes."""

    def join(tensors: Any) -> Any:
        listed = tensors if isinstance(tensors, list | tuple) else [tensors]
        return tf.transpose(tf.stack(listed, axis), order)

    return _in_lambda(join, list(parts) if len(parts) > 1 else parts[0], label)


def _in_lambda(function: Callable[[Any], Any], tensors: Any, label: str) -> Any:
    return keras.layers.Lambda(function, name=label)(tensors)
