"""Sinh, Cosh and powers of a constant from Exp and Tanh."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ..arithmetic import Terms
from ..rule import Outcome, Refused, Rewrite
from ..site import Site


def _hyperbolic(model: ir.Model, node: ir.Node) -> Outcome:
    """The sum formula of x = s + r with s in [-1, 1]: with t = tanh(s / 2), sinh(s) = 2 t / (1 - t t) and
    cosh(s) = (1 + t t) / (1 - t t), which lose nothing near 0 as exp(x) - exp(-x) does, nor overflow early.
    """
    at = Site(model, node)
    if not at.floating:
        return Refused(f"{node.op_type} of an integer")
    t = Terms(at)
    near = t.low(t.high(t.x, -1.0), 1.0)
    far = t.sub(t.x, near)
    half = t.unary("Tanh", t.mul(near, 0.5))
    square = t.mul(half, half)
    below = t.add(t.minus(square), 1.0)
    sinh, cosh = at.op("Div", t.mul(half, 2.0), below), at.op("Div", t.add(square, 1.0), below)
    up, down = t.mul(t.unary("Exp", far), 0.5), t.mul(t.unary("Exp", t.minus(far)), 0.5)
    sinh_far, cosh_far = t.sub(up, down), t.add(up, down)
    if node.op_type == "Sinh":
        return at.replace(t.add(t.mul(sinh, cosh_far), t.mul(cosh, sinh_far)))
    return at.replace(t.add(t.mul(cosh, cosh_far), t.mul(sinh, sinh_far)))


def _power_of_constant(model: ir.Model, node: ir.Node) -> Outcome:
    """b^x = exp(x log b) for b > 0."""
    at = Site(model, node)
    base = at.constant(0)
    if base is None or at.constant(1) is not None:
        return False
    if not at.floating or at.input(1).dtype != at.input(0).dtype:
        return Refused("integers")
    if not (base > 0).all() or not np.isfinite(base).all():
        return Refused("a base that is not above 0")
    rank = max(base.ndim, len(at.dims(1) or []))
    logarithm = np.log(base.astype(np.float64)).reshape([1] * (rank - base.ndim) + list(base.shape))
    return at.replace(at.op("Exp", at.op("Mul", at.input(1), at.const(logarithm))))


REWRITES = (
    Rewrite("hyperbolic", frozenset({"Sinh", "Cosh"}), "CG", "becomes exponentials", _hyperbolic),
    Rewrite("power-of-constant", frozenset({"Pow"}), "CG", "b^x becomes exp(x log b)", _power_of_constant),
)
