"""Make quantised files of one float Target, and measure each: the place where plans become steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..checking.evaluation_set import QUANTISING, EvaluationSet
from ..checking.target_outputs import target_outputs
from ..comparison.compare import compare
from ..comparison.comparison import Comparison, all_rows_differ
from ..conversion.stage import ConvertedModel
from ..errors import WorkerFailed
from ..formats import TFLITE
from ..models.input_mapping import apply_mapping
from ..models.loaded_model import LoadedModel, shorten
from ..runtimes.litert.quantization_plan import LayerError, QuantizationPlan
from ..workers.pool import Worker, WorkerPool
from .engine import ACTIVATION_VALUES, LATENCIES, LAYER_ERRORS, QUANTIZE_FILE
from .margin_error import output_error
from .step import Step

Array = np.ndarray[Any, Any]
MAX_ROWS_SEARCHED = 400  # calibration inputs on which a step is compared
MAX_ROWS_LAYERED = 16  # calibration inputs over which the errors of layers are measured
LATENCY_ROUNDS = 15


class QuantizationBench:
    """Quantises the float Target ``stage``, which agreed with the Source, and measures what comes out."""

    def __init__(
        self, workers: WorkerPool, evaluation_set: EvaluationSet, stage: ConvertedModel, timeout: float
    ) -> None:
        self.workers, self.evaluation_set, self.stage, self.timeout = workers, evaluation_set, stage, timeout
        self.float_size = stage.model.path.stat().st_size
        self._steps: dict[QuantizationPlan, Step] = {}
        self._layers: dict[QuantizationPlan, tuple[LayerError, ...]] = {}

    def step(self, plan: QuantizationPlan) -> Step:
        """Quantise by the plan, once, and measure the file on calibration inputs. Raises :class:`WorkerFailed`."""
        if plan not in self._steps:
            self._steps[plan] = self._measured(plan)
        return self._steps[plan]

    def with_heldout(self, step: Step) -> Step:
        """Return the step with its comparison over the held-out inputs."""
        comparison, _ = self._compared(step.stage, self.evaluation_set.rows[1], f"confirming {step.plan.words}")
        return replace(step, heldout=comparison)

    def final(self, step: Step) -> ConvertedModel:
        """Return the step's file as a Target, to be loaded in a process that never held another model of this run."""
        self.workers.restart("target")
        model = LoadedModel(self.workers, "target", TFLITE.written_at(step.path))
        model.worker()  # loads the file
        return replace(step.stage, model=model)

    def layers(self, step: Step) -> tuple[LayerError, ...]:
        """Return the errors of the step's layers against the float Target, measured once for each plan.

        Raises :class:`WorkerFailed`.
        """
        if step.plan not in self._layers:
            arrays = {name: array[:MAX_ROWS_LAYERED] for name, array in self._arrays.items()}
            errors = LAYER_ERRORS(
                self.worker, self.timeout, path=self.stage.model.location, other=str(step.path), arrays=arrays
            )
            self._layers[step.plan] = tuple(errors)
        return self._layers[step.plan]

    @property
    def worker(self) -> Worker:
        """The process that quantises, where neither Source nor Target is loaded."""
        return self.workers.worker("quantizer", TFLITE.worker)

    def _measured(self, plan: QuantizationPlan) -> Step:
        path = self.workers.scratch("quantised.tflite")
        self.evaluation_set.observer.say(f"quantising: {plan.words}")
        few = {name: array[:1] for name, array in self._arrays.items()}
        size = QUANTIZE_FILE(
            self.worker, self.timeout, path=self.stage.model.location, target=str(path), plan=plan,
            store=self._ranges if plan.is_static else "", arrays=few,
        )  # fmt: skip
        model = LoadedModel(self.workers, "quantised", TFLITE.written_at(path))
        stage = replace(self.stage, model=model, comparison=None)
        rows = self.evaluation_set.rows[0][:MAX_ROWS_SEARCHED]
        comparison, error = self._compared(stage, rows, f"measuring {plan.words}")
        before, after = LATENCIES(
            self.worker,
            self.timeout,
            path=self.stage.model.location,
            other=str(path),
            arrays=few,
            rounds=LATENCY_ROUNDS,
        )
        seconds = float(np.median(before)), float(np.median(after))
        return Step(plan, Path(path), stage, size, size / self.float_size, comparison, error, seconds)

    def _compared(self, stage: ConvertedModel, rows: Sequence[int], step: str) -> tuple[Comparison, float | None]:
        """Compare the file with the Source over these rows; return the comparison and the mean output error."""
        evaluation_set, total, error, done = self.evaluation_set, Comparison(), 0.0, 0
        names, target_inputs = evaluation_set.source.output_names, evaluation_set.target_inputs
        for batch, arrays, expected in evaluation_set.source_outputs.each(rows):
            inputs = arrays if target_inputs is None else target_inputs.read(batch)
            try:
                stage.model.worker()  # loads the file
                actual = target_outputs(evaluation_set.source, stage.model, stage.mapping, inputs, expected)
            except WorkerFailed as failure:
                return all_rows_differ(len(rows), f"the Target does not run: {shorten(str(failure))}"), None
            rules = evaluation_set.behaviour.rules_for(stage.model)
            total += compare(batch, expected, actual, names, rules, evaluation_set.options.comparing)
            error += output_error(expected, actual, rules)
            done += len(batch)
            evaluation_set.observer.progress(step, done, len(rows))
        return total, error / done if done else None

    @cached_property
    def _arrays(self) -> Mapping[str, Array]:
        """Calibration inputs by the float Target's input names."""
        evaluation_set = self.evaluation_set
        inputs = evaluation_set.target_inputs or evaluation_set.inputs
        return apply_mapping(self.stage.mapping, inputs.read(evaluation_set.rows[0][:QUANTISING]))

    @cached_property
    def _ranges(self) -> str:
        """The file with the activations' values over the calibration inputs, measured once."""
        store = str(self.workers.scratch("activations.npz"))
        self.evaluation_set.observer.say("measuring the ranges of activations")
        ACTIVATION_VALUES(
            self.worker, self.timeout, path=self.stage.model.location, arrays=dict(self._arrays), store=store
        )
        return store
