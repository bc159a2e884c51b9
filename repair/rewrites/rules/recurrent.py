"""LSTM, GRU and RNN unrolled over their sequence, for converters that have no recurrent layers.

Source of the equations, of the order of gates and of every default: the ONNX operator specification, LSTM-7/14/22,
GRU-7/14/22 and RNN-7/14/22 (https://onnx.ai/onnx/operators/onnx__LSTM.html, ..__GRU.html, ..__RNN.html). With
T steps, batch N, I inputs, H hidden units and D directions: X is [T, N, I] (layout 0) or [N, T, I] (layout 1), Y is
[T, D, N, H] or [N, T, D, H], Y_h and Y_c are [D, N, H] or [N, D, H].

The batch stays first and free in all that is written, as tensors of [N, 1, .] for each step. Refused: sequences that
are not static, or longer than MAX_STEPS over both directions; `sequence_lens` that are computed or shorter than the
sequence; computed weights; `input_forget`, which the specification names and does not define; Affine and ScaledTanh
without their numbers, for which it gives none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ..arithmetic import Terms
from ..rule import Outcome, Refused, Rewrite
from ..site import Array, Site, constant_of

MAX_STEPS = 128
"""Steps of all directions together: each becomes 10 to 20 nodes."""

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_DEFAULTS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
_NUMBERS: dict[str, dict[str, float | None]] = {
    "Relu": {},
    "Tanh": {},
    "Sigmoid": {},
    "Softsign": {},
    "Softplus": {},
    "LeakyRelu": {"alpha": 0.01},
    "ThresholdedRelu": {"alpha": 1.0},
    "Elu": {"alpha": 1.0},
    "HardSigmoid": {"alpha": 0.2, "beta": 0.5},
    "Affine": {"alpha": None, "beta": None},
    "ScaledTanh": {"alpha": None, "beta": None},
}
"""The activations that the specification lists, with the defaults of their numbers; None where it gives none."""

_Function = Callable[[ir.Value], ir.Value]


@dataclass(frozen=True)
class _Direction:
    """One direction: input weights [I, G H], recurrent weights [H, G H], both biases [G H], peepholes [3, H]."""

    inputs: Array
    recurrent: Array
    input_bias: Array
    recurrent_bias: Array
    peepholes: Array | None
    functions: tuple[_Function, ...]
    hidden: ir.Value | None
    cell: ir.Value | None
    backwards: bool


def _is_zero(value: ir.Value | None) -> bool:
    """Whether a value holds zeros only, whatever its shape is: what exporters write for an absent initial state."""
    while value is not None:
        array, producer = constant_of(value), value.producer()
        if array is not None:
            return not array.any()
        if producer is None or producer.domain != "":
            return False
        if producer.op_type == "ConstantOfShape":
            fill = producer.attributes.get("value")
            return fill is None or not np.asarray(fill.as_tensor().numpy()).any()
        if producer.op_type == "Concat":
            return all(_is_zero(operand) for operand in producer.inputs)
        if producer.op_type not in _MOVING:
            return False
        value = producer.inputs[0]
    return False


_MOVING = frozenset(
    {"Expand", "Reshape", "Unsqueeze", "Squeeze", "Transpose", "Slice", "Gather", "Identity", "Tile", "Cast", "Split"}
)


def _functions(at: Site, t: Terms, directions: int) -> list[tuple[_Function, ...]] | Refused:
    """The activations of each direction. Numbers are consumed in order by those that take one.

    `clip` comes before each but LSTM's h: the specification bounds "the input of activations", onnxruntime gates only.
    """
    names = at.attr("activations") or list(_DEFAULTS[at.node.op_type]) * directions
    parameters = {key: list(at.attr(f"activation_{key}") or []) for key in ("alpha", "beta")}
    clip, each = at.attr("clip"), len(_DEFAULTS[at.node.op_type])
    functions: list[_Function] = []
    for place, kind in enumerate(names):
        if kind not in _NUMBERS:
            return Refused(f"activation {kind}")
        numbers: dict[str, float] = {}
        for key, default in _NUMBERS[kind].items():
            number = parameters[key].pop(0) if parameters[key] else default
            if number is None:
                return Refused(f"{kind} without {key}")
            numbers[key] = float(number)
        unclipped = clip is None or (at.node.op_type == "LSTM" and place % each == 2)
        functions.append(_function(t, kind, numbers, None if unclipped else float(clip)))
    if len(functions) != each * directions:
        return Refused(f"{len(functions)} activations for {directions} directions")
    return [tuple(functions[i * each : (i + 1) * each]) for i in range(directions)]


def _function(t: Terms, kind: str, numbers: dict[str, float], clip: float | None) -> _Function:
    def apply(x: ir.Value) -> ir.Value:
        if clip is not None:
            x = t.high(t.low(x, clip), -clip)
        if kind == "Affine":
            return t.add(t.mul(x, numbers["alpha"]), numbers["beta"])
        if kind == "ScaledTanh":
            return t.mul(t.unary("Tanh", t.mul(x, numbers["beta"])), numbers["alpha"])
        return t.at.op(kind, x, **numbers)

    return apply


def _state(at: Site, index: int, direction: int) -> ir.Value | Refused | None:
    """An initial state of one direction as [N, 1, H] (a constant may be [1, 1, H]), None where it is zero."""
    if not at.has(index) or _is_zero(at.input(index)):
        return None
    axis = at.attr("layout", 0)  # of the directions; the batch has the other of the first two
    constant = at.constant(index)
    if constant is not None:
        rows = np.take(constant, direction, axis)[:, None]
        if (rows == rows[:1]).all():
            return at.const(rows[:1])
        static = (at.dims() or [None, None])[1 - axis]
        return at.const(rows) if static == len(rows) else Refused("a constant state for each sample of a free batch")
    part = at.slice(at.input(index), axis, direction, direction + 1)
    return part if axis else at.op("Transpose", part, perm=[1, 0, 2])


def _read(at: Site, t: Terms) -> list[_Direction] | Refused:
    """The directions, in the order of D."""
    kind, gates, direction = at.node.op_type, _GATES[at.node.op_type], at.attr("direction", "forward")
    w, r, b, p = (at.constant(i) for i in (1, 2, 3, 7))
    if w is None or r is None or (at.has(3) and b is None) or (at.has(7) and p is None):
        return Refused("computed weights")
    count, hidden = w.shape[0], r.shape[2]
    if count != (2 if direction == "bidirectional" else 1) or w.shape[1] != gates * hidden:
        return Refused("weights that do not fit the direction")
    if at.attr("input_forget", 0):
        return Refused("input_forget, which the specification does not define")
    b = np.zeros([count, 2 * gates * hidden]) if b is None else b
    functions = _functions(at, t, count)
    if isinstance(functions, Refused):
        return functions
    parts = []
    for d in range(count):
        state, cell = _state(at, 5, d), _state(at, 6, d) if kind == "LSTM" else None
        if isinstance(state, Refused):
            return state
        if isinstance(cell, Refused):
            return cell
        parts.append(
            _Direction(
                inputs=w[d].T,
                recurrent=r[d].T,
                input_bias=b[d, : gates * hidden],
                recurrent_bias=b[d, gates * hidden :],
                peepholes=None if p is None else p[d].reshape(3, hidden),
                functions=functions[d],
                hidden=state,
                cell=cell,
                backwards=direction == "reverse" or d == 1,
            )
        )
    return parts


def _plus(t: Terms, x: ir.Value, h: ir.Value | None, weights: ir.Value) -> ir.Value:
    """x + h weights; x alone for a state of zeros."""
    return x if h is None else t.add(x, t.at.op("MatMul", h, weights))


def _lstm(t: Terms, d: _Direction, sequence: ir.Value, order: range) -> tuple[dict[int, ir.Value], ir.Value | None]:
    """Gates i, o, f, c. Ct = f Ct-1 + i c; Ht = o h(Ct); the peephole of o sees Ct, those of i and f see Ct-1."""
    at, size = t.at, d.recurrent.shape[0]
    gate, candidate, out = d.functions
    weights = at.const(d.recurrent)
    peepholes = None if d.peepholes is None else [at.full_rank(p, 3, 2) for p in d.peepholes]  # i, o, f
    outputs: dict[int, ir.Value] = {}
    h, c = d.hidden, d.cell
    for step in order:
        x = _plus(t, at.slice(sequence, 1, step, step + 1), h, weights)
        i, o, f, g = (at.slice(x, 2, k * size, (k + 1) * size) for k in range(4))
        if peepholes is not None and c is not None:
            i, f = t.add(i, t.mul(c, peepholes[0])), t.add(f, t.mul(c, peepholes[2]))
        new = t.mul(gate(i), candidate(g))
        c = new if c is None else t.add(t.mul(gate(f), c), new)
        if peepholes is not None:
            o = t.add(o, t.mul(c, peepholes[1]))
        h = outputs[step] = t.mul(gate(o), out(c))
    return outputs, c


def _gru(t: Terms, d: _Direction, sequence: ir.Value, order: range) -> tuple[dict[int, ir.Value], ir.Value | None]:
    """Gates z, r, h. Ht = (1 - z) h + z Ht-1; the recurrent bias of h is in `sequence` where it is not behind r."""
    at, size = t.at, d.recurrent.shape[0]
    gate, candidate = d.functions
    both, hidden_weights = at.const(d.recurrent[:, : 2 * size]), at.const(d.recurrent[:, 2 * size :])
    behind = at.attr("linear_before_reset", 0)
    bias = at.full_rank(d.recurrent_bias[2 * size :], 3, 2)
    outputs: dict[int, ir.Value] = {}
    h = d.hidden
    for step in order:
        x = at.slice(sequence, 1, step, step + 1)
        zr = _plus(t, at.slice(x, 2, 0, 2 * size), h, both)
        g = at.slice(x, 2, 2 * size, 3 * size)
        z, r = gate(at.slice(zr, 2, 0, size)), gate(at.slice(zr, 2, size, 2 * size))
        if behind:
            g = t.add(g, t.mul(r, bias if h is None else t.add(at.op("MatMul", h, hidden_weights), bias)))
        elif h is not None:
            g = t.add(g, at.op("MatMul", t.mul(r, h), hidden_weights))
        new = t.mul(t.add(t.minus(z), 1.0), candidate(g))
        h = outputs[step] = new if h is None else t.add(new, t.mul(z, h))
    return outputs, None


def _rnn(t: Terms, d: _Direction, sequence: ir.Value, order: range) -> tuple[dict[int, ir.Value], ir.Value | None]:
    """Ht = f(Xt W + Ht-1 R + both biases)."""
    weights, outputs, h = t.at.const(d.recurrent), dict[int, ir.Value](), d.hidden
    for step in order:
        h = outputs[step] = d.functions[0](_plus(t, t.at.slice(sequence, 1, step, step + 1), h, weights))
    return outputs, None


_CELLS = {"LSTM": _lstm, "GRU": _gru, "RNN": _rnn}


def _unroll(model: ir.Model, node: ir.Node) -> Outcome:
    at, dims = Site(model, node), Site(model, node).dims()
    layout = at.attr("layout", 0)
    length = None if dims is None else dims[1 if layout else 0]
    if dims is None or length is None or not at.floating:
        return Refused("a sequence whose length is not static, or no floats")
    lengths = at.constant(4)
    if at.has(4) and (lengths is None or (lengths != length).any()):
        return Refused("sequence_lens that are computed, or shorter than the sequence")
    t = Terms(at)
    directions = _read(at, t)
    if isinstance(directions, Refused):
        return directions
    if not 0 < length * len(directions) <= MAX_STEPS:
        return Refused(f"{length} steps in {len(directions)} directions: more than {MAX_STEPS}, or none")
    batch, size = dims[0 if layout else 1], directions[0].recurrent.shape[0]
    x = at.input() if layout else at.op("Transpose", at.input(), perm=[1, 0, 2])
    sequences, lasts, cells = [], [], []
    for d in directions:
        bias = d.input_bias.astype(np.float64) + d.recurrent_bias
        if node.op_type == "GRU" and at.attr("linear_before_reset", 0):
            bias[2 * size :] = d.input_bias[2 * size :]
        rows = at.op("MatMul", x, at.const(d.inputs))
        rows = t.add(rows, at.full_rank(bias, 3, 2)) if bias.any() else rows
        order = range(length - 1, -1, -1) if d.backwards else range(length)
        outputs, cell = _CELLS[node.op_type](t, d, rows, order)
        steps = [outputs[step] for step in range(length)]
        joined = at.op("Concat", *steps, axis=1) if length > 1 else steps[0]
        sequences.append(at.reshape(joined, [batch, length, 1, size]))
        lasts.append(outputs[order[-1]])
        cells.append(cell)
    is_time_first = not layout
    results = [
        _side_by_side(at, sequences, 2, [1, 2, 0, 3] if is_time_first else None),
        _side_by_side(at, lasts, 1, [1, 0, 2] if is_time_first else None),
        _side_by_side(at, [c for c in cells if c is not None], 1, [1, 0, 2] if is_time_first else None),
    ]
    # An absent output has no name that a new value could take.
    finals = [new if old.name else at.input() for old, new in zip(node.outputs, results, strict=False)]
    return at.replace(*(final for final in finals if final is not None))


def _side_by_side(at: Site, parts: list[ir.Value], axis: int, perm: list[int] | None) -> ir.Value | None:
    if not parts:
        return None
    joined = at.op("Concat", *parts, axis=axis) if len(parts) > 1 else at.op("Identity", parts[0])
    return joined if perm is None else at.op("Transpose", joined, perm=perm)


def _without_zero_states(model: ir.Model, node: ir.Node) -> Outcome:
    """Leave out initial states of zeros, which is what an absent state is."""
    at = Site(model, node)
    zeros = [index for index in (5, 6) if at.has(index) and _is_zero(at.input(index))]
    for index in zeros:
        node.replace_input_with(index, None)
    return at.retain() if zeros else False


REWRITES = (
    Rewrite("recurrent-zero-states", frozenset(_GATES), "LH", "goes without states of zeros", _without_zero_states),
    Rewrite("recurrent-unrolled", frozenset(_GATES), "CG", "is unrolled over its static sequence", _unroll),
)
