"""Einsum as Transpose, ReduceSum, MatMul and Reshape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ..rule import Outcome, Refused, Rewrite
from ..site import Array, Dims, Site, dims_of

_ELLIPSIS = "0123456789"  # letters of the equation are letters


@dataclass(frozen=True)
class _Term:
    """A value and the label of each of its axes; its array where it is a constant."""

    value: ir.Value
    labels: str
    array: Array | None = None


class _Impossible(Exception):
    """No exact form; the message says why."""


def parse(equation: str, ranks: Sequence[int]) -> tuple[list[str], str]:
    """Labels of each operand and of the output, one a axis; axes of an ellipsis are digits, counted from behind."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(ranks):
        raise _Impossible("the equation has another number of operands")
    hidden = [rank - len(term.replace("...", "")) for term, rank in zip(terms, ranks, strict=True)]
    if any(n < 0 or (n > 0 and "..." not in term) for term, n in zip(terms, hidden, strict=True)):
        raise _Impossible("the equation has another rank")
    spread = [term.replace("...", _ELLIPSIS[:n][::-1]) for term, n in zip(terms, hidden, strict=True)]
    widest = _ELLIPSIS[: max(hidden)][::-1]
    if not arrow:
        joined = "".join(terms).replace(".", "")
        right = ("..." if "..." in left else "") + "".join(sorted(c for c in set(joined) if joined.count(c) == 1))
    return spread, right.replace("...", widest)


class _Builder:
    """Takes terms apart and together; `sizes` are the extents of the labels."""

    def __init__(self, at: Site, sizes: dict[str, int | None]) -> None:
        self.at, self.sizes = at, sizes

    def dims(self, labels: str) -> Dims:
        return [self.sizes[c] for c in labels]

    def order(self, term: _Term, labels: str) -> _Term:
        """The term with its axes in that order."""
        if labels == term.labels:
            return term
        perm = [term.labels.index(c) for c in labels]
        if term.array is not None:
            array = term.array.transpose(perm)
            return _Term(self.at.const(array), labels, array)
        return _Term(self.at.op("Transpose", term.value, perm=perm), labels)

    def sum_out(self, term: _Term, labels_needed: set[str]) -> _Term:
        gone = [i for i, c in enumerate(term.labels) if c not in labels_needed]
        if not gone:
            return term
        labels = "".join(c for c in term.labels if c in labels_needed)
        if term.array is not None:
            array = term.array.sum(axis=tuple(gone))
            return _Term(self.at.const(array), labels, array)
        return _Term(self.at.reduce("ReduceSum", term.value, gone, 0), labels)

    def merge(self, term: _Term, groups: Sequence[str]) -> ir.Value:
        """The term with each group of labels as one axis; groups in the term's own order."""
        if all(len(g) == 1 for g in groups):
            return term.value
        dims: Dims = []
        for group in groups:
            if len(group) != 1 and None in self.dims(group):
                raise _Impossible("an axis that is not static is taken together with others")
            dims.append(self.sizes[group] if len(group) == 1 else int(np.prod([d or 1 for d in self.dims(group)])))
        if term.array is not None:
            return self.at.const(term.array.reshape([d or 1 for d in dims]))
        return self.reshape(term.value, dims)

    def reshape(self, value: ir.Value, dims: Dims) -> ir.Value:
        if dims.count(None) > 1:
            raise _Impossible("more than one axis is not static")
        return self.at.reshape(value, dims)

    def multiply(self, a: _Term, b: _Term, labels_needed: set[str]) -> _Term:
        """The product of two terms, summed over the labels that are in both and not kept."""
        a, b = self.sum_out(a, labels_needed | set(b.labels)), self.sum_out(b, labels_needed | set(a.labels))
        if a.array is not None:
            a, b = b, a  # a constant goes to the right, where converters take it for weights
        batch = "".join(c for c in a.labels if c in b.labels and c in labels_needed)
        inner = "".join(c for c in a.labels if c in b.labels and c not in labels_needed)
        left = "".join(c for c in a.labels if c not in b.labels)
        right = "".join(c for c in b.labels if c not in a.labels)
        a, b = self.order(a, batch + left + inner), self.order(b, batch + inner + right)
        if not inner:
            left_dims = [*self.dims(batch + left), *[1] * len(right)]
            right_dims = [*self.dims(batch), *[1] * len(left), *self.dims(right)]
            b_value = self.at.const(b.array.reshape([d or 1 for d in right_dims])) if b.array is not None else None
            spread = self.reshape(a.value, left_dims) if right else a.value
            narrow = b_value if b_value is not None else self.reshape(b.value, right_dims) if left else b.value
            return _Term(self.at.op("Mul", spread, narrow), batch + left + right)
        if b.array is None:
            x = self.merge(a, [*batch, left, inner])
            y = self.at.op("MatMul", x, self.merge(b, [*batch, inner, right]))
            plain = len(left) == 1
        else:  # weights: all axes of the other stay apart, so that its batch stays one of its own
            lead, last = (left[:-1], left[-1]) if len(left) > 1 else (left, "")
            x = self.merge(self.order(a, lead + batch + last + inner), [*lead, *batch, last, inner])
            y = self.at.op("MatMul", x, self.merge(b, [*batch, inner, right]))
            plain, batch, left = last != "", lead + batch, last
        labels = batch + left + right
        return _Term(y if plain and len(right) == 1 else self.reshape(y, self.dims(labels)), labels)


def _einsum(model: ir.Model, node: ir.Node) -> Outcome:
    at = Site(model, node)
    shapes = [dims_of(v) for v in node.inputs]
    known = [s for s in shapes if s is not None]
    if len(known) < len(shapes) or not at.floating:
        return Refused("a rank that is unknown, or integers")
    try:
        labels, out = parse(str(at.attr("equation")), [len(s) for s in known])
        return at.replace(_written(at, known, labels, out))
    except _Impossible as error:
        return Refused(str(error))


def _written(at: Site, shapes: list[Dims], labels: list[str], out: str) -> ir.Value:
    sizes: dict[str, int | None] = {}
    for names, dims in zip(labels, shapes, strict=True):
        if len(set(names)) < len(names):
            raise _Impossible("a diagonal")
        for label, size in zip(names, dims, strict=True):
            if label in sizes and size is not None and sizes[label] not in (None, size):
                raise _Impossible("axes that are broadcast")
            if label in sizes and (size is None) != (sizes[label] is None):
                raise _Impossible("axes that may be broadcast")
            sizes[label] = sizes.get(label) if size is None else size
    if not set(out) <= set(sizes) or len(set(out)) < len(out):
        raise _Impossible("an output that no operand has")
    build = _Builder(at, sizes)
    terms = [_Term(at.input(i), names, at.constant(i)) for i, names in enumerate(labels)]
    result = terms[0]
    for i, term in enumerate(terms[1:], start=1):
        labels_needed = set(out).union(*(set(t.labels) for t in terms[i + 1 :]))
        result = build.multiply(result, term, labels_needed)
    return build.order(build.sum_out(result, set(out)), out).value


REWRITES = (Rewrite("einsum", frozenset({"Einsum"}), "CG", "becomes Transpose, MatMul and Reshape", _einsum),)
