"""The Kruskal-Wallis test of every element of an array at once: do two groups of rows come from one distribution?

FetaFix (arXiv 2312.15101) puts the differences of two models' activations to this test, element by element, on inputs
whose labels agree (*similar*) and inputs whose labels differ (*dissimilar*). Two things are added here. The groups are
drawn several times, equally many rows of each, so that no choice of inputs decides; and since millions of elements are
tested, the false discovery rate is held at ``LEVEL`` over all of them: without that, one element in twenty is
"significant" in pure noise. Child side; needs numpy, scipy and joblib.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from scipy import stats

Array = np.ndarray[Any, Any]
LEVEL = 0.05  # false discovery rate
SAMPLINGS = 3  # an odd number: their median is one of them
EACH = 16  # rows of each group in one sampling, at most
FEWEST = 3  # rows of each group below which no outcome of the test is significant: H of 2 and 2 is at most 2.4
BLOCK = 1 << 12  # elements tested at once in each thread: small enough for its cache, some 10 MB in all


def statistic(values: Array, similar: Array) -> Array:
    """H of each column, float64 (elements,), corrected for ties; 0 where all values of a column are equal.

    ``values``: (inputs, elements), without NaN; ``similar``: bool (inputs,), with rows of both kinds. H is
    ``(n - 1) * sum(n_i * (mean rank of group i - mean rank)^2) / sum((rank - mean rank)^2)``, which with mean ranks for
    ties is the corrected statistic of Kruskal and Wallis (1952, section 1.2), and that of ``scipy.stats.kruskal``.
    """
    count, first = len(values), int(similar.sum())
    if not 0 < first < count:
        raise ValueError(f"needs rows of both groups; {first} of {count} are similar")
    ranks = stats.rankdata(values, axis=0) - (count + 1) / 2
    spread = np.einsum("ij,ij->j", ranks, ranks)
    inside = ranks[similar].sum(axis=0)  # the other group's sum is the same with the sign changed
    between = inside**2 * (1 / first + 1 / (count - first))
    return np.asarray((count - 1) * np.divide(between, spread, out=np.zeros_like(spread), where=spread > 0))


def samplings(similar: Array, seed: int, *, each: int = EACH, count: int = SAMPLINGS) -> list[Array]:
    """Rows drawn without replacement, equally many of both groups and at most ``each``: sorted row numbers.

    One sampling where there is only one way to draw. Raises ValueError where a group is empty.
    """
    groups = np.flatnonzero(similar), np.flatnonzero(~np.asarray(similar))
    size = min(each, *(len(group) for group in groups))
    if not size:
        raise ValueError("needs rows of both groups")
    random = np.random.default_rng(seed)
    ways = count if any(len(group) > size for group in groups) else 1
    return [
        np.sort(np.concatenate([random.choice(group, size, replace=False) for group in groups])) for _ in range(ways)
    ]


def probabilities(
    values: Array, similar: Array, draws: Sequence[Array], *, jobs: int = -1, block: int = BLOCK
) -> tuple[Array, Array]:
    """p and H of each column over all samplings, both float64 (elements,); p is NaN where all values are equal.

    H is the median of the samplings' and p twice the chi-squared tail of it, at most 1: twice the median of p-values is
    a p-value however they depend on one another (Meinshausen, Meier, Bühlmann 2009, JASA 104, theorem 3.1 with
    gamma = 1/2). With one sampling p is its own. Blocks of columns run in threads: numpy sorts without the lock.
    """
    starts = range(0, values.shape[1], block)
    parts = Parallel(n_jobs=jobs, backend="threading")(
        delayed(_block)(values[:, start : start + block], similar, draws) for start in starts
    )
    if not parts:
        return np.zeros(0), np.zeros(0)
    return np.concatenate([p for p, _ in parts]), np.concatenate([h for _, h in parts])


def _block(values: Array, similar: Array, draws: Sequence[Array]) -> tuple[Array, Array]:
    p, h = np.full(values.shape[1], np.nan), np.zeros(values.shape[1])
    varies = (values != values[:1]).any(axis=0)
    if not varies.any():
        return p, h
    if not varies.all():
        values = values[:, varies]
    medians = np.median([statistic(values[rows], similar[rows]) for rows in draws], axis=0)
    h[varies] = medians
    # Ranks of so few inputs give few values of H, and the tail of the distribution costs as much as the ranks do.
    values_of_h, places = np.unique(medians, return_inverse=True)
    p[varies] = np.minimum(1.0, stats.chi2.sf(values_of_h, 1) * (2 if len(draws) > 1 else 1))[places]
    return p, h


def significant(p: Array, *, level: float = LEVEL) -> Array:
    """Which elements are significant, bool, with the false discovery rate held at ``level`` (Benjamini and Hochberg
    1995; 2001 for elements that go up and down together, as a layer's do).

    Elements of NaN were not tested and count as no test: that all their values are equal has nothing to do with the
    groups, and to leave such out is independent filtering (Bourgon, Gentleman, Huber 2010).
    """
    is_significant = np.zeros(p.shape, bool)
    there = ~np.isnan(p)
    if there.any():
        is_significant[there] = stats.false_discovery_control(p[there]) <= level
    return is_significant
