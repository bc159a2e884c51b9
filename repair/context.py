"""What the strategies of repair share: the two models beside one another, the state of the repair, and proposals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checking.evaluation_set import EvaluationSet, Sample
from ..checking.tvm_check import RuntimeComparison
from ..checking.verdict import Judgement, judge
from ..comparison.comparison import Comparison
from ..conversion.onnx_view import Pair, View, convert_verified, view
from ..conversion.stage import ConversionOptions, ConvertedModel
from ..conversion.time_budget import RepairTime
from ..formats import Format
from ..models.input_mapping import Mismatch, apply_mapping, map_inputs, sizes
from ..models.loaded_model import LoadedModel
from ..options import Observer, Options
from ..records import Attempt, Diagnosis, Localisation, Refusal, Verdict
from ..workers.pool import WorkerPool
from .acceptance import MAX_ROWS_COMPARED, Gate

if TYPE_CHECKING:
    from .located_target import LocatedTarget

Array = np.ndarray[Any, Any]
Shapes = Mapping[str, Sequence[int | None]]
Clock = Callable[[str], AbstractContextManager[None]]


@dataclass(frozen=True)
class RepairContext:
    """One Target beside its Source, and what a strategy needs to change it.

    ``evaluation_set`` gives both models the same inputs; ``deployed`` prepares the Target's images as the deployment
    does. ``shapes`` are those of the Source's inputs. ``attempts`` is the report's route: every
    conversion is added to it. ``clock`` measures the seconds of a step by its name.
    """

    workers: WorkerPool
    evaluation_set: EvaluationSet
    deployed: EvaluationSet
    target: LoadedModel
    shapes: Shapes
    budget: RepairTime
    clock: Clock
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def source(self) -> LoadedModel:
        return self.evaluation_set.source

    @property
    def options(self) -> Options:
        return self.evaluation_set.options

    @property
    def observer(self) -> Observer:
        return self.evaluation_set.observer

    @property
    def is_unquantized(self) -> bool:
        """Are both models free of quantisation?"""
        return not (self.source.signature.quantized or self.target.signature.quantized)

    @property
    def hop(self) -> str:
        """The conversion that the Target stands for, as reports name it."""
        return f"{self.source.format}->{self.target.format}"

    @property
    def conversion_options(self) -> ConversionOptions:
        """The options of conversions that repair makes: nothing is quantised, and layouts stay."""
        options = self.options
        return ConversionOptions(
            options.tolerance, options.timeout, "keep", "none", None, options.signature, True, options.repair_time
        )

    def gate(self, target: ConvertedModel | None, before: Comparison, max_rows: int = MAX_ROWS_COMPARED) -> Gate:
        """Return the gate for changes of ``target``; None: the Target does not take the Source's inputs."""
        return Gate(
            self.evaluation_set, self.shapes, target, before, is_unquantized=self.is_unquantized, max_rows=max_rows
        )

    def judge(self, stage: ConvertedModel, evaluation_set: EvaluationSet) -> Judgement:
        """Return the verdict on a model over both sets of inputs."""
        with self.clock("check"):
            return judge(evaluation_set, stage.model, stage.mapping)

    def view_of(self, model: LoadedModel, shapes: Shapes, arrays: Mapping[str, Array]) -> View | None:
        """Return the ONNX view of a model that agrees with the model on ``arrays``, its own inputs by name."""
        return self.view(model, shapes, Sample(arrays, model.run(arrays)))

    def view(self, model: LoadedModel, shapes: Shapes, sample: Sample) -> View | None:
        """Return the ONNX view of a model; None where no converter gives one that agrees with it on the sample.

        ``shapes`` and ``sample`` are by the model's own names.
        """
        self.observer.say(f"making the ONNX view of {model.path.name}")
        by_name = {name: list(shape) for name, shape in shapes.items()}
        result = view(self.workers, model, by_name, sample, self.conversion_options, self.observer.say)
        if result is not None:
            self.attempts.extend(result.attempts)
        return result

    def convert(self, model: LoadedModel, to: Format, shapes: Shapes, sample: Sample) -> ConvertedModel | None:
        """Convert a model to the format ``to``; None where no result agrees with the sample's outputs."""
        by_name = {name: list(shape) for name, shape in shapes.items()}
        stage, attempts = convert_verified(
            self.workers, model, to.name, by_name, sample, self.conversion_options, self.observer.say
        )
        self.attempts.extend(attempts)
        return stage

    def convert_back(self, repaired_view: LoadedModel, sample: Sample | None = None) -> ConvertedModel | None:
        """Convert a repaired view to the Target's format; None where no converter gives a model that agrees with it.

        ``sample`` holds inputs in the Source's names and layout and the view's outputs for them (None: the Source's).
        """
        mapping = map_inputs(self.source.signature, self.shapes, repaired_view.signature)
        assert not isinstance(mapping, Mismatch)
        if self.target.format.is_view:
            return ConvertedModel(repaired_view, mapping)
        sample = sample or self.evaluation_set.sample()
        view_sample = Sample(apply_mapping(mapping, sample.arrays), sample.outputs)
        self.observer.say(f"converting the repaired model back to {self.target.format}")
        stage = self.convert(repaired_view, self.target.format, sizes(mapping, self.shapes), view_sample)
        if stage is None:
            return None
        target_mapping = map_inputs(self.source.signature, self.shapes, stage.model.signature)
        return None if isinstance(target_mapping, Mismatch) else ConvertedModel(stage.model, target_mapping)


