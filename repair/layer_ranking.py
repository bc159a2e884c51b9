"""Layers ranked by the Kruskal-Wallis test (``--ranking kruskal``), in place of the ranking by replay.

Faults are found and proven by replay whatever the ranking. The test compares the differences between Source and Target
on inputs whose labels agree with those on inputs whose labels differ (``repair/statistics/layer_ranking.py``), in
unrepaired ONNX views of both. Where there are no such views, the ranking stays that of replay, and a note says why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..checking.evaluation_set import EvaluationSet, Sample
from ..checking.source_outputs import batches
from ..conversion.findings import HopFinding
from ..conversion.onnx_view import Pair, View, ordered, view
from ..conversion.stage import ConversionOptions, ConvertedModel
from ..errors import BadInput, CallRaised, WorkerFailed
from ..models.input_mapping import InputMapping, Mismatch, apply_mapping, map_inputs, sizes
from ..models.loaded_model import LoadedModel, shorten
from ..options import Observer, Options
from ..records import Localisation
from ..workers.pool import Worker, WorkerPool
from .located_target import LocatedTarget
from .native_format.names import Blame, display_name, layer_names, native_name, traced
from .remote_functions import CHOOSE_GROUPS, LOCATE, OUTPUT_DIFFERENCES, RANK_LAYERS, UNKNOWN_OPERATORS
from .statistics.ranking_values import AlignedLayer, InputGroups, LayerScore, ViewInputs
from .strategies.view_edits import SHOWN

Array = np.ndarray[Any, Any]
MAX_INPUTS_COMPARED = 512  # calibration inputs whose labels are compared; the test draws from them
MAX_INPUTS_SENT = 64  # of them that are sent to a worker at once
Ranked = tuple[Localisation | None, tuple[str, ...]]


def check_core_layers(workers: WorkerPool, options: Options) -> None:
    """Raise :class:`BadInput` for a ``--core-layers`` that is no ONNX operator; the message names similar ones."""
    if options.core_layers is None:
        return
    worker = workers.worker("onnx_tflite", "onnx_tflite")
    try:
        unknown = UNKNOWN_OPERATORS(worker, None, names=list(options.core_layers))
    except WorkerFailed as error:
        raise BadInput(f"--ranking kruskal does not work here: {shorten(str(error))}") from error
    for operator in unknown:
        similar = " or ".join(operator.similar)
        hint = f"Did you mean {similar}?" if similar else "Name them as ONNX does: Conv, Gemm, MatMul."
        raise BadInput(f"--core-layers {operator.name}: ONNX has no such operator. {hint}")


@dataclass
class LayerRanker:
    """Ranks the layers of one run's models. ``shapes`` are those of the Source's inputs."""

    workers: WorkerPool
    evaluation_set: EvaluationSet
    shapes: Mapping[str, Sequence[int | None]]
    options: Options
    observer: Observer

    def repaired(self, pair: Pair | None, located: LocatedTarget | None, localisation: Localisation | None) -> Ranked:
        """Rank the layers of a given Target, on the pair of views in which its faults were located."""
        if localisation is None:
            return None, ()
        if pair is None or located is None:
            return localisation, (_unchanged("there are no two ONNX views to rank layers of"),)
        try:
            ranking, note = self._rank_pair(pair, located, localisation)
        except WorkerFailed as error:
            return localisation, (_unchanged(shorten(_reason(error))),)
        return ranking, (note,)

    def of_hops(
        self, findings: Sequence[HopFinding], localisation: Localisation | None, settings: ConversionOptions
    ) -> Ranked:
        """Rank the layers of what differing hops wrote, each compared with the ONNX graph that the hop read."""
        return self._joined([(finding.fed, finding.before) for finding in findings], localisation, settings)

    def of_source(
        self, diverged: ConvertedModel, localisation: Localisation | None, settings: ConversionOptions
    ) -> Ranked:
        """Rank the layers of what a differing hop made of the Source, compared with the Source."""
        source = self.evaluation_set.source
        mapping = map_inputs(source.signature, self.shapes, source.signature)
        assert not isinstance(mapping, Mismatch)
        return self._joined([(ConvertedModel(source, mapping), diverged)], localisation, settings)

    def _joined(
        self,
        stages: Sequence[tuple[ConvertedModel, ConvertedModel]],
        localisation: Localisation | None,
        settings: ConversionOptions,
    ) -> Ranked:
        if localisation is None:
            return None, ()
        notes, parts = [], []
        for fed, diverged in stages:
            try:
                pair, located = self._locate(fed, diverged, settings)
                runs = located.result.model_runs
                ranked_pair, note = self._rank_pair(pair, located, replace(localisation, model_runs=runs))
            except (WorkerFailed, _NoView) as error:
                return localisation, (_unchanged(shorten(_reason(error))),)
            parts.append(ranked_pair)
            notes.append(note)
        runs = localisation.model_runs + sum(ranked_pair.model_runs for ranked_pair in parts)
        ranking = tuple(entry for ranked_pair in parts for entry in ranked_pair.ranking)
        return Localisation("kruskal", "onnxruntime", runs, ranking), tuple(notes)

    # -- one pair

    def _locate(
        self, fed: ConvertedModel, diverged: ConvertedModel, settings: ConversionOptions
    ) -> tuple[Pair, LocatedTarget]:
        """Locate the faults of what a hop gave, with what it was fed as the Source.

        Raises :class:`_NoView` where a model has no view that agrees with it, and :class:`WorkerFailed`.
        """
        if not diverged.mapping:
            raise _NoView(f"what {fed.format}->{diverged.format} gave does not take the Source's inputs")
        sample = self.evaluation_set.sample()
        differing = () if diverged.comparison is None else diverged.comparison.differing
        source_view, source = self._view(fed, sample, settings)
        target_view, target = self._view(diverged, sample, settings)
        rows = list(dict.fromkeys([*differing, *range(sample.count)]))
        fixed = min((onnx_view.batch for onnx_view in (source_view, target_view) if onnx_view.batch), default=SHOWN)
        rows = (rows * fixed)[:fixed]
        arrays = {name: array[rows] for name, array in sample.arrays.items()}
        order = ordered(source_view, source.output_names, target.output_names)
        is_unquantized = not (source.signature.quantized or target.signature.quantized)
        pair = Pair(
            source, target, source_view, target_view, fed.mapping, diverged.mapping, tuple(order),
            {name: array[:1] for name, array in arrays.items()}, is_unquantized,
        )  # fmt: skip
        self.observer.say("aligning the layers of both models")
        source_arrays, target_arrays = (
            _view_arrays(pair.source_mapping, source_view, arrays),
            _view_arrays(pair.target_mapping, target_view, arrays),
        )
        located = LocatedTarget(
            self.workers,
            lambda worker: LOCATE(
                worker,
                None,
                source=str(source_view.path),
                target=str(target_view.path),
                arrays=source_arrays,
                target_inputs=target_arrays,
                order=order,
                is_unquantized=is_unquantized,
                seconds=settings.repair_time,
            ),
        )
        return pair, located

    def _view(self, stage: ConvertedModel, sample: Sample, settings: ConversionOptions) -> tuple[View, LoadedModel]:
        """The view of a stage's model, and the model in a child that no converter uses, unless it is the Source."""
        model = stage.model
        if model is not self.evaluation_set.source:
            model = LoadedModel(self.workers, f"ranked-{model.framework}", model.file, model.options)
            model.worker()
        shapes = sizes(stage.mapping, {name: list(shape) for name, shape in self.shapes.items()})
        model_inputs = apply_mapping(stage.mapping, sample.arrays)
        onnx_view = view(
            self.workers, model, shapes, Sample(model_inputs, model.run(model_inputs)), settings, self.observer.say
        )
        if onnx_view is None:
            raise _NoView(f"no converter gives an ONNX view that agrees with the {model.format} model")
        return onnx_view, model

    def _rank_pair(self, pair: Pair, located: LocatedTarget, localisation: Localisation) -> tuple[Localisation, str]:
        """Rank the layers of one pair; also returns the note for the report. Raises :class:`WorkerFailed`."""
        core = self.options.core_layers
        self.observer.say("ranking layers by the Kruskal-Wallis test")
        aligned = located.aligned_layers(pair.source_view.path, core)
        if not aligned.layers:
            kind = "layers with weights" if core is None else f"layers of type {' or '.join(core)}"
            unaligned = " that correspond to anything in the Source" if aligned.unaligned else ""
            return localisation, _unchanged(f"the Target has no {kind}{unaligned}")
        rows = self._rows()
        if not rows:
            return localisation, _unchanged("there are no inputs to compare")
        worker, timeout = self.workers.worker("ranking", "onnx_tflite"), self.options.timeout
        groups = self._groups(worker, pair, rows)
        views = self._view_inputs(pair, [rows[index] for index in groups.rows])
        ranked = RANK_LAYERS(
            worker, timeout, views=views, layers=aligned.layers, groups=groups, is_unquantized=pair.is_unquantized
        )
        self.workers.restart("ranking")  # it held activations
        names = self._names(pair, located, aligned.layers)
        ranking = tuple(
            (*names[score.layer], float("inf") if score.significant_share is None else score.significant_share)
            for score in ranked.scores
        )
        runs = localisation.model_runs + len(rows) + ranked.model_runs
        left_out = len(aligned.unaligned) + len(aligned.layers) - len(ranking)
        return Localisation("kruskal", "onnxruntime", runs, ranking), _note(groups, ranked.scores, left_out)

    def _groups(self, worker: Worker, pair: Pair, rows: Sequence[int]) -> InputGroups:
        """Divide the inputs by their outputs, a batch of them at a time."""
        timeout, order = self.options.timeout, list(pair.order)
        parts = [
            OUTPUT_DIFFERENCES(worker, timeout, views=self._view_inputs(pair, batch), order=order)
            for batch in batches(rows, MAX_INPUTS_SENT)
        ]
        return CHOOSE_GROUPS(
            worker,
            timeout,
            labels_agree=np.concatenate([part.labels_agree for part in parts]),
            distances=np.concatenate([part.distances for part in parts]),
            seed=self.options.seed,
        )

    def _rows(self) -> tuple[int, ...]:
        """Calibration inputs, spread evenly where there are more than may be compared."""
        rows = self.evaluation_set.rows[0]
        if len(rows) <= MAX_INPUTS_COMPARED:
            return rows
        return tuple(rows[index] for index in np.linspace(0, len(rows) - 1, MAX_INPUTS_COMPARED).astype(int))

    def _view_inputs(self, pair: Pair, rows: Sequence[int]) -> ViewInputs:
        """The two views, and these of the run's inputs as they take them."""
        arrays = self.evaluation_set.inputs.read(rows)
        return ViewInputs(
            source=str(pair.source_view.path),
            target=str(pair.target_view.path),
            source_arrays=_view_arrays(pair.source_mapping, pair.source_view, arrays),
            target_arrays=_view_arrays(pair.target_mapping, pair.target_view, arrays),
            source_batch=pair.source_view.batch or 1,
            target_batch=pair.target_view.batch or 1,
        )

    def _names(self, pair: Pair, located: LocatedTarget, layers: Sequence[AlignedLayer]) -> list[tuple[str, str]]:
        """The native names of each layer, in the Source and in the Target, as faults have them."""
        blames = [Blame("", layer.op_type) for layer in layers]
        records = [
            traced(self.workers, model, role, apply_mapping(mapping, pair.row), blames, located, tensors)
            for model, role, mapping, tensors in (
                (pair.source, "source", pair.source_mapping, [layer.source_tensor for layer in layers]),
                (pair.target, "target", pair.target_mapping, [layer.target_tensor for layer in layers]),
            )
        ]
        known = layer_names(pair.target)
        return [
            (
                layer.source_node if origin is None else display_name(pair.source.format, origin),
                native_name(pair.target.format, layer, known)
                if record is None
                else display_name(pair.target.format, record),
            )
            for layer, origin, record in zip(layers, *records, strict=True)
        ]


