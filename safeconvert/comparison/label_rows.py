"""Compare labels: the best classes of each input, or at each position of a map."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .figures import Figures
from .output_kinds import OutputKind

Array = np.ndarray[Any, Any]
TOP = 5  # classes whose order is reported
BINARY_LABEL = 0.5


@dataclass(frozen=True, eq=False)
class LabelRows:
    """For each input: does a label differ, is one a near-tie, do the best classes come in another order; and the
    percent of its positions that differ. A near-tie is a label whose margin over the next class is below the tolerance;
    of a map, where labels differ."""

    differ: Array
    near_ties: Array
    order_differs: Array
    share: Array
    has_labels: bool
    figures: Figures = field(default_factory=Figures)


def compare_labels(kind: OutputKind, a: Array, b: Array, allowed: Array, top: int) -> LabelRows:
    """Compare the labels of values [n, ...]; ``allowed`` is the tolerance, which broadcasts against them.

    ``top``: how many of the best classes must be the same, in order; 0 where labels are not looked at.
    """
    axis = 1 if kind.is_binary else kind.class_axis
    if not kind.has_labels or not top or a.size == 0:
        return _no_labels(len(a))
    if kind.is_binary:
        return _binary(a, b, allowed)
    if axis is None or axis >= a.ndim or a.shape[axis] < 2:
        return _no_labels(len(a))
    wide = np.moveaxis(np.broadcast_to(allowed, a.shape), axis, -1)
    a, b = np.moveaxis(a, axis, -1), np.moveaxis(b, axis, -1)
    if kind.kind == "map":
        return _map(a, b, wide)
    return _best_classes(a, b, wide, top)


def _no_labels(count: int) -> LabelRows:
    no = np.zeros(count, bool)
    return LabelRows(no, no, no, np.zeros(count), False)


def _binary(a: Array, b: Array, allowed: Array) -> LabelRows:
    """A lone probability for each label, decided at 0.5."""
    label_a, label_b = (x.reshape(len(x), -1) >= BINARY_LABEL for x in (a, b))
    wrong = label_a != label_b
    near = np.asarray((np.abs(a - BINARY_LABEL) < allowed).reshape(len(a), -1).any(axis=1))
    figures = _class_figures(label_a.astype(np.intp), label_b.astype(np.intp), 2)
    return LabelRows(wrong.any(axis=1), near, np.zeros(len(a), bool), 100 * wrong.mean(axis=1), True, figures)


def _map(a: Array, b: Array, wide: Array) -> LabelRows:
    """A label at each position; classes along the last axis."""
    best_a, best_b = (x.argmax(axis=-1).reshape(len(x), -1) for x in (a, b))
    wrong = best_a != best_b
    near = np.zeros(len(a), bool)
    rows = np.nonzero(wrong)[0]
    if rows.size:
        values, limits = (x.reshape(len(x), -1, x.shape[-1])[wrong] for x in (a, wide))
        is_near = _margins(values, limits, 1)
        near[rows[is_near]] = True
    figures = _class_figures(best_a, best_b, a.shape[-1])
    return LabelRows(wrong.any(axis=1), near, np.zeros(len(a), bool), 100 * wrong.mean(axis=1), True, figures)


def _best_classes(a: Array, b: Array, wide: Array, top: int) -> LabelRows:
    """The best ``top`` classes of values [n, ..., classes], in order; equal values rank by their place."""
    k = min(max(TOP, top + 1), a.shape[-1])
    best_a, best_b = (np.argsort(-x, axis=-1, kind="stable")[..., :k] for x in (a, b))
    wrong = (best_a[..., :top] != best_b[..., :top]).any(axis=-1).reshape(len(a), -1)
    order = (best_a[..., :TOP] != best_b[..., :TOP]).any(axis=-1).reshape(len(a), -1)
    near = np.asarray(_margins(a, wide, top).reshape(len(a), -1).any(axis=1))
    figures = Figures(labels=wrong.size, labels_differ=int(wrong.sum()))
    return LabelRows(wrong.any(axis=1), near, order.any(axis=1), 100 * wrong.mean(axis=1), True, figures)


def _margins(values: Array, limits: Array, top: int) -> Array:
    """Is any of the best ``top`` classes closer to the next one than the tolerance?"""
    order = np.argsort(-values, axis=-1, kind="stable")[..., : top + 1]
    ranked = np.take_along_axis(values, order, axis=-1)
    tolerance = np.take_along_axis(limits, order, axis=-1)
    return np.asarray((-np.diff(ranked, axis=-1) < np.maximum(tolerance[..., 1:], tolerance[..., :-1])).any(axis=-1))


def _class_figures(labels_a: Array, labels_b: Array, classes: int) -> Figures:
    """Counts by class over all positions."""
    flat_a, flat_b = labels_a.ravel(), labels_b.ravel()
    is_same = flat_a == flat_b
    overlap = np.bincount(flat_a[is_same], minlength=classes).astype(np.float64)
    count_a, count_b = (np.bincount(flat, minlength=classes).astype(np.float64) for flat in (flat_a, flat_b))
    return Figures(
        labels=flat_a.size,
        labels_differ=int((~is_same).sum()),
        overlap=overlap,
        union=count_a + count_b - overlap,
        source_classes=count_a,
    )
