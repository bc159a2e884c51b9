"""The search over routes, with converters that run in this process and agree with the Source, differ or crash.

The models are functions of one array; what a hop writes is a file that names one of them. The search, the attempts and
the comparison are the real ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safeconvert.converters.hop import Hop

from safeconvert.checking.evaluation_set import Sample
from safeconvert.comparison.tolerance import Tolerance
from safeconvert.conversion import attempts, routes
from safeconvert.conversion.node_repair import NodeRepair
from safeconvert.conversion.route_search import RouteSearch
from safeconvert.conversion.stage import ConversionOptions, ConvertedModel, Rewritten
from safeconvert.conversion.time_budget import RepairTime
from safeconvert.errors import BadInput, CallRaised, Unchanged, WorkerDied, WorkerFailed
from safeconvert.formats import Format, format_named
from safeconvert.records import Signature, TensorSpec
from safeconvert.workers.environments import Recipe
from safeconvert.workers.remote import Remote

SIGNATURE = Signature((TensorSpec("x", (None, 3), "float32"),), (TensorSpec("y", (None, 3), "float32"),))
ROWS = np.random.default_rng(0).normal(size=(6, 3)).astype("float32")
MODELS: dict[str, Callable[[Any], Any]] = {"right": lambda x: 2 * x, "wrong": lambda x: 3 * x, "worse": lambda x: -x}


@dataclass
class ModelInThisProcess:
    """What the search sees of a model: its signature and its outputs."""

    format: Format
    kind: str
    path: Path = Path("model")
    worker_name: str = "source"
    framework: str = "numpy"
    runtime: None = None
    signature: Signature = SIGNATURE
    varying: frozenset[int] = frozenset()

    output_names = ("y",)

    def worker(self) -> None:
        if self.kind == "broken":
            raise CallRaised("ValueError", "no such operator", "")

    def run(self, arrays: Mapping[str, Any]) -> list[Any]:
        return [MODELS[self.kind](arrays["x"])]


@dataclass
class HopsInThisProcess:
    """Runs hops. ``does`` says what the hop of that name, or of "name/form", gives: a model, or an error to raise."""

    does: Mapping[str, str | WorkerFailed]
    settings: ConversionOptions
    calls: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.source: Any = ModelInThisProcess(format_named("torch"), "right")
        self.shapes = {"x": [None, 3]}
        self.input_permutations: dict[str, tuple[int, ...]] = {}
        self.repair_time = RepairTime(self.settings.repair_time)
        self.timeout = 10.0
        self.workers: Any = SimpleNamespace()

    def has_permuted_inputs(self, stage: Any) -> bool:
        return False

    def rewritten(self, stage: Any, form: str, hop: Hop, nodes: Sequence[str] | None = None) -> Rewritten | None:
        changes = ({"rewrite": "r", "node": "n", "operator": "Op", "fault_type": "LH"},)
        return Rewritten(Path(form), changes) if f"{hop.name}/{form}" in self.does else None

    def run(self, hop: Hop, stage: Any, path: Path, form: str, *, last: bool, shapes: Any = None) -> Path:
        key = f"{hop.name}/{form}" if form else hop.name
        self.calls.append(key)
        outcome = self.does.get(key) or Unchanged("the same")
        if isinstance(outcome, WorkerFailed):
            raise outcome
        return Path(outcome)

    def load(self, hop: Hop, written: Path, *, last: bool) -> Any:
        return ModelInThisProcess(format_named(hop.target), str(written))


def hop(source: str, target: str, name: str, **more: Any) -> Hop:
    convert: Any = Remote("converters.none", name)
    return Hop(
        source=source, target=target, name=name, converter=name, why="to test", convert=convert, framework="other",
        distribution="none", requires=("numpy",), **more,
    )  # fmt: skip


THREE = tuple(hop("torch", "keras", name) for name in ("first", "second", "third"))


@pytest.fixture(autouse=True)
def one_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    """The Target has no second runtime here, and the Source, which runs in no worker, makes no noise."""

    def no_noise(*arguments: Any) -> Any:
        raise WorkerFailed("the Source runs in no worker")

    monkeypatch.setattr(attempts, "in_second_runtime", lambda source, side: None)
    monkeypatch.setattr(attempts, "measured_noise", no_noise)


@pytest.fixture
def search(monkeypatch: pytest.MonkeyPatch) -> Callable[..., RouteSearch]:
    """A search over these hops, which do what is said by name."""

    def search_of(hops: Sequence[Hop], does: Mapping[str, str | WorkerFailed], **options: Any) -> RouteSearch:
        monkeypatch.setattr(routes, "HOPS", tuple(hops))
        settings = ConversionOptions(Tolerance(), 10.0, "keep", "none", None, None, **options)
        runner: Any = HopsInThisProcess(does, settings)
        sample = Sample({"x": ROWS}, [MODELS["right"](ROWS)])
        return RouteSearch(runner, lambda: sample, after=lambda hop: None, say=lambda text: None)

    return search_of


def attempts_of(search: RouteSearch) -> list[tuple[str, str, bool]]:
    return [(a.converter + (f"/{a.form}" if a.form else ""), a.status, a.used) for a in search.attempts]


def kind_of(model: ConvertedModel | None) -> str:
    assert model is not None
    side: Any = model.model
    return str(side.kind)


DIRECT = (("torch", "keras"),)


def test_an_environment_is_installed_once_where_a_route_needs_it_and_that_was_asked_for(
    search: Callable[..., RouteSearch], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without --auto-env nothing is installed; a second route does not try again what failed."""
    installed: list[str] = []

    def failing(recipe: Recipe) -> str:
        installed.append(recipe.name)
        raise BadInput("no network")

    monkeypatch.setattr(attempts, "install", failing)
    needing = hop("torch", "keras", "needing", environment=Recipe("tool", (), "for this test"))
    hops = (replace(needing, requires=()), THREE[1])
    plain = search(hops, {"second": "right"})
    assert kind_of(plain.find(DIRECT)) == "right"
    assert plain.attempts[0].status == "refused"
    assert installed == []
    asking = search(hops, {"second": "right"}, auto_env=True)
    assert kind_of(asking.find((*DIRECT, *DIRECT))) == "right"
    assert (asking.attempts[0].status, asking.attempts[0].message) == ("refused", "no network")
    assert installed == ["tool"]


