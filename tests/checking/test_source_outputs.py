"""Rows are run in batches of one size, whatever is asked for."""

from __future__ import annotations

import pytest

from safeconvert.checking.source_outputs import batches


@pytest.mark.parametrize(("count", "sizes"), [(0, []), (3, [3]), (4, [4]), (9, [4, 4, 1])])
def test_rows_are_cut_into_batches_in_order(count: int, sizes: list[int]) -> None:
    rows = [2 * number for number in range(count)]
    cut = batches(rows, 4)
    assert [len(batch) for batch in cut] == sizes
    assert [row for batch in cut for row in batch] == rows
