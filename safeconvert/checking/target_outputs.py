"""What the Target answers, as the Source would put it: its outputs in the Source's order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..comparison.varying_rows import in_source_order
from ..models.input_mapping import InputMapping, apply_mapping, match_outputs
from ..models.loaded_model import LoadedModel

Array = np.ndarray[Any, Any]


def target_outputs(
    source: LoadedModel,
    target: LoadedModel,
    mapping: Sequence[InputMapping],
    arrays: Mapping[str, Array],
    expected: Sequence[Array],
) -> list[Array]:
    """Run the Target on the Source's ``arrays`` and return its outputs in the order of ``expected``, the Source's.

    Rows of boxes, of which there are as many as an input has objects, come in the Source's order too.
    Raises :class:`WorkerFailed`.
    """
    outputs = match_outputs(source.output_names, target.output_names, target.run(apply_mapping(mapping, arrays)))
    if not source.varying:
        return outputs
    return in_source_order(expected, outputs, source.varying, source.output_names)
