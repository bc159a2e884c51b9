"""Activations from Relu, Exp, Log, Min, Max, Mul, Add and Div."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from ..arithmetic import Terms
from ..rule import Outcome, Refused, Rewrite
from ..site import Site

# erf on [-4, 4] as x * P(x*x) / Q(x*x): the rational that Eigen and XLA use; within 2e-7 of erf.
_ERF_P = (
    -2.72614225801306e-10,
    2.77068142495902e-08,
    -2.10102402082508e-06,
    -5.69250639462346e-05,
    -7.34990630326855e-04,
    -2.95459980854025e-03,
    -1.60960333262415e-02,
)
_ERF_Q = (
    -1.45660718464996e-05,
    -2.13374055278905e-04,
    -1.68282697438203e-03,
    -7.37332916720468e-03,
    -1.42647390514189e-02,
)


def _gelu(t: Terms) -> ir.Value:
    if t.at.attr("approximate", "none") == "tanh":
        cube = t.mul(t.mul(t.mul(t.x, t.x), t.x), 0.044715)
        inner = t.unary("Tanh", t.mul(t.add(cube, t.x), math.sqrt(2 / math.pi)))
    else:
        inner = t.unary("Erf", t.mul(t.x, math.sqrt(0.5)))
    return t.mul(t.mul(t.x, 0.5), t.add(inner, 1.0))


def _hard_sigmoid(t: Terms, alpha: float, beta: float) -> ir.Value:
    return t.unit(t.add(t.mul(t.x, alpha), beta))


def _elu(t: Terms) -> ir.Value:
    return t.add(t.unary("Relu", t.x), t.expm1_below_zero(t.at.attr("alpha", 1.0)))


def _selu(t: Terms) -> ir.Value:
    alpha, gamma = (
        t.at.attr("alpha", 1.67326319217681884765625),
        t.at.attr("gamma", 1.05070102214813232421875),
    )
    return t.add(t.mul(t.unary("Relu", t.x), gamma), t.expm1_below_zero(alpha * gamma))


def _celu(t: Terms) -> ir.Value:
    alpha = t.at.attr("alpha", 1.0)
    return t.add(t.unary("Relu", t.x), t.expm1_below_zero(alpha, alpha))


def _thresholded(t: Terms) -> ir.Value:
    above = t.at.op("Greater", t.x, t.number(t.at.attr("alpha", 1.0)))
    return t.at.op("Where", above, t.x, t.number(0.0))


def _shrink(t: Terms) -> ir.Value:
    bias, lambd = t.at.attr("bias", 0.0), t.at.attr("lambd", 0.5)
    below, above = t.at.op("Less", t.x, t.number(-lambd)), t.at.op("Greater", t.x, t.number(lambd))
    upper = t.at.op("Where", above, t.add(t.x, -bias), t.number(0.0))
    return t.at.op("Where", below, t.add(t.x, bias), upper)


def _softsign(t: Terms) -> ir.Value:
    return t.at.op("Div", t.x, t.add(t.high(t.x, t.mul(t.x, -1.0)), 1.0))


def _leaky(t: Terms) -> ir.Value:
    return t.add(t.unary("Relu", t.x), t.mul(t.unary("Relu", t.mul(t.x, -1.0)), -t.at.attr("alpha", 0.01)))


def _erf(t: Terms) -> ir.Value:
    x = t.low(t.high(t.x, -4.0), 4.0)
    square = t.mul(x, x)

    def horner(coefficients: tuple[float, ...]) -> ir.Value:
        value = t.add(t.mul(square, coefficients[0]), coefficients[1])
        for c in coefficients[2:]:
            value = t.add(t.mul(value, square), c)
        return value

    return t.at.op("Div", t.mul(x, horner(_ERF_P)), horner(_ERF_Q))


_FORMULAS: dict[str, Callable[[Terms], ir.Value]] = {
    "Gelu": _gelu,
    "HardSigmoid": lambda t: _hard_sigmoid(t, t.at.attr("alpha", 0.2), t.at.attr("beta", 0.5)),
    "HardSwish": lambda t: t.mul(t.x, _hard_sigmoid(t, 1 / 6, 0.5)),
    "Mish": lambda t: t.mul(t.x, t.unary("Tanh", t.softplus(t.x))),
    "Softplus": lambda t: t.softplus(t.x),
    "Softsign": _softsign,
    "Celu": _celu,
    "Elu": _elu,
    "Selu": _selu,
    "ThresholdedRelu": _thresholded,
    "Shrink": _shrink,
    "LeakyRelu": _leaky,
    "Erf": _erf,
    "Abs": lambda t: t.high(t.x, t.mul(t.x, -1.0)),
    "Neg": lambda t: t.mul(t.x, -1.0),
    "Reciprocal": lambda t: t.at.op("Div", t.number(1.0), t.x),
}


def _formula(model: ir.Model, node: ir.Node) -> Outcome:
    at = Site(model, node)
    if not at.floating:
        return Refused(f"{node.op_type} of an integer")
    return at.replace(_FORMULAS[node.op_type](Terms(at)))


def _prelu(model: ir.Model, node: ir.Node) -> Outcome:
    """Relu(x) - slope * Relu(-x), the slope as a constant of full rank."""
    at = Site(model, node)
    slope, dims = at.constant(1), at.dims()
    if slope is None or dims is None:
        return Refused("the slope is computed or the rank unknown")
    if not at.floating:
        return Refused("PRelu of an integer")
    t = Terms(at)
    full = slope.reshape([1] * (len(dims) - slope.ndim) + list(slope.shape))
    below = at.op("Relu", t.mul(t.x, -1.0))
    return at.replace(t.add(t.unary("Relu", t.x), at.op("Mul", below, at.const(-full))))


def _clip(model: ir.Model, node: ir.Node) -> Outcome:
    at = Site(model, node)
    rank, y = len(at.dims() or []), at.input()
    for index, op_type in ((1, "Max"), (2, "Min")):
        if not at.has(index):
            continue
        bound = at.constant(index)
        limit = at.input(index) if bound is None else at.const(np.reshape(bound, [1] * rank))
        y = at.op(op_type, y, limit)
    return at.replace(y)


def _log_sigmoid(model: ir.Model, node: ir.Node) -> Outcome:
    """Log(Sigmoid(x)) is -inf below -104; -Softplus(-x) is not. A repair of the model, not an equivalent."""
    producer = node.inputs[0].producer() if node.inputs[0] is not None else None
    if producer is None or producer.op_type != "Sigmoid" or producer.inputs[0] is None:
        return False
    at = Site(model, node)
    t = Terms(at)
    return at.replace(t.mul(t.softplus(t.mul(producer.inputs[0], -1.0)), -1.0))


MODERN = frozenset({"Gelu", "HardSigmoid", "HardSwish", "Mish", "Celu", "Softsign", "ThresholdedRelu", "Shrink"})
KNOWN = frozenset({"Softplus", "Elu", "Selu", "LeakyRelu", "Abs", "Neg", "Reciprocal"})
REWRITES = (
    Rewrite("activation-modern", MODERN, "CG", "an activation that converters lack becomes its formula", _formula),
    Rewrite("activation-known", KNOWN, "CG", "an activation becomes its formula", _formula),
    Rewrite("erf", frozenset({"Erf"}), "CG", "Erf becomes the rational function that computes it", _formula),
    Rewrite("prelu", frozenset({"PRelu"}), "WB", "PRelu becomes Relu(x) - slope * Relu(-x)", _prelu),
    Rewrite("clip", frozenset({"Clip"}), "LH", "Clip becomes Max and Min", _clip),
    Rewrite("stable-logsigmoid", frozenset({"Log"}), "CG", "Log(Sigmoid(x)) becomes -Softplus(-x)", _log_sigmoid),
)
