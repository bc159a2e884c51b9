"""Find the cheapest quantisation that keeps within a budget.

First better ranges, then activations that are rounded while the model runs, then finer arithmetic for a few layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ..conversion.time_budget import RepairTime
from ..errors import WorkerFailed
from ..runtimes.litert.quantization_plan import RANGES, LayerError, QuantizationPlan
from .bench import QuantizationBench
from .budget import Budget
from .step import Step

SAFE_SHARE = 0.5  # of the discrepancy allowed: what calibration shows is lower than what other inputs will
DEPTHWISE = "DEPTHWISE_CONV_2D"
MAX_DYNAMIC_COUNTS = 3  # 1, 2 and 4 further layers with float activations
MAX_SHARE_OF_LAYERS = 0.5  # that may have finer arithmetic; beyond it another kind is the better choice


class QuantizationSearch:
    """Tries plans of one kind, cheapest first. ``steps`` has each that was measured, in order."""

    def __init__(self, bench: QuantizationBench, budget: Budget, time: RepairTime) -> None:
        self.bench, self.budget, self.time = bench, budget, time
        self.steps: list[Step] = []
        self.failures: list[str] = []

    def run(self, first: QuantizationPlan, *, has_mending: bool) -> Step:
        """Return the step to ship; the plain file where nothing keeps within the budget and is closer.

        Raises :class:`WorkerFailed` where the plain file cannot be made.
        """
        self.steps.append(self.bench.step(first))
        if has_mending and not self._is_safe(self.steps[0]):
            with self.time.running():
                for plan in self._plans(first):
                    if not self.time.allows():
                        break
                    if self._is_safe_plan(plan):
                        break
        return self.best()

    def best(self) -> Step:
        """The smallest step that is safe, else the closest within the budget, else the closest that fits its sizes."""
        if safe := [step for step in self.steps if self._is_safe(step)]:
            return min(safe, key=lambda step: (step.size, _error(step)))
        within = [step for step in self.steps if self._is_within(step)]
        fitting = [step for step in self.steps if not step.excess(self.budget)]
        return min(within or fitting or self.steps, key=_error)

    def layers(self, step: Step) -> tuple[LayerError, ...]:
        """Return the errors of the step's layers; none, and a failure that is kept, where they cannot be measured."""
        try:
            return self.bench.layers(step)
        except WorkerFailed as error:
            failure = f"errors of the layers of {step.plan.words}: {error}"
            if failure not in self.failures:
                self.failures.append(failure)
            return ()

    def _is_safe_plan(self, plan: QuantizationPlan) -> bool:
        try:
            self.steps.append(self.bench.step(plan))
        except WorkerFailed as error:
            self.failures.append(f"{plan.words}: {error}")
            return False
        return self._is_safe(self.steps[-1])

    def _is_within(self, step: Step, share: float = 1.0) -> bool:
        allowed = share * self.budget.allowed_discrepancy
        return not step.excess(self.budget) and not step.calibration.differences(max_discrepancy=allowed)

    def _is_safe(self, step: Step) -> bool:
        share = SAFE_SHARE if self.budget.allowed_discrepancy else 1.0
        return self._is_within(step, share)

    def _plans(self, first: QuantizationPlan) -> Iterator[QuantizationPlan]:
        """Plans in the order of what they cost; later ones build on the closest so far."""
        if first.kind == "int8":
            yield from (replace(first, ranges=ranges) for ranges in RANGES[1:])
        layers = self.layers(min(self.steps, key=_error))
        if first.kind == "dynamic" or (first.kind == "int8" and first.io_type == "float32"):
            yield from self._dynamic_plans(layers)
        base = min((step for step in self.steps if step.plan.kind == first.kind), key=_error)
        for count in _counts(len(layers)):
            for order in (_worst(layers), [error.name for error in reversed(layers)]):
                if first.kind == "int8":
                    yield replace(base.plan, int16=tuple(sorted(order[:count])))
                yield replace(base.plan, floats=tuple(sorted(order[:count])))

    def _dynamic_plans(self, layers: Sequence[LayerError]) -> Iterator[QuantizationPlan]:
        """Plans that round activations while the model runs, each input at its own range, and multiply integers too.

        A depthwise convolution has one range for all channels and few multiplications: it computes in floats, with
        8-bit weights as before. So do then the first layers, whose error all others work on, and those that add most.
        """
        depthwise = tuple(sorted(error.name for error in layers if error.operator == DEPTHWISE))
        plan = QuantizationPlan("dynamic", float_activations=depthwise)
        if all(step.plan != plan for step in self.steps):
            yield plan
        step = next((step for step in self.steps if step.plan == plan), None)
        if step is None:
            return
        others = [error for error in self.layers(step) if error.operator != DEPTHWISE]
        for count in _counts(len(others))[:MAX_DYNAMIC_COUNTS]:
            for order in ([error.name for error in others], _worst(others)):
                yield replace(plan, float_activations=tuple(sorted((*depthwise, *order[:count]))))


def _counts(layers: int) -> Sequence[int]:
    """1, 2, 4 ... layers, as far as they may have finer arithmetic."""
    counts, count = [], 1
    while layers and count <= max(1, layers * MAX_SHARE_OF_LAYERS):
        counts.append(count)
        count *= 2
    return counts


def _worst(layers: Sequence[LayerError]) -> list[str]:
    """The names of the layers, those that add most error first."""
    return [error.name for error in sorted(layers, key=lambda error: error.added, reverse=True)]


def _error(step: Step) -> float:
    return float("inf") if step.output_error is None else step.output_error
