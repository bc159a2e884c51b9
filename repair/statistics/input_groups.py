"""Tell inputs whose labels agree from inputs whose labels differ: the two groups of the Kruskal-Wallis ranking.

*Similar* and *dissimilar* are the words of FetaFix (arXiv 2312.15101). Where labels give no two groups, inputs are
told apart by how far the outputs are. Child side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from . import kruskal
from .row_runner import Model

Array = np.ndarray[Any, Any]


def answers(
    source: str,
    target: str,
    arrays: Mapping[str, Array],
    given: Mapping[str, Array],
    order: Sequence[str],
    *,
    batches: Sequence[int],
) -> tuple[Array, Array]:
    """Whether the labels of each input agree, bool (inputs,), and how far its outputs are apart, float64 (inputs,).

    ``arrays`` and ``given`` are the inputs of the two views, ``order`` the Source's outputs in the Target's order. A
    label is the place of the largest value of an output; an output of one value has none. Outputs that are missing, of
    another size or not finite differ, and are infinitely far apart.
    """
    theirs, ours = Model(source, arrays, batches[0]), Model(target, given, batches[1])
    outputs = ours.steps.outputs[: len(order)]
    agree, apart = np.full(theirs.count, len(outputs) == len(order)), np.zeros(theirs.count)
    pairs = zip(theirs.each(order), ours.each(outputs), strict=True)
    for row, (expected, found) in enumerate(pairs):
        for a, b in zip([expected[name] for name in order], [found[name] for name in outputs], strict=False):
            if a.size != b.size or not np.isfinite(b).all():
                agree[row], apart[row] = False, np.inf
                continue
            x, y = a.reshape(-1).astype(np.float64), b.reshape(-1).astype(np.float64)
            agree[row] &= bool(x.argmax() == y.argmax())
            apart[row] = max(apart[row], float(np.abs(x - y).max(initial=0.0)))
    return agree, apart


def chosen(agree: Array, apart: Array, seed: int) -> dict[str, Any]:
    """The inputs to run, and the samplings of them.

    ``rows`` are places among the inputs, ``similar`` says of each of those which kind it is, ``draws`` are places among
    those; ``counts`` are the inputs of both kinds, ``split`` says that they are halves by how far the outputs are
    apart, since fewer than ``kruskal.FEWEST`` labels agree, or differ. Raises ValueError for fewer than two inputs.
    """
    if len(agree) < 2:
        raise ValueError(f"{len(agree)} input is too few to compare groups of them")
    split = min(int(agree.sum()), int((~agree).sum())) < kruskal.FEWEST
    similar = lesser_half(apart) if split else agree
    draws = kruskal.samplings(similar, seed)
    rows = np.unique(np.concatenate(draws))
    return {
        "rows": rows,
        "similar": similar[rows],
        "draws": [np.searchsorted(rows, draw) for draw in draws],
        "counts": (int(similar.sum()), int((~similar).sum())),
        "split": split,
    }


def lesser_half(apart: Array) -> Array:
    """The half of the inputs whose outputs are less apart; never none and never all, for two or more."""
    similar = np.zeros(len(apart), bool)
    similar[np.argsort(apart, kind="stable")[: len(apart) // 2]] = True
    return similar
