"""The search for a quantisation within a budget, over steps whose costs are known."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from safeconvert.comparison.comparison import Comparison, OutputComparison
from safeconvert.conversion.stage import ConvertedModel
from safeconvert.conversion.time_budget import RepairTime
from safeconvert.errors import WorkerFailed
from safeconvert.options import Options
from safeconvert.quantization import bench as bench_module
from safeconvert.quantization.bench import QuantizationBench
from safeconvert.quantization.budget import Budget
from safeconvert.quantization.search import QuantizationSearch
from safeconvert.quantization.step import Step
from safeconvert.runtimes.litert.quantization_plan import LayerError, QuantizationPlan

LAYERS = tuple(
    LayerError(name, "CONV_2D", 0.0, added) for name, added in zip("abcd", (0.1, 0.4, 0.2, 0.3), strict=True)
)
OUTPUT = OutputComparison("y", (1, 2), (1, 2), 0.0, 0.0, 0, True)


@dataclass
class KnownCosts:
    """Steps whose share of differing labels falls with better ranges and with each operator in float32."""

    differing: dict[str, int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def step(self, plan: QuantizationPlan) -> Step:
        self.asked.append(plan.words)
        differing = self.differing.get(plan.kind if plan.kind == "dynamic" else plan.ranges, 8)
        differing = max(0, differing - 3 * len(plan.floats) - len(plan.int16) - len(plan.float_activations))
        size = 1_000_000 + 200_000 * len(plan.floats) + 1000 * len(plan.int16)
        compared = Comparison(100, differing, labelled=True, outputs=(OUTPUT,), predictions_differ=differing)
        stage = cast(ConvertedModel, None)
        return Step(plan, Path("x"), stage, size, 0.25, compared, differing / 100, (1.0, 0.5 + len(plan.int16)))

    def layers(self, step: Step) -> tuple[LayerError, ...]:
        return LAYERS


def searched(bench: KnownCosts, budget: Budget, *, has_mending: bool = True, seconds: float = 60) -> Step:
    search = QuantizationSearch(cast(QuantizationBench, bench), budget, RepairTime(seconds))
    return search.run(QuantizationPlan("int8"), has_mending=has_mending)


def test_a_plain_file_within_the_budget_is_not_mended() -> None:
    bench = KnownCosts({"minmax": 2})
    assert searched(bench, Budget(5, None, None)).plan == QuantizationPlan("int8")
    assert bench.asked == ["int8"]


def test_a_discrepancy_of_0_is_a_limit_only_where_the_person_set_it() -> None:
    unset, zero = Budget.of(Options()), Budget.of(Options(max_discrepancy=0))
    assert not unset.is_set
    assert zero.is_set
    assert unset.allowed_discrepancy == zero.allowed_discrepancy == 0


def test_better_ranges_come_before_finer_arithmetic() -> None:
    bench = KnownCosts({"minmax": 8, "mse": 1})
    assert searched(bench, Budget(2, None, None)).plan.ranges == "mse"
    assert not any("float32" in words or "int16" in words for words in bench.asked)


def test_the_worst_layers_get_finer_arithmetic_where_ranges_do_not_help() -> None:
    bench = KnownCosts()
    step = searched(bench, Budget(5, None, None))
    assert step.plan.floats
    assert set(step.plan.floats) <= {"b", "d"} or set(step.plan.floats) <= {"c", "d"}
    assert step.calibration.labels_differ <= 2


DEPTHWISE = (LayerError("depth", "DEPTHWISE_CONV_2D", 0.0, 0.0), *LAYERS)


class DepthwiseNet(KnownCosts):
    """Costs as known, of a network with one depthwise convolution."""

    def layers(self, step: Step) -> tuple[LayerError, ...]:
        return DEPTHWISE


@pytest.mark.parametrize("kind", ["int8", "dynamic"])
def test_depthwise_convolutions_compute_in_floats_where_activations_are_rounded_at_run_time(kind: str) -> None:
    bench = DepthwiseNet({"dynamic": 3})
    search = QuantizationSearch(cast(QuantizationBench, bench), Budget(4, None, None), RepairTime(60))
    step = search.run(QuantizationPlan(kind), has_mending=True)
    assert step.plan == QuantizationPlan("dynamic", float_activations=("depth",))


def test_the_first_layer_follows_the_depthwise_ones() -> None:
    bench = DepthwiseNet({"dynamic": 4})
    step = searched(bench, Budget(4, None, None))
    assert step.plan == QuantizationPlan("dynamic", float_activations=("a", "depth"))


def test_the_first_layers_are_tried_beside_the_worst() -> None:
    bench = DepthwiseNet({"dynamic": 50})
    search = QuantizationSearch(cast(QuantizationBench, bench), Budget(0, None, None), RepairTime(60))
    search.run(QuantizationPlan("int8"), has_mending=True)
    tried = [step.plan.float_activations for step in search.steps if step.plan.kind == "dynamic"]
    assert tried == [("depth",), ("a", "depth"), ("b", "depth"), ("a", "b", "depth"), ("b", "d", "depth")]


def test_a_file_with_integer_inputs_keeps_its_activations_in_integers() -> None:
    bench = DepthwiseNet({"dynamic": 0})
    search = QuantizationSearch(cast(QuantizationBench, bench), Budget(4, None, None), RepairTime(60))
    assert search.run(QuantizationPlan("int8", io_type="int8"), has_mending=True).plan.kind == "int8"


class FailingLayers(KnownCosts):
    """Costs as known, but the errors of layers cannot be measured."""

    def layers(self, step: Step) -> tuple[LayerError, ...]:
        raise WorkerFailed("the interpreter has no such tensor")


def test_a_failure_to_measure_layers_is_kept_and_the_search_goes_on() -> None:
    search = QuantizationSearch(
        cast(QuantizationBench, FailingLayers({"mse": 6})), Budget(5, None, None), RepairTime(60)
    )
    step = search.run(QuantizationPlan("int8"), has_mending=True)
    assert step.plan.ranges == "mse"
    assert search.layers(step) == ()
    assert len(set(search.failures)) == len(search.failures)
    assert all("no such tensor" in failure for failure in search.failures)
    assert search.failures


def test_the_errors_of_layers_are_measured_once_for_a_plan(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    measured: list[str] = []

    def layer_errors(worker: Any, timeout: float, *, other: str, **_: Any) -> list[LayerError]:
        measured.append(other)
        return list(LAYERS)

    monkeypatch.setattr(bench_module, "LAYER_ERRORS", layer_errors)
    model = SimpleNamespace(path=tmp_path, location="float.tflite")
    workers = SimpleNamespace(worker=lambda *_: None)
    bench = QuantizationBench(cast(Any, workers), cast(Any, None), cast(Any, SimpleNamespace(model=model)), 1.0)
    monkeypatch.setattr(QuantizationBench, "_arrays", {})
    step = KnownCosts().step(QuantizationPlan("int8"))
    assert bench.layers(step) == bench.layers(step) == LAYERS
    assert measured == ["x"]


@pytest.mark.parametrize(
    ("budget", "is_kept"),
    [(Budget(5, 1.1, None), False), (Budget(5, None, 0.6), True), (Budget(5, 1.5, 0.6), True)],
)
def test_size_and_latency_limit_what_is_chosen(budget: Budget, is_kept: bool) -> None:
    step = searched(KnownCosts(), budget)
    assert bool(step.plan.floats) == is_kept
    assert not step.excess(budget)


@pytest.mark.parametrize("off", [{"has_mending": False}, {"seconds": 1e-9}])
def test_without_mending_or_time_the_plain_file_is_all(off: dict[str, Any]) -> None:
    bench = KnownCosts()
    assert searched(bench, Budget(5, None, None), **off).plan == QuantizationPlan("int8")
    assert bench.asked == ["int8"]


def test_a_budget_says_what_breaks_it() -> None:
    budget = Budget(1, 1.0, 0.5)
    assert budget.excess(900_000, 0.4) == ()
    size, latency = budget.excess(1_100_000, 0.6)
    assert "--max-size" in size
    assert "--max-latency-ratio" in latency
    assert budget.excess(900_000, None)
    assert not Budget(None, None, None).is_set
    assert all(budget.is_set for budget in (Budget(1, None, None), Budget(None, 1, None), Budget(None, None, 1)))
