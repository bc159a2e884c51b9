"""One quantised file that was tried, and what was measured of it. Values; nothing runs here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..comparison.accuracy import accuracy
from ..comparison.comparison import Comparison
from ..conversion.stage import ConvertedModel
from ..records import Attempt
from ..runtimes.litert.quantization_plan import IntegerTensor, LayerError, OperatorUse, QuantizationPlan
from .budget import BYTES_PER_MB, Budget

MAX_LAYERS_REPORTED = 20


@dataclass(frozen=True)
class Step:
    """A file made by ``plan``. ``size`` is in bytes, ``share_of_float`` of the float file's size.

    ``output_error`` is the mean margin-weighted error over the calibration inputs (see ``margin_error``), None where
    nothing could be compared. ``seconds`` are the median latencies of the float file and of this one, taken by turns.
    ``heldout`` is measured for the rows of the table alone, and never read by the search.
    """

    plan: QuantizationPlan
    path: Path
    stage: ConvertedModel
    size: int
    share_of_float: float
    calibration: Comparison
    output_error: float | None
    seconds: tuple[float, float]
    heldout: Comparison | None = None

    @property
    def latency_ratio(self) -> float | None:
        return self.seconds[1] / self.seconds[0] if self.seconds[0] else None

    def excess(self, budget: Budget) -> tuple[str, ...]:
        return budget.excess(self.size, self.latency_ratio)

    def to_json(self, true_labels: Mapping[int, int], *, is_shipped: bool) -> dict[str, Any]:
        """Describe the step for the report. ``true_labels`` are class indices by the input's row."""
        return {
            "plan": self.plan.words,
            "kind": self.plan.kind,
            "size": self.size,
            "share_of_float": self.share_of_float,
            "calibration": _comparison(self.calibration),
            "heldout": None if self.heldout is None else _comparison(self.heldout),
            "output_error": self.output_error,
            "latency_ratio": self.latency_ratio,
            "shipped": is_shipped,
            **({"accuracy": self._accuracy(true_labels)} if true_labels else {}),
        }

    def _accuracy(self, true_labels: Mapping[int, int]) -> dict[str, Any]:
        parts = {"calibration": self.calibration, "heldout": self.heldout}
        measured = {name: part and accuracy(part, true_labels) for name, part in parts.items()}
        return {name: part and part.to_json() for name, part in measured.items()}


def _comparison(comparison: Comparison) -> dict[str, Any]:
    return {
        "count": comparison.count,
        "labels_differ": comparison.labels_differ,
        "percent": comparison.percent,
        "upper_bound_95": comparison.upper_bound_95,
    }


@dataclass(frozen=True)
class Quantization:
    """What quantising came to. ``chosen`` is the step that was judged; ``table`` has one row for each kind, with the
    command that would ship it (None: none would), where no budget was set. ``float_size`` is in bytes.
    """

    version: str
    float_size: int
    float_verdict: str
    steps: tuple[Step, ...]
    chosen: Step
    is_shipped: bool
    operators: tuple[OperatorUse, ...]
    layers: tuple[LayerError, ...]
    inputs: tuple[IntegerTensor, ...]
    outputs: tuple[IntegerTensor, ...]
    attempts: tuple[Attempt, ...]
    table: tuple[tuple[Step, str | None], ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self, true_labels: Mapping[int, int]) -> dict[str, Any]:
        """Describe it for the report. ``true_labels`` are class indices by the input's row."""
        multiplied = sum(use.multiplications for use in self.operators)
        integers = sum(use.multiplications for use in self.operators if use.arithmetic == "integer")
        return {
            "engine": f"litert-quantizer {self.version}".strip(),
            "float": {"size": self.float_size, "verdict": self.float_verdict},
            "size_mb": self.chosen.size / BYTES_PER_MB,
            "latency": {
                "float_ms": 1e3 * self.chosen.seconds[0],
                "quantised_ms": 1e3 * self.chosen.seconds[1],
                "ratio": self.chosen.latency_ratio,
            },
            "frontier": [
                step.to_json(true_labels, is_shipped=self.is_shipped and step is self.chosen) for step in self.steps
            ],
            "table": [
                {**step.to_json(true_labels, is_shipped=False), "command": command} for step, command in self.table
            ],
            "operators": {
                "integer": _names(self.operators, "integer"),
                "float": _names(self.operators, "float"),
                "conversion": _names(self.operators, "conversion"),
                "integer_multiplications_percent": 100.0 * integers / multiplied if multiplied else None,
            },
            "layers": [
                {"name": e.name, "operator": e.operator, "noise_to_signal": e.noise_to_signal, "added": e.added}
                for e in sorted(self.layers, key=lambda e: -e.added)[:MAX_LAYERS_REPORTED]
            ],
            "inputs": [_tensor(tensor) for tensor in self.inputs],
            "outputs": [_tensor(tensor) for tensor in self.outputs],
        }


def _names(operators: Sequence[OperatorUse], arithmetic: str) -> list[dict[str, str]]:
    return [{"name": use.name, "operator": use.operator} for use in operators if use.arithmetic == arithmetic]


def _tensor(tensor: IntegerTensor) -> dict[str, Any]:
    return {"name": tensor.name, "dtype": tensor.dtype, "scale": tensor.scale, "zero_point": tensor.zero_point}
