"""ID, input dimensions: a Target whose input does not take what the Source takes.

Where other sizes are all that it needs, they are declared in its own file (``runtimes/*/input_shapes.py``). Otherwise
its ONNX view is given the Source's sizes in each possible way (``repair/graph/input_shapes.py``); its outputs then
show which way is right.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from ...checking.evaluation_set import Sample
from ...comparison.comparison import Comparison
from ...conversion.stage import ConvertedModel
from ...errors import BadInput, WorkerFailed
from ...formats import ONNX, ModelFile
from ...inputs.base import ProbeInputs
from ...models.input_mapping import Mismatch, apply_mapping, map_inputs, to_other_layout
from ...models.loaded_model import LoadedModel
from ...records import Diagnosis, TensorSpec
from ..acceptance import Candidate
from ..context import Findings, Proposal, RepairContext, RepairState
from ..graph.input_change import InputChange
from ..native_format.names import renamings
from ..remote_functions import WRITE_INPUT_SHAPES
from .input_changes import Shape, fits, input_changes

NAME = "give the inputs the Source's dimensions"
UNCHANGED_AXES = (0, 1, 2, 3)
PROBES_OF_VIEW = 4  # probes on which the view of a Target must agree with it
MAX_CHANGES_TRIED = 12


def applies(context: RepairContext, state: RepairState) -> bool:
    """The Target does not take the Source's inputs."""
    return state.stage is None


def propose(context: RepairContext, state: RepairState) -> Proposal:
    """Propose the Target with the Source's sizes at its inputs, in its own format."""
    return _InputShapes(context, state.comparison).propose()


