"""Which axis of an input is the batch, and what the arrays of rows look like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from safeconvert.inputs.batch_axes import as_rows, batch_axes, row_specs
from safeconvert.records import TensorSpec


def specs(**shapes: tuple[int | None, ...] | None) -> list[TensorSpec]:
    return [TensorSpec(name, shape, "float32") for name, shape in shapes.items()]


@pytest.mark.parametrize(
    ("inputs", "chosen", "stored", "axes"),
    [
        (specs(x=(None, 3)), {}, {}, [0]),
        (specs(x=(1, 3), y=(1, 4)), {}, {}, [0, 0]),
        (specs(x=(16, 3)), {}, {}, [0]),
        (specs(x=(1, 16, 40), cache=(24, 1, 32)), {}, {}, [None, None]),
        (specs(x=(None, 3), table=(5, 4)), {}, {}, [0, None]),
        (specs(x=(None, 3), y=(1, 4)), {}, {}, [0, 0]),
        (specs(x=(None, 3), factor=()), {}, {}, [0, None]),
        (specs(x=None), {}, {}, [0]),
        (specs(x=(1, 3, 8, 8)), {}, {"x": (40, 3, 8, 8)}, [0]),
        (specs(x=(3, 8, 8)), {}, {"x": (40, 3, 8, 8)}, [None]),
        (specs(x=(None, 3), y=(None, 4)), {"y": 1}, {}, [0, 1]),
        (specs(x=(4, 3)), {"": None}, {}, [None]),
    ],
)
def test_the_batch_axis_of_each_input(
    inputs: Sequence[TensorSpec],
    chosen: Mapping[str, int | None],
    stored: Mapping[str, Sequence[int]],
    axes: Sequence[int | None],
) -> None:
    assert list(batch_axes(inputs, chosen, stored).values()) == axes


def test_rows_come_first_and_each_is_a_whole_input_where_there_is_no_batch_axis() -> None:
    row_inputs = row_specs(specs(x=(None, 3), cache=(24, 1, 32), late=(6, None, 4)), {"x": 0, "cache": None, "late": 1})
    assert [spec.shape for spec in row_inputs] == [(None, 3), (None, 24, 1, 32), (None, 6, 1, 4)]
    late = np.arange(6 * 5 * 4).reshape(6, 5, 4)
    rows = as_rows(late, row_inputs[2], 1)
    assert rows.shape == (5, 6, 1, 4)
    assert np.array_equal(rows[3, :, 0], late[:, 3])
    assert as_rows(np.zeros((24, 1, 32)), row_inputs[1], None).shape == (1, 24, 1, 32)
    assert as_rows(np.zeros((7, 24, 1, 32)), row_inputs[1], None).shape == (7, 24, 1, 32)
