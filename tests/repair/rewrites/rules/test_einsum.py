"""Einsum of one to three factors."""

from __future__ import annotations

from typing import Any

import pytest
from safeconvert.repair.rewrites.rules import einsum

from tests.support.rewrite_cases import (
    BATCH,
    Array,
    Case,
    W,
    assert_rewritten,
    case_id,
)


def einsum_cases() -> list[Case]:
    einsum: list[tuple[str, tuple[Array, ...], dict[str, Any]]] = [
        ("nchw,cd->ndhw", (W(4, 6),), {}),
        ("nchw->nwch", (), {}),
        ("nchw->nc", (), {}),
        ("nchw,cwd->nchd", (W(4, 10, 3),), {}),
        ("ncw,cwd->ncd", (W(7, 10, 3),), {"shape": (7, 10)}),
        ("nchw,chw->nc", (W(4, 7, 10),), {}),
        ("nchw,cdhe->nwde", (W(4, 5, 7, 2),), {}),
        ("nchw,c->nchw", (W(4),), {}),
        ("n...w,wk", (W(10, 3),), {}),
        ("...w,vw->...v", (W(3, 10),), {}),
        ("nc,d->ncd", (W(5),), {"shape": (4,)}),
        ("nchw,cd,hde->nwe", (W(4, 6), W(7, 6, 2)), {}),
        ("a,nab->nb", (W(7),), {"shape": (7, 10), "place": 1}),
        ("nchw,nkhw->nck", (W(BATCH, 3, 7, 10),), {"static": True}),
    ]
    return [
        *(Case(f"einsum-{e}", "Einsum", {"equation": e}, c, **{"opset": 13, **m}) for e, c, m in einsum),
    ]


CASES = einsum_cases()


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_a_rewritten_operator_computes_the_same(case: Case) -> None:
    assert_rewritten(case, einsum.REWRITES)