class _InputShapes:
    """A Target beside a Source whose inputs it does not take."""

    def __init__(self, context: RepairContext, before: Comparison) -> None:
        self.context, self.source, self.target = context, context.source, context.target
        self.shapes = context.shapes
        self.gate = context.gate(None, before)

    def propose(self) -> Proposal:
        if self.context.options.no_repair:
            return Proposal(findings=Findings(self._diagnoses("")))
        pairs = self._inputs_that_do_not_fit()
        if not pairs:
            return Proposal(findings=Findings(reasons=("the Target takes another number of inputs",)))
        return self._in_own_file(pairs) or self._in_view(pairs)

    def _inputs_that_do_not_fit(self) -> list[tuple[TensorSpec, TensorSpec]]:
        """Each with the Source's input first."""
        source, target = self.source.signature.inputs, self.target.signature.inputs
        if len(source) != len(target):
            return []
        by_name = {spec.name: spec for spec in source}
        has_same_names = set(by_name) == {spec.name for spec in target}
        pairs = [
            (by_name[target_spec.name] if has_same_names else source_spec, target_spec)
            for source_spec, target_spec in zip(source, target, strict=True)
        ]
        return [
            (source_spec, target_spec)
            for source_spec, target_spec in pairs
            if target_spec.shape is not None and not self._takes(tuple(self.shapes[source_spec.name]), target_spec)
        ]

    def _takes(self, shape: Shape, spec: TensorSpec) -> bool:
        layouts = (
            [shape]
            if len(shape) != 4
            else [tuple(shape[a] for a in p) for p in (UNCHANGED_AXES, *to_other_layout(shape))]
        )
        return any(fits(sizes[1:], (spec.shape or ())[1:]) and len(sizes) == len(spec.shape or ()) for sizes in layouts)

    def _diagnoses(self, words: str) -> tuple[Diagnosis, ...]:
        """An ID fault for each input that does not fit."""
        return tuple(
            Diagnosis(
                type="ID",
                hop=self.context.hop,
                source_node=source_spec.name,
                target_node=target_spec.name,
                evidence={
                    "source_shape": list(self.shapes[source_spec.name]),
                    "target_shape": None if target_spec.shape is None else list(target_spec.shape),
                },
                repair=words or "no repair was found",
                percent_before=100.0,  # it does not run on these inputs
            )
            for source_spec, target_spec in self._inputs_that_do_not_fit()
        )

    def _refused(self, reason: str) -> Proposal:
        return Proposal(findings=Findings(self._diagnoses(""), reasons=(reason,)))

    def _in_own_file(self, pairs: Sequence[tuple[TensorSpec, TensorSpec]]) -> Proposal | None:
        """The Target's own file with other sizes declared, where no axes need permuting and it runs on them."""
        format, workers = self.target.format, self.context.workers
        changes_by_input = [
            list(input_changes(tuple(self.shapes[a.name]), self.source.format, b, format)) for a, b in pairs
        ]
        change_file = format.runtime.change_input_shapes
        if change_file is None or any(
            change.axes or change.is_squeezed for options in changes_by_input for change in options
        ):
            return None
        for chosen in itertools.islice(itertools.product(*changes_by_input), MAX_CHANGES_TRIED):
            shapes = {spec.name: list(change.declared) for (_, spec), change in zip(pairs, chosen, strict=True)}
            target = workers.scratch("model" + format.suffix)
            worker, path = self.target.worker(), self.target.location
            try:
                flavour = change_file(worker, None, path=path, target=str(target), shapes=shapes)
            except WorkerFailed:
                continue
            words = "; ".join(change.words for change in chosen)
            model = LoadedModel(workers, "repaired target", ModelFile(target, format, flavour))
            decision = self.gate.consider(Candidate(model, words=words))
            if decision.is_accepted:  # whatever else is wrong with it
                return Proposal(decision.stage, findings=Findings(self._diagnoses(words)))
        return None

    def _in_view(self, pairs: Sequence[tuple[TensorSpec, TensorSpec]]) -> Proposal:
        """The Target's view with the Source's sizes, converted back to the Target's format."""
        try:
            path, specs = self._view()
        except (BadInput, WorkerFailed) as error:
            return self._refused(f"{self.target.path.name} does not run on inputs of its own: {error}")
        if path is None:
            return self._refused(f"no converter gives an ONNX view that agrees with {self.target.path.name}")
        self.context.observer.say("looking for the input's right dimensions")
        chosen_by_model: dict[Path, dict[str, InputChange]] = {}
        best = self.gate.closest(self._candidates(path, pairs, specs, chosen_by_model))
        if best is None:
            return self._refused("the Target cannot run on inputs of the Source's dimensions")
        model, words = best.candidate.model, best.candidate.words
        stage = self._back(model)
        if stage is None:
            findings = Findings(
                self._diagnoses(words),
                reasons=(f"no converter gives the repaired model back as {self.target.format}",),
            )
            return Proposal(findings=findings)
        names = self._earlier_layer_names(stage, specs, chosen_by_model[model.path])
        return Proposal(stage, findings=Findings(self._diagnoses(words), layer_names=names))

    def _earlier_layer_names(
        self, stage: ConvertedModel, specs: dict[str, TensorSpec], chosen: dict[str, InputChange]
    ) -> Mapping[str, str]:
        """The names that the layers had in the Target as it was given, by those of the Target converted anew."""
        if self.target.format.is_view or any(change.axes is None for change in chosen.values()):
            return {}
        target_names = {spec.name: name for name, spec in specs.items()}
        permutations = {target_names[name]: change.axes for name, change in chosen.items()}
        evaluation_set = self.context.evaluation_set
        arrays = apply_mapping(stage.mapping, evaluation_set.inputs.read(tuple(evaluation_set.rows[0][:1])))
        pairs = zip(self.target.signature.inputs, stage.model.signature.inputs, strict=True)
        given_arrays = {
            spec.name: np.transpose(arrays[new.name], permutations.get(spec.name) or range(arrays[new.name].ndim))
            for spec, new in pairs
        }
        try:
            return renamings(self.context.workers, self.target, given_arrays, stage.model, arrays)
        except WorkerFailed:
            return {}

    def _view(self) -> tuple[Path | None, dict[str, TensorSpec]]:
        """A view that agrees with the Target on probes of its own sizes; the view's inputs by the Target's names."""
        inputs = self.target.signature.inputs
        if self.target.format.is_view:
            return Path(self.target.location), {spec.name: spec for spec in inputs}
        probes = ProbeInputs.make(inputs, self.context.options.seed, PROBES_OF_VIEW).read(range(PROBES_OF_VIEW))
        view = self.context.view_of(self.target, {spec.name: spec.shape or () for spec in inputs}, probes)
        return (None, {}) if view is None else (view.path, {each.source: each.target for each in view.mapping})

    def _combinations(
        self, pairs: Sequence[tuple[TensorSpec, TensorSpec]], specs: dict[str, TensorSpec]
    ) -> Iterator[tuple[dict[str, InputChange], bool]]:
        """Yield changes for all inputs at once, by the view's names, and whether pads follow (SAME padding)."""
        changes_by_input = []
        for source_spec, target_spec in pairs:
            view_spec = specs[target_spec.name]
            custom = ONNX if view_spec.shape != target_spec.shape else self.target.format
            options = input_changes(tuple(self.shapes[source_spec.name]), self.source.format, view_spec, custom)
            changes_by_input.append([(view_spec.name, change) for change in options])
        for chosen in itertools.islice(itertools.product(*changes_by_input), MAX_CHANGES_TRIED):
            plain = all(change.axes is None and not change.is_squeezed for _, change in chosen)
            for same in (False, True) if plain else (False,):
                yield dict(chosen), same

    def _candidates(
        self,
        path: Path,
        pairs: Sequence[tuple[TensorSpec, TensorSpec]],
        specs: dict[str, TensorSpec],
        chosen_by_model: dict[Path, dict[str, InputChange]],
    ) -> Iterator[Candidate]:
        """The Target's view with the Source's sizes at its inputs, in each way; notes which change gave which model."""
        for inputs, same in self._combinations(pairs, specs):
            candidate = self._candidate(path, inputs, same=same)
            if candidate is not None:
                chosen_by_model[candidate.model.path] = inputs
                yield candidate

    def _candidate(self, path: Path, inputs: dict[str, InputChange], *, same: bool) -> Candidate | None:
        workers = self.context.workers
        written = workers.scratch("model.onnx")
        worker = workers.worker("onnx_tflite", "onnx_tflite")
        try:
            undone = WRITE_INPUT_SHAPES(worker, None, path=str(path), target=str(written), inputs=inputs, same=same)
        except WorkerFailed:
            return None
        model = LoadedModel(workers, "onnx_tflite", ONNX.written_at(written))
        words = "; ".join(change.words for change in inputs.values())
        return Candidate(model, words=words, preference=0 if undone else 1)

    def _back(self, view: LoadedModel) -> ConvertedModel | None:
        """The view in the Target's format, whatever else is wrong with it: the sample has the view's own outputs."""
        sample = self.context.evaluation_set.sample()
        mapping = map_inputs(self.source.signature, self.shapes, view.signature)
        assert not isinstance(mapping, Mismatch)
        outputs = view.run(apply_mapping(mapping, sample.arrays))
        return self.context.convert_back(view, Sample(sample.arrays, outputs))
