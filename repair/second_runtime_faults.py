"""Name the operators of a TFLite Target that LiteRT and TensorFlow's own interpreter compute differently."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checking.second_runtime import WORDS
from ..comparison.tolerance import Tolerance
from ..models.input_mapping import InputMapping, apply_mapping
from ..models.loaded_model import LoadedModel
from ..workers.runtime_functions import LARGEST_DIFFERENCES, SPLIT_OPERATORS
from .localization.finding import NamedFault
from .native_format.names import origins

if TYPE_CHECKING:
    from ..runtimes.litert.single_operators import SingleOperator

Array = np.ndarray[Any, Any]


def differing_operators(
    source: LoadedModel,
    target: LoadedModel,
    mapping: Sequence[InputMapping],
    arrays: Mapping[str, Array],
    tolerance: Tolerance,
) -> list[NamedFault]:
    """Find the operators of a TFLite Target that LiteRT and TensorFlow compute differently, each run by itself.

    ``target`` is loaded in the second runtime; ``arrays`` holds one input as the Source takes it. Both runtimes get
    the same inputs for each operator. The faults are in execution order; operators with windows are LH, others CG.
    Raises :class:`WorkerFailed`.
    """
    workers, first = target.workers, LoadedModel(target.workers, "target to repair", target.file)
    target_inputs = apply_mapping(mapping, arrays)
    folder = workers.scratch("operators")
    folder.mkdir()
    operators = SPLIT_OPERATORS(first.worker(), None, path=first.location, arrays=target_inputs, folder=str(folder))
    differences = LARGEST_DIFFERENCES(
        target.worker(), None, operators=operators, atol=tolerance.atol, rtol=tolerance.rtol
    )
    wrong = [(operator, by) for operator, by in zip(operators, differences, strict=True) if by is not None]
    source_names = origins(workers, source, arrays, first, target_inputs) if wrong else {}
    return [_named_fault(operator, by, source_names.get(operator.tensor, "")) for operator, by in wrong]


def _named_fault(operator: SingleOperator, difference: float, source_name: str) -> NamedFault:
    local_difference = difference if np.isfinite(difference) else None
    evidence = {
        "operator": operator.operator,
        "tflite_operator": operator.operator,
        "difference": WORDS,
        "local_difference": local_difference,
    }
    return NamedFault("LH" if operator.has_window else "CG", source_name, operator.tensor, evidence, local_difference)