class _NoView(Exception):
    """A model that no view can be made of; the message says which."""


def _view_arrays(mapping: Sequence[InputMapping], view: View, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The run's inputs as a view takes them; ``mapping`` is that of its model."""
    return apply_mapping(view.mapping, apply_mapping(mapping, arrays))


def _reason(error: Exception) -> str:
    """The reason in words; a ValueError's message is complete without the name of the exception."""
    return error.message if isinstance(error, CallRaised) and error.kind == "ValueError" else str(error)


def _unchanged(reason: str) -> str:
    return f"--ranking kruskal: the ranking is that of replay: {reason}"


def _note(groups: InputGroups, scores: Sequence[LayerScore], left_out: int) -> str:
    """Say what the ranking was made on, in one line for the report's notes."""
    similar, dissimilar = groups.similar_count, groups.dissimilar_count
    words = f"{similar} inputs whose labels agree were compared with {dissimilar} whose labels differ"
    if groups.is_split_by_distance:
        words = (
            f"labels give no two groups of inputs, so the {similar} inputs with the smaller output differences were "
            f"compared with the {dissimilar} others"
        )
    times = "once" if len(groups.draws) == 1 else f"{len(groups.draws)} times"
    note = f"--ranking kruskal: {words}; {len(groups.draws[0]) // 2} inputs of each group were drawn {times}"
    if not any(score.significant_share for score in scores):
        note += "; no element is significant, so layers are ranked by their mean statistic"
    if left_out:
        note += f"; {left_out} of the Target's layers have no counterpart in the Source and are left out"
    return note
