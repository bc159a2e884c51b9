"""Ceil, Sign, Round, Mod and the integer Div from Floor, Relu, Cast and + - * /. All exact, for finite values.

Integers are computed on in float64, where they are exact below 2^52. onnx2keras's layers narrow that to float32: there
they are exact up to 2^24.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ..arithmetic import Terms
from ..rule import Outcome, Refused, Rewrite
from ..site import Site, dims_of


def _ceil(model: ir.Model, node: ir.Node) -> Outcome:
    t = Terms(Site(model, node))
    return t.at.replace(t.minus(t.unary("Floor", t.minus(t.x))))


def _sign(model: ir.Model, node: ir.Node) -> Outcome:
    at = Site(model, node)
    if not at.floating:
        return Refused("Sign of an integer")
    t = Terms(at)
    return at.replace(t.sign(t.x))


def _round(model: ir.Model, node: ir.Node) -> Outcome:
    """Floor(x), plus one where the rest is more than half, or half and Floor(x) odd.

    The rest minus a half is a multiple of 2^-(mantissa bits + 2), so half of that again breaks ties and nothing
    else. Below zero, where x is so small that x - Floor(x) rounds, it rounds to what gives the right answer.
    """
    at = Site(model, node)
    t, bits = Terms(at), np.finfo(at.dtype).nmant
    low = t.unary("Floor", t.x)
    odd = t.sub(low, t.mul(t.unary("Floor", t.mul(low, 0.5)), 2.0))
    rest = t.add(t.sub(t.x, low), -0.5)
    return at.replace(t.add(low, t.step(t.add(rest, t.mul(odd, 2.0 ** -(bits + 3))))))


@dataclass(frozen=True)
class _Whole:
    """An integer operand in float64. What is known of a constant is computed here: not all converters do it."""

    value: ir.Value
    size: ir.Value
    sign: ir.Value


def _whole(t: Terms, index: int) -> _Whole:
    array = t.at.constant(index)
    if array is None:
        value = t.cast(t.at.input(index))
        return _Whole(value, t.size(value), t.sign(value))
    full = array.astype(np.float64).reshape([1] * (t.rank - array.ndim) + list(array.shape))
    return _Whole(*(t.at.const(v, t.dtype) for v in (full, np.abs(full), np.sign(full))))


def _toward_zero(t: Terms, a: _Whole, b: _Whole) -> ir.Value:
    """The quotient without its fraction.

    A half added to the dividend keeps the quotient so far from the integers above and below that no rounding
    of the division, nor a product with the reciprocal in its place, crosses one.
    """
    quotient = t.unary("Floor", t.at.op("Div", t.add(a.size, 0.5), b.size))
    return t.mul(t.mul(quotient, a.sign), b.sign)


def _integer_division(model: ir.Model, node: ir.Node) -> Outcome:
    """Toward zero, as onnxruntime divides integers, for converters that divide them as floats."""
    at = Site(model, node)
    if at.floating:
        return False
    t = Terms(at, np.float64)
    return at.replace(t.cast(_toward_zero(t, _whole(t, 0), _whole(t, 1)), at.dtype))


def _mod(model: ir.Model, node: ir.Node) -> Outcome:
    at = Site(model, node)
    if at.floating:
        return _float_mod(at)
    t = Terms(at, np.float64)
    a, b = _whole(t, 0), _whole(t, 1)
    if at.attr("fmod", 0):
        quotient = _toward_zero(t, a, b)
    else:  # the sign of the divisor, as in Python
        quotient = t.unary("Floor", at.op("Div", t.add(t.mul(a.value, b.sign), 0.5), b.size))
    return at.replace(t.cast(t.sub(a.value, t.mul(quotient, b.value)), at.dtype))


def _float_mod(at: Site) -> Outcome:
    """C's fmod: |x| - q |b| with the divisor in two halves, so that both products are exact for q below 2^12.

    The quotient may have been rounded over an integer; the rest is then one divisor too low, or too high.
    """
    divisor = at.constant(1)
    if divisor is None or not divisor.all() or not np.isfinite(divisor).all():
        return Refused("a divisor that is computed, zero or infinite")
    t = Terms(at)
    full = np.abs(divisor).reshape([1] * (t.rank - divisor.ndim) + list(divisor.shape))
    half = np.finfo(at.dtype).nmant // 2 + 1
    mantissa, exponent = np.frexp(full)
    high = np.ldexp(np.floor(np.ldexp(mantissa, half)), exponent - half)
    b, size = at.const(full), t.size(t.x)
    quotient = t.unary("Floor", at.op("Div", size, b))
    rest = t.sub(t.sub(size, t.mul(quotient, at.const(high))), t.mul(quotient, at.const(full - high)))
    rest = t.add(rest, t.mul(t.step(t.minus(rest)), b))
    above = t.sub(t.number(1.0), t.step(t.sub(b, rest)))
    return at.replace(t.mul(t.sub(rest, t.mul(above, b)), t.sign(t.x)))


def _arg_min(model: ir.Model, node: ir.Node) -> Outcome:
    """ArgMax of what is largest where x is smallest: -x, or -1 - x of integers, which cannot overflow."""
    at = Site(model, node)
    if at.dtype.name not in ("float32", "float64", "int32", "int64"):
        return Refused(f"ArgMin of {at.dtype.name}")
    t = Terms(at)
    turned = t.minus(t.x) if at.floating else t.sub(t.number(-1), t.x)
    attributes = {a.name: a.value for a in node.attributes.values()}
    return at.replace(at.op("ArgMax", turned, **attributes))


def _arg_last(model: ir.Model, node: ir.Node) -> Outcome:
    """The last of the largest is the first of them from behind."""
    at, dims = Site(model, node), Site(model, node).dims()
    if not at.attr("select_last_index", 0):
        return False
    out = dims_of(node.outputs[0])
    if dims is None or out is None:
        return Refused("the rank is unknown")
    axis = at.attr("axis", 0) % len(dims)
    size = dims[axis]
    if size is None:
        return Refused("the axis is not static")
    back = at.op("Gather", at.input(), at.ints(list(range(size))[::-1]), axis=axis)
    first = at.op(node.op_type, back, axis=axis, keepdims=at.attr("keepdims", 1))
    last = at.const(np.full([1] * len(out), size - 1), np.int64)
    return at.replace(at.op("Sub", last, first))


REWRITES = (
    Rewrite("ceil", frozenset({"Ceil"}), "CG", "becomes -Floor(-x)", _ceil),
    Rewrite("sign", frozenset({"Sign"}), "CG", "becomes the difference of two steps", _sign),
    Rewrite("round", frozenset({"Round"}), "CG", "becomes Floor and a step", _round),
    Rewrite("integer-division", frozenset({"Div"}), "CG", "becomes Floor of a quotient in float64", _integer_division),
    Rewrite("mod", frozenset({"Mod"}), "CG", "becomes x - y Floor(x / y)", _mod),
    Rewrite("arg-min", frozenset({"ArgMin"}), "CG", "becomes ArgMax of -x", _arg_min),
    Rewrite("arg-last", frozenset({"ArgMax", "ArgMin"}), "LH", "the last index is the first from behind", _arg_last),
)
