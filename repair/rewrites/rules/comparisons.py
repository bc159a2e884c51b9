"""Comparisons, logic and Where as arithmetic, for converters that have none of them.

A bool is made by a Cast from the number 0 or not, and read by a Cast to 0 or 1. Exact for values that are
neither infinite nor NaN; a Where also needs that of the values which it does not choose.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from ..arithmetic import Terms
from ..rule import Outcome, Refused, Rewrite
from ..site import Array, Site, constant_of, dims_of

_NUMBERS = ("float32", "float64", "int32", "int64")


def _above(t: Terms, a: ir.Value, b: ir.Value) -> ir.Value:
    """a > b. Integers: max(a, b) - b, which is other than 0 even where it overflows."""
    if t.dtype.kind == "f":
        return t.is_positive(t.sub(a, b))
    return t.cast(t.sub(t.high(a, b), b), np.bool_)


def _not(t: Terms, a: ir.Value) -> ir.Value:
    return t.cast(t.sub(t.at.const(np.ones([1] * t.rank), np.float32), t.cast(a, np.float32)), np.bool_)


def _compare(model: ir.Model, node: ir.Node) -> Outcome:
    at = Site(model, node)
    if at.dtype.name not in _NUMBERS:
        return Refused(f"a comparison of {at.dtype.name}")
    t, a, b = Terms(at), at.input(0), at.input(1)
    comparisons: dict[str, Callable[[], ir.Value]] = {
        "Greater": lambda: _above(t, a, b),
        "Less": lambda: _above(t, b, a),
        "GreaterOrEqual": lambda: _not(t, _above(t, b, a)),
        "LessOrEqual": lambda: _not(t, _above(t, a, b)),
        "Equal": lambda: _not(t, t.cast(t.sub(a, b), np.bool_)),
    }
    return at.replace(comparisons[node.op_type]())


def _logic(model: ir.Model, node: ir.Node) -> Outcome:
    at = Site(model, node)
    t = Terms(at, np.float32)
    if node.op_type == "Not":
        return at.replace(_not(t, at.input()))
    a, b = t.cast(at.input(0)), t.cast(at.input(1))
    joined = {"And": t.mul, "Or": t.add, "Xor": t.sub}[node.op_type](a, b)
    return at.replace(t.cast(joined, np.bool_))


_UNBOUNDED = frozenset({"Log", "Sqrt", "Div", "Pow", "Reciprocal", "Exp", "Tan", "Asin", "Acos", "Acosh", "Atanh"})
_CLOSED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "MaxPool", "AveragePool", "GlobalAveragePool", "Clip"})


def may_overflow(value: ir.Value) -> bool:
    """Does anything between the last layer and this value give infinities or NaN for ordinary numbers?"""
    seen, waiting = set[int](), [value]
    while waiting:
        producer = waiting.pop().producer()
        if producer is None or id(producer) in seen or producer.op_type in _CLOSED:
            continue
        if producer.op_type in _UNBOUNDED:
            divisor = constant_of(producer.inputs[1]) if producer.op_type == "Div" else None
            if divisor is None or not divisor.all():
                return True
        seen.add(id(producer))
        waiting += [operand for operand in producer.inputs if operand is not None]
    return False


def _where(model: ir.Model, node: ir.Node) -> Outcome:
    at = Site(model, node)
    kind = at.input(1).dtype
    out, known = dims_of(node.outputs[0]), [dims_of(v) for v in node.inputs]
    if kind is None or kind.numpy() not in [np.dtype(n) for n in _NUMBERS]:
        return Refused("Where of values that cannot be multiplied")
    if out is None or None in known:
        return Refused("the rank is unknown")
    t, rank = Terms(at, kind.numpy()), len(out)

    def full(array: Array) -> Array:
        return array.reshape([1] * (rank - array.ndim) + list(array.shape))

    choice = at.constant(0)
    terms = []
    idle = _idle(at, out)
    for index, sense in ((1, True), (2, False)):
        constant = at.constant(index)
        if index == idle:
            continue
        if choice is not None and constant is not None:
            terms.append(at.const(np.where(full(choice) == sense, full(constant), 0), t.dtype))
            continue
        if constant is not None and not np.isfinite(constant).all():
            return Refused("an infinite constant by a computed condition")
        if constant is None and may_overflow(at.input(index)):
            return Refused("the branch that is not chosen may be infinite or no number")
        value = at.input(index) if constant is None else at.const(full(constant), t.dtype)
        if choice is not None:
            mask = at.const(full(choice) == sense, t.dtype)
        else:
            mask = t.cast(at.input(0))
            mask = mask if sense else t.sub(at.const(np.ones([1] * rank), t.dtype), mask)
        terms.append(at.op("Mul", value, mask))
    return at.replace(terms[0] if len(terms) == 1 else at.op("Add", *terms))


def _idle(at: Site, out: list[int | None]) -> int | None:
    """The index of a value that is a constant zero, if condition and other value have the output's shape without it."""
    for index in (1, 2):
        constant = at.constant(index)
        if constant is None or constant.any():
            continue
        rest = [at.dims(i) or [] for i in (0, 3 - index)]
        wide = any(
            constant.ndim >= axis
            and constant.shape[-axis] != 1
            and not any(len(d) >= axis and d[-axis] == size for d in rest)
            for axis, size in enumerate(reversed(out), start=1)
        )
        if not wide and max(len(d) for d in rest) == len(out):
            return index
    return None


REWRITES = (
    Rewrite(
        "comparison",
        frozenset({"Greater", "Less", "GreaterOrEqual", "LessOrEqual", "Equal"}),
        "CG",
        "becomes a difference cast to bool",
        _compare,
    ),
    Rewrite("logic", frozenset({"And", "Or", "Xor", "Not"}), "CG", "becomes arithmetic on 0 and 1", _logic),
    Rewrite("where", frozenset({"Where"}), "CG", "becomes x * mask + y * (1 - mask)", _where),
)
