"""Sin, Cos, Tan and Atan from Floor and polynomials, within a few rounding errors of float32.

Sin, Cos and Tan so for angles up to 2^13 half turns (25 000); beyond, what is left of pi grows with the angle.
"""

from __future__ import annotations

import math

import onnx_ir as ir

from ..arithmetic import Terms
from ..rule import Outcome, Refused, Rewrite
from ..site import Site

# Pi in three parts, the first two so short that their products with whole numbers below 2^13 are exact (Cephes, sinf).
_PI = (3.140625, 9.67502593994140625e-4, 1.509957990978376432e-7)
# The odd terms of sin on [-pi/2, pi/2] from x^13 down; the next is 7e-10 there.
_SIN = tuple((-1) ** (n // 2) / math.factorial(n) for n in (13, 11, 9, 7, 5, 3))
# atan on [-tan(pi/8), tan(pi/8)] as x + x^3 P(x^2) (Cephes, atanf).
_ATAN = (8.05374449538e-2, -1.38776856032e-1, 1.99777106478e-1, -3.33329491539e-1)


def _odd_polynomial(t: Terms, x: ir.Value, coefficients: tuple[float, ...]) -> ir.Value:
    """x + x^3 P(x^2), the coefficients of P from the highest power down."""
    square = t.mul(x, x)
    value = t.mul(square, coefficients[0])
    for c in coefficients[1:-1]:
        value = t.mul(t.add(value, c), square)
    return t.add(x, t.mul(t.mul(t.add(value, coefficients[-1]), square), x))


def _wave(t: Terms, shift: float) -> ir.Value:
    """sin(x) for a shift of 0, cos(x) for one of a half: (-1)^k sin(r) with x = (k + shift) pi + r, r in +-pi/2."""
    turns = t.unary("Floor", t.add(t.mul(t.x, 1 / math.pi), 0.5 - shift))
    away = t.add(turns, shift) if shift else turns
    rest = t.x
    for part in _PI:
        rest = t.sub(rest, t.mul(away, part))
    odd = t.sub(turns, t.mul(t.unary("Floor", t.mul(turns, 0.5)), 2.0))
    sign = t.add(t.mul(odd, -2.0), 1.0)
    wave = t.mul(_odd_polynomial(t, rest, _SIN), sign)
    return t.minus(wave) if shift else wave


def _atan(t: Terms) -> ir.Value:
    """atan(a) = 2 atan(a / (1 + sqrt(1 + a a))) for a = |x| or, above 1, 1 / |x|: pi/2 minus that."""
    size = t.size(t.x)
    a = t.at.op("Div", t.low(size, 1.0), t.high(size, 1.0))
    half = t.at.op("Div", a, t.add(t.unary("Sqrt", t.add(t.mul(a, a), 1.0)), 1.0))
    angle = t.mul(_odd_polynomial(t, half, _ATAN), 2.0)
    turned = t.mul(t.step(t.add(size, -1.0)), t.add(t.mul(angle, -2.0), math.pi / 2))
    return t.mul(t.add(angle, turned), t.sign(t.x))


def _apply(model: ir.Model, node: ir.Node) -> Outcome:
    at = Site(model, node)
    if at.dtype.name != "float32":
        return Refused("polynomials of the precision of float32")
    t = Terms(at)
    if node.op_type == "Tan":
        return at.replace(at.op("Div", _wave(t, 0.0), _wave(t, 0.5)))
    return at.replace(_atan(t) if node.op_type == "Atan" else _wave(t, 0.5 if node.op_type == "Cos" else 0.0))


REWRITES = (
    Rewrite("trigonometry", frozenset({"Sin", "Cos", "Tan", "Atan"}), "CG", "becomes Floor and a polynomial", _apply),
)