def test_the_first_hop_that_agrees_ends_the_search(search: Callable[..., RouteSearch]) -> None:
    searched = search(THREE, {"first": "right", "second": "right"})
    assert kind_of(searched.find(DIRECT)) == "right"
    assert attempts_of(searched) == [("first", "ok", True)]


def test_hops_that_crash_and_differ_are_followed_by_one_that_agrees(search: Callable[..., RouteSearch]) -> None:
    searched = search(THREE, {"first": CallRaised("ValueError", "no", ""), "second": "wrong", "third": "right"})
    target = searched.find(DIRECT)
    assert kind_of(target) == "right"
    assert attempts_of(searched) == [("first", "crashed", False), ("second", "diverged", False), ("third", "ok", True)]
    assert "ValueError: no" in searched.attempts[0].message
    assert target is not None
    assert target.attempts == (2,)
    assert kind_of(searched.diverged_at_source(target)) == "wrong"


def test_a_timeout_and_a_file_that_does_not_run_are_recorded_as_such(search: Callable[..., RouteSearch]) -> None:
    slow = WorkerDied("no answer within 10 s", status="timeout")
    searched = search(THREE, {"first": slow, "second": "broken", "third": "right"})
    assert kind_of(searched.find(DIRECT)) == "right"
    assert [status for _, status, _ in attempts_of(searched)] == ["timeout", "crashed", "ok"]
    assert "the file that it wrote does not run: ValueError" in searched.attempts[1].message


def test_where_none_agrees_the_one_that_differs_least_is_the_target(search: Callable[..., RouteSearch]) -> None:
    searched = search(THREE, {"first": "worse", "second": "wrong", "third": CallRaised("ValueError", "no", "")})
    target = searched.find(DIRECT)
    assert kind_of(target) == "wrong"
    assert attempts_of(searched)[1] == ("second", "diverged", True)
    assert target is not None
    assert searched.diverged_at_source(target) is not None


def test_where_all_crash_there_is_no_target(search: Callable[..., RouteSearch]) -> None:
    crash = CallRaised("ValueError", "no", "")
    searched = search(THREE, {"first": crash, "second": crash, "third": crash})
    assert searched.find(DIRECT) is None
    assert {status for _, status, _ in attempts_of(searched)} == {"crashed"}
    assert not any(used for _, _, used in attempts_of(searched))


def test_a_hop_that_differs_is_fed_its_forms_mildest_first(search: Callable[..., RouteSearch]) -> None:
    forms = hop("torch", "keras", "first", takes=("form",), forms=("mild", "strong", "last"))
    searched = search([forms, THREE[1]], {"first": "wrong", "first/strong": "right", "second": "right"})
    assert kind_of(searched.find(DIRECT)) == "right"
    assert attempts_of(searched) == [("first", "diverged", False), ("first/strong", "ok", True)]
    runner: Any = searched.hop_runner
    assert runner.calls == ["first", "first/mild", "first/strong"]  # the mild form is the model as it is


def test_a_hop_that_crashes_is_fed_its_forms_too(search: Callable[..., RouteSearch]) -> None:
    forms = hop("torch", "keras", "first", takes=("form",), forms=("strong",))
    searched = search([forms], {"first": CallRaised("ValueError", "no", ""), "first/strong": "right"})
    assert kind_of(searched.find(DIRECT)) == "right"
    assert attempts_of(searched) == [("first", "crashed", False), ("first/strong", "ok", True)]


