"""Compare what a converted node computes with what the runtime computes for the same inputs of that node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..checking.tvm_check import RuntimeComparison
from ..comparison.tolerance import Tolerance
from ..converters.hop import Hop
from ..records import Refusal
from ..repair.localization.pieces import PieceOutput
from .findings import NodeDifference

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Activations:
    """The tensors of an ONNX graph for one input: ``shapes`` of all of them by name, in order, and their ``values``.

    ``engine`` computed them. Where the runtimes differ at a node, ``onnxruntime_values`` has what onnxruntime gives for
    the same inputs of that node; ``comparison`` is of the two runtimes (None: only onnxruntime was asked).
    """

    shapes: Mapping[str, list[int]]
    values: Mapping[str, Array]
    engine: str = "onnxruntime"
    onnxruntime_values: Mapping[str, Array] = field(default_factory=dict)
    comparison: RuntimeComparison | None = None


def judge_node(
    output: PieceOutput, activations: Activations, result: Array, hop: Hop, tolerance: Tolerance
) -> tuple[NodeDifference, Refusal | None]:
    """Compare a piece's output with the engine's, and where that differs, with onnxruntime's for the same inputs.

    What agrees with either is right: that the runtimes differ is no fault of the converter, and is refused.
    """
    tensor = output.tensor
    expected = activations.values[tensor]
    result = with_channels_of(expected, result) if hop.has_channels_last_outputs else result
    difference = compare_node(output, expected, result, tolerance)
    onnxruntime_value = activations.onnxruntime_values.get(tensor)
    if difference.score <= 1 or onnxruntime_value is None:
        return difference, None
    as_onnxruntime = compare_node(output, onnxruntime_value, result, tolerance)
    if not as_onnxruntime.score <= 1:
        return difference, None
    comparison = activations.comparison
    runtimes = [d for d in comparison.differences if d.tensor == tensor] if comparison is not None else []
    node = hop.layer_name(difference.node, difference.index)
    return as_onnxruntime, runtimes[0].refusal(node) if runtimes else None


def with_channels_of(expected: Array, result: Array) -> Array:
    """Return a channels-last result channels first, where that gives it the expected shape."""
    if result.shape == expected.shape or result.ndim <= 2:
        return result
    channels_first = np.moveaxis(result, -1, 1)
    return channels_first if channels_first.shape == expected.shape else result


def compare_node(output: PieceOutput, expected: Array, result: Array, tolerance: Tolerance) -> NodeDifference:
    """Compare what a converted node gives with what it ought to give, in units of the tolerance.

    ``output`` names the node, its operator and its index in the graph. Another shape, a NaN or an infinity where there
    is none is an infinite difference.
    """
    difference = NodeDifference(
        output.node,
        output.operator,
        np.inf,
        None,
        expected.shape,
        result.shape,
        index=output.index,
        attached=output.attached,
    )
    if expected.shape != result.shape:
        return difference
    allowed = tolerance.atol + tolerance.rtol * float(np.abs(expected[np.isfinite(expected)]).max(initial=0.0))
    with np.errstate(invalid="ignore", over="ignore"):
        distances = np.abs(expected.astype(np.float64) - result)
    largest = float(np.where(expected == result, 0.0, distances).max(initial=0.0))  # the same infinity is no difference
    if not np.isfinite(largest):
        return difference
    score = largest / allowed if allowed else (np.inf if largest else 0.0)
    return replace(difference, score=score, max_abs=largest)


def unconverted(output: PieceOutput, shape: Sequence[int], words: str) -> NodeDifference:
    """The difference of a node that the converter does not convert; ``words`` are what it says."""
    return NodeDifference(output.node, output.operator, np.inf, None, tuple(shape), None, words, index=output.index)
