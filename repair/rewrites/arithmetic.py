"""Arithmetic on one site's values, in operators that every converter has."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from .site import Site


class Terms:
    """Arithmetic on the values of one site, numbers as full-rank constants.

    dtype: of those constants and of all that is computed; the first input's unless told.
    """

    def __init__(self, at: Site, dtype: Any = None) -> None:
        self.at, self.x = at, at.input()
        self.dtype = np.dtype(at.dtype if dtype is None else dtype)
        self.rank = max(len(at.dims(i) or []) for i in range(len(at.node.inputs)) if at.has(i))

    def number(self, value: float) -> ir.Value:
        return self.at.const(np.full([1] * self.rank, value), self.dtype)

    def add(self, a: ir.Value, b: ir.Value | float) -> ir.Value:
        return self.at.op("Add", a, b if isinstance(b, ir.Value) else self.number(b))

    def mul(self, a: ir.Value, b: ir.Value | float) -> ir.Value:
        return self.at.op("Mul", a, b if isinstance(b, ir.Value) else self.number(b))

    def low(self, a: ir.Value, b: ir.Value | float) -> ir.Value:
        return self.at.op("Min", a, b if isinstance(b, ir.Value) else self.number(b))

    def high(self, a: ir.Value, b: ir.Value | float) -> ir.Value:
        return self.at.op("Max", a, b if isinstance(b, ir.Value) else self.number(b))

    def unary(self, op_type: str, a: ir.Value) -> ir.Value:
        return self.at.op(op_type, a)

    def expm1_below_zero(self, scale: float, inner: float = 1.0) -> ir.Value:
        """scale * (exp(min(x, 0) / inner) - 1)."""
        below = self.low(self.x, 0.0)
        power = self.unary("Exp", below if inner == 1.0 else self.mul(below, 1 / inner))
        return self.mul(self.add(power, -1.0), scale)

    def softplus(self, x: ir.Value) -> ir.Value:
        """log(1 + exp(x)) without overflow."""
        inner = self.unary("Exp", self.low(x, self.mul(x, -1.0)))
        return self.add(self.unary("Relu", x), self.unary("Log", self.add(inner, 1.0)))

    def unit(self, x: ir.Value) -> ir.Value:
        """x clipped to [0, 1]."""
        return self.low(self.unary("Relu", x), 1.0)

    def sub(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.at.op("Sub", a, b)

    def minus(self, a: ir.Value) -> ir.Value:
        return self.mul(a, -1.0)

    def cast(self, a: ir.Value, dtype: Any = None) -> ir.Value:
        """As numbers of `dtype`, those of this arithmetic unless told."""
        kind = ir.DataType.from_numpy(np.dtype(self.dtype if dtype is None else dtype))
        return self.at.op("Cast", a, to=int(kind))

    def is_positive(self, a: ir.Value) -> ir.Value:
        """a > 0 as a bool, of floats that are no NaN: a Cast to bool asks whether a number is other than 0."""
        return self.cast(self.unary("Relu", a), np.bool_)

    def step(self, a: ir.Value) -> ir.Value:
        """1 where a > 0, else 0."""
        return self.cast(self.is_positive(a))

    def sign(self, a: ir.Value) -> ir.Value:
        """-1, 0 or 1."""
        return self.sub(self.step(a), self.step(self.minus(a)))

    def size(self, a: ir.Value) -> ir.Value:
        """The absolute value."""
        return self.high(a, self.minus(a))