@dataclass(frozen=True)
class Findings:
    """What strategies found out about a Target, in words and values of the report.

    ``layer_names`` give the layers of a Target that was converted anew the names that they had before. ``pair`` and
    ``located`` are what faults were looked for on, ``opinions`` what a second engine says of the views.
    ``has_unrelated_weights``: the Target is another model. ``has_runtime_differences``: some of what differs is how two
    runtimes compute the same, which is no fault of the Target's.
    """

    diagnoses: tuple[Diagnosis, ...] = ()
    localisation: Localisation | None = None
    refused: tuple[Refusal, ...] = ()
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    layer_names: Mapping[str, str] = field(default_factory=dict)
    has_unrelated_weights: bool = False
    has_runtime_differences: bool = False
    pair: Pair | None = None
    located: LocatedTarget | None = None
    opinions: tuple[RuntimeComparison, ...] = ()

    def __add__(self, later: Findings) -> Findings:
        return Findings(
            self.diagnoses + later.diagnoses,
            self.localisation or later.localisation,
            self.refused + later.refused,
            self.reasons + later.reasons,
            self.notes + later.notes,
            {**self.layer_names, **later.layer_names},
            self.has_unrelated_weights or later.has_unrelated_weights,
            self.has_runtime_differences or later.has_runtime_differences,
            self.pair or later.pair,
            self.located or later.located,
            self.opinions + later.opinions,
        )


@dataclass(frozen=True)
class Proposal:
    """What a strategy proposes: a changed Target, what was found out about it, or both.

    ``stage`` is the changed Target (None: nothing better than the one at hand). ``evaluation_set`` is another one to
    judge it by (None: the one in force). ``judgement`` is its verdict (None: still to be reached). ``replacement`` says
    how the Target was replaced as a whole, which repairs every fault; empty where it was not.
    """

    stage: ConvertedModel | None = None
    evaluation_set: EvaluationSet | None = None
    judgement: Judgement | None = None
    findings: Findings = field(default_factory=Findings)
    replacement: str = ""


@dataclass(frozen=True)
class RepairState:
    """The Target as far as it is repaired.

    ``stage`` is None while it does not take the Source's inputs. ``judgement`` holds for ``evaluation_set``, and
    ``first`` is that of the Target as it was given, as deployed. ``changed_by`` names the strategies whose changes were
    taken. ``in_second_runtime`` is the Target as it was in its second runtime, where that is what differed.
    """

    stage: ConvertedModel | None
    judgement: Judgement
    first: Judgement
    evaluation_set: EvaluationSet
    findings: Findings = field(default_factory=Findings)
    changed_by: tuple[str, ...] = ()
    in_second_runtime: ConvertedModel | None = None

    @property
    def is_good(self) -> bool:
        return self.judgement.verdict in (Verdict.VERIFIED, Verdict.REPAIRED)

    @property
    def compared_stage(self) -> ConvertedModel | None:
        """The Target in the runtime in which it was compared."""
        if self.stage is None or self.judgement.in_second_runtime is None:
            return self.stage
        return ConvertedModel(self.judgement.in_second_runtime, self.stage.mapping)

    @property
    def comparison(self) -> Comparison:
        """How the Target compares over the calibration inputs; of nothing where nothing was compared."""
        return Comparison() if self.judgement.compared is None else self.judgement.compared[0]

    def model_differs(self, *strategies: str) -> bool:
        """Does the model run on the Source's inputs and differ, and did none of these strategies change it?"""
        differs = self.judgement.verdict is Verdict.DIVERGED and self.judgement.compared is not None
        return self.stage is not None and differs and not set(strategies) & set(self.changed_by)

    def noting_second_runtime(self) -> RepairState:
        """Keep the Target in its second runtime, where that differs for the first time."""
        model = self.judgement.in_second_runtime
        if model is None or self.stage is None or self.in_second_runtime is not None:
            return self
        return replace(self, in_second_runtime=ConvertedModel(model, self.stage.mapping))

    def with_findings(self, proposal: Proposal) -> RepairState:
        """Add what a proposal found out; a Target that was replaced has all faults repaired."""
        findings = self.findings + proposal.findings
        if proposal.replacement:
            repaired = [
                replace(diagnosis, is_repaired=True, repair=proposal.replacement) for diagnosis in findings.diagnoses
            ]
            findings = replace(findings, diagnoses=tuple(repaired))
        return replace(self, findings=findings)


@dataclass(frozen=True)
class Strategy:
    """One way to repair a Target. ``applies`` is asked first; what ``propose`` returns goes through the gate."""

    name: str
    applies: Callable[[RepairContext, RepairState], bool]
    propose: Callable[[RepairContext, RepairState], Proposal | None]


def in_own_worker(stage: ConvertedModel) -> ConvertedModel:
    """Return the model in a worker that no conversion uses: the one called ``target`` is stopped for other ones."""
    if stage.model.worker_name != "target":
        return stage
    model = LoadedModel(stage.model.workers, "repaired target", stage.model.file, stage.model.options)
    model.worker()
    return replace(stage, model=model)
