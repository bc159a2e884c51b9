"""Gemm and MatMul with the constant on the right, unscaled and untransposed."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ..rule import Outcome, Refused, Rewrite
from ..site import Array, Site

MAX_PRODUCTS = 1_000_000
MAX_MATRICES = 128


def _gemm(model: ir.Model, node: ir.Node, *, keep: bool = True) -> Outcome:
    """Gemm(A, B, C) with alpha = beta = 1, no transposes, C a vector; else, or without ``keep``, MatMul and Add."""
    at = Site(model, node)
    alpha, beta = at.attr("alpha", 1.0), at.attr("beta", 1.0)
    trans_a, trans_b = at.attr("transA", 0), at.attr("transB", 0)
    b, c = at.constant(1), at.constant(2)
    vector = not at.has(2) or (c is not None and c.ndim == 1 and b is not None and c.shape[0] == b.shape[1 - trans_b])
    if alpha == 1 and beta == 1 and not trans_a and not trans_b and vector and b is not None:
        return False
    if not at.floating:
        return Refused("Gemm of integers")
    a = at.constant(0)
    if trans_a and a is not None:
        x = at.const(a.T)
    else:
        x = at.op("Transpose", at.input(), perm=[1, 0]) if trans_a else at.input()
    if b is not None:
        right = at.const((b.T if trans_b else b).astype(np.float64) * alpha)
    else:
        right = at.op("Transpose", at.input(1), perm=[1, 0]) if trans_b else at.input(1)
        right = at.op("Mul", right, at.scalar(alpha, 2)) if alpha != 1 else right
    if not at.has(2) or beta == 0:
        return at.replace(at.op("MatMul", x, right))
    if c is not None:
        columns = None if b is None else b.shape[0 if trans_b else 1]
        scaled = c.astype(np.float64) * beta
        if columns is not None and (c.size == 1 or c.shape in ((columns,), (1, columns))):
            row = np.broadcast_to(scaled.reshape(-1), [columns])
            if keep:
                return at.replace(at.op("Gemm", x, right, at.const(row)))
            return at.replace(at.op("Add", at.op("MatMul", x, right), at.full_rank(row, 2)))
        full = at.const(scaled.reshape([1] * (2 - c.ndim) + list(c.shape)))
    else:
        full = at.op("Mul", at.input(2), at.scalar(beta, 2)) if beta != 1 else at.input(2)
    return at.replace(at.op("Add", at.op("MatMul", x, right), full))


def _gemm_as_matmul(model: ir.Model, node: ir.Node) -> Outcome:
    outcome = _gemm(model, node, keep=False)
    if outcome is not False:
        return outcome
    at = Site(model, node)
    y = at.op("MatMul", at.input(), at.input(1))
    c = at.constant(2)
    return at.replace(y if c is None else at.op("Add", y, at.full_rank(c, 2)))


def _constant_first(model: ir.Model, node: ir.Node) -> Outcome:
    """MatMul(constant, x) = transpose(MatMul(transpose(x), transposed constant))."""
    at = Site(model, node)
    left, dims = at.constant(0), at.dims(1)
    if left is None or at.constant(1) is not None:
        return False
    if left.ndim != 2 or dims is None or len(dims) < 2:
        return Refused("a stack of constant matrices on the left")
    rank = len(dims)
    x = at.swap_last(at.input(1), rank - 2, rank)
    return at.replace(at.swap_last(at.op("MatMul", x, at.const(left.T)), rank - 2, rank))


def _stack(model: ir.Model, node: ir.Node) -> Outcome:
    """A product with a stack of constant matrices, one for each position on the axes before, matrix by matrix."""
    at, right, dims = Site(model, node), Site(model, node).constant(1), Site(model, node).dims()
    if right is None or right.ndim < 3 or at.constant(0) is not None:
        return False
    if dims is None or len(dims) < right.ndim:
        return Refused("the stack of matrices widens the tensor")
    ahead = len(dims) - right.ndim
    lead = right.shape[:-2]
    if int(np.prod(lead)) > MAX_MATRICES:
        return Refused(f"more than {MAX_MATRICES} matrices")
    if ahead == 0 and lead[0] != 1:
        return Refused("a matrix for each sample of the batch")

    def product(x: ir.Value, depth: int, matrices: Array) -> ir.Value:
        if depth == len(lead):
            return at.op("MatMul", x, at.const(matrices))
        axis, count = ahead + depth, lead[depth]
        if count == 1:
            return product(x, depth + 1, matrices[0])
        parts = [x if dims[axis] == 1 else at.slice(x, axis, i, i + 1) for i in range(count)]
        return at.op("Concat", *(product(p, depth + 1, m) for p, m in zip(parts, matrices, strict=True)), axis=axis)

    return at.replace(product(at.input(), 0, right))


def _computed(model: ir.Model, node: ir.Node) -> Outcome:
    """A product of two computed matrices as Mul and ReduceSum."""
    at = Site(model, node)
    if at.constant(0) is not None or at.constant(1) is not None:
        return False
    a, b = at.dims(0), at.dims(1)
    if a is None or b is None or len(a) != len(b) or len(a) < 2 or None in a[1:] or None in b[1:]:
        return Refused("operands of unknown or different shape")
    m, k, n = a[-2] or 0, a[-1] or 0, b[-1] or 0
    if int(np.prod([d or 1 for d in a[1:]])) * n > MAX_PRODUCTS:
        return Refused("the product would be too large to spread out")
    rank = len(a)
    if rank == 2:
        return Refused("the batch is a matrix axis")
    left = at.reshape(at.input(0), [*a[:-2], m, k, 1])
    right = at.reshape(at.input(1), [*b[:-2], 1, k, n])
    total = at.reduce("ReduceSum", at.op("Mul", left, right), [rank - 1])
    return at.replace(at.reshape(total, [*(x if x != 1 else y for x, y in zip(a[:-2], b[:-2], strict=True)), m, n]))


_GEMM, _MATMUL = frozenset({"Gemm"}), frozenset({"MatMul"})
REWRITES = (
    Rewrite("gemm-plain", _GEMM, "WB", "alpha, beta and transposes go into the constants", _gemm),
    Rewrite("gemm-as-matmul", _GEMM, "CG", "Gemm becomes MatMul and Add", _gemm_as_matmul),
    Rewrite("matmul-constant-first", _MATMUL, "WB", "a constant on the left moves to the right", _constant_first),
    Rewrite("matmul-stack", _MATMUL, "WB", "a stack of constant matrices becomes a MatMul for each", _stack),
    Rewrite("matmul-computed", _MATMUL, "CG", "two computed operands become Mul and ReduceSum", _computed),
)