@pytest.mark.parametrize("options", [{"repair": False}, {"repair_time": 0.0}])
def test_without_repair_no_form_is_tried_and_the_reason_is_kept(
    search: Callable[..., RouteSearch], options: dict[str, Any]
) -> None:
    forms = hop("torch", "keras", "first", takes=("form",), forms=("strong",))
    searched = search([forms], {"first": "wrong", "first/strong": "right"}, **options)
    assert kind_of(searched.find(DIRECT)) == "wrong"
    assert attempts_of(searched) == [("first", "diverged", True)]
    assert len(searched.reasons_repair_ended) == 1


def test_another_chain_of_formats_follows_and_a_hop_is_not_run_again(search: Callable[..., RouteSearch]) -> None:
    hops = [
        hop("torch", "onnx", "exporter"),
        hop("onnx", "keras", "reader", script=None),
        hop("onnx", "tf", "other"),
        hop("tf", "keras", "last"),
    ]
    crash = CallRaised("ValueError", "no", "")
    searched = search(hops, {"exporter": "right", "reader": crash, "other": "right", "last": "right"})
    target = searched.find([("torch", "onnx", "keras"), ("torch", "onnx", "tf", "keras")])
    assert kind_of(target) == "right"
    assert attempts_of(searched) == [
        ("exporter", "ok", True),
        ("reader", "crashed", False),
        ("other", "ok", True),
        ("last", "ok", True),
    ]


def test_no_hop_of_a_route_is_run_whose_last_step_nothing_can_do(search: Callable[..., RouteSearch]) -> None:
    absent = replace(hop("onnx", "keras", "reader"), requires=("no_such_module_here",))
    searched = search([hop("torch", "onnx", "exporter"), absent], {"exporter": "right"})
    assert searched.find([("torch", "onnx", "keras")]) is None
    assert attempts_of(searched) == [("reader", "refused", False)]
    runner: Any = searched.hop_runner
    assert runner.calls == []


def test_a_float32_converter_is_refused_for_a_quantised_target_only_as_the_last(
    search: Callable[..., RouteSearch],
) -> None:
    searched = search(THREE, {})
    quantised = replace(searched.settings, quantize="int8")
    searched.attempt_runner.settings = quantised
    takes = replace(THREE[0], takes=("quantize", "calibration"))
    assert searched.attempt_runner.lacking(THREE[0], last=True) == "is used for float32 only"
    assert searched.attempt_runner.lacking(THREE[0], last=False) is None
    assert searched.attempt_runner.lacking(takes, last=True) is None


# -- repair at single nodes: which nodes are needed


def finding(nodes: Sequence[str]) -> Any:
    from safeconvert.conversion.findings import HopFinding, NodeDifference

    differences = tuple(NodeDifference(name, "Op", 5.0 - i, 1.0, (1,), (1,)) for i, name in enumerate(nodes))
    stage: Any = SimpleNamespace()
    reads = hop("onnx", "keras", "reader", forms=("mild", "strong"))
    return HopFinding(reads, stage, (), {}, stage, differences, differences, 1)


def repairer(needed: set[str], forms: Sequence[str], allowance: float = 10.0) -> NodeRepair:
    """A hop that agrees where all needed nodes are fed in one of these forms."""
    settings = ConversionOptions(Tolerance(), 10.0, "keep", "none", None, None, repair_time=allowance)
    runner: Any = HopsInThisProcess({}, settings)
    runner.rewritten = lambda stage, form, hop, nodes: Rewritten(
        Path(form), tuple({"node": n, "rewrite": "r"} for n in nodes)
    )

    def attempt(stage: Any, hop: Hop, rewritten: Rewritten, form: str, last: bool) -> Any:
        nodes = {change["node"] for change in rewritten.changes}
        return SimpleNamespace(agrees=needed <= nodes and form in forms, mapping=("x",), nodes=nodes)

    return NodeRepair(runner, attempt, lambda model: bool(getattr(model, "agrees", False)))


def test_only_the_nodes_that_need_it_are_rewritten() -> None:
    repaired = repairer({"a", "c"}, ["strong"]).repair(finding(["a", "b", "c"]), last=True)
    assert [fault.node for fault in repaired.faults] == ["a", "c"]
    assert repaired.form == "strong"
    assert [change["node"] for change in repaired.changes] == ["a", "c"]
    assert set(repaired.alone) == {"a", "c"}
    assert repaired.after is not None


def test_a_single_fault_has_no_measurement_of_its_own() -> None:
    repaired = repairer({"a"}, ["mild", "strong"]).repair(finding(["a", "b"]), last=True)
    assert ([fault.node for fault in repaired.faults], repaired.form, repaired.alone) == (["a"], "mild", {})


def test_where_no_form_helps_all_forms_were_tried_and_nothing_is_called_repaired() -> None:
    left = repairer({"elsewhere"}, ["strong"]).repair(finding(["a"]), last=True)
    assert left.after is None
    assert left.is_exhausted


def test_where_the_time_is_over_not_every_form_was_tried() -> None:
    left = repairer({"a"}, ["strong"], allowance=0.0).repair(finding(["a"]), last=True)
    assert left.after is None
    assert not left.is_exhausted
