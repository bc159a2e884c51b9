"""Copies of inputs are counted once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from safeconvert.checking.distinct_inputs import distinct_rows
from safeconvert.inputs.base import Inputs


@dataclass(frozen=True, eq=False)
class Rows(Inputs):
    """Inputs held in memory."""

    kind = "tensors"
    arrays: dict[str, np.ndarray[Any, Any]]

    def _read(self, rows: Sequence[int]) -> dict[str, np.ndarray[Any, Any]]:
        return {name: array[list(rows)] for name, array in self.arrays.items()}


def test_copies_are_left_out_also_across_batches() -> None:
    values = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    array = np.concatenate([values, values[[0, 7]], values[:1] + 1])
    assert distinct_rows(Rows(23, (), {"x": array})) == (*range(20), 22)


def test_inputs_that_differ_in_one_tensor_are_distinct() -> None:
    same = np.ones((3, 2), np.float32)
    assert distinct_rows(Rows(3, (), {"x": same})) == (0,)
    assert distinct_rows(Rows(3, (), {"x": same, "mask": np.array([[0], [1], [0]])})) == (0, 1)
