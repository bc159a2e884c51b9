"""Inputs that are copies of others say nothing new: each is counted once, and stands in one set only."""

from __future__ import annotations

import hashlib

from ..inputs.base import Inputs
from .source_outputs import batches


def distinct_rows(inputs: Inputs) -> tuple[int, ...]:
    """The rows of the inputs that differ from every row before them, in rising order. Reads all inputs once."""
    seen: set[bytes] = set()
    rows = []
    for batch in batches(range(inputs.count)):
        arrays = inputs.read(batch)
        for index, row in enumerate(batch):
            digest = hashlib.blake2b(digest_size=16)
            for name in sorted(arrays):
                digest.update(arrays[name][index].tobytes())
            if digest.digest() not in seen:
                seen.add(digest.digest())
                rows.append(row)
    return tuple(rows)
