"""Layers ranked by the Kruskal-Wallis test (``--ranking kruskal``), in place of the ranking by replay.

Faults are found and proven by replay whatever the ranking. The test compares the differences between Source and Target
on inputs whose labels agree with those on inputs whose labels differ (``repair/statistics/layer_ranking.py``), in
ONNX views of
both, run as they are. Where there are no such views, the ranking stays that of replay, and a note says why.
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
from ..models.input_mapping import Mismatch, apply_mapping, map_inputs, sizes
from ..models.loaded import LoadedModel, shorten
from ..options import Observer, Options
from ..records import Localisation
from ..workers.pool import WorkerPool
from .located_target import LocatedTarget
from .native_format.names import Blame, layer_names, native_name, told, traced
from .remote_functions import LOCATE
from .statistics.aligned_layers import AlignedLayer
from .strategies.view_edits import SHOWN

Array = np.ndarray[Any, Any]
INPUTS = 512  # calibration inputs whose labels are looked at; the test draws from them
BATCH = 64  # of them that are sent to a child at once
Ranked = tuple[Localisation | None, tuple[str, ...]]


def check_core_layers(workers: WorkerPool, options: Options) -> None:
    """Raises :class:`BadInput` for a ``--core-layers`` that ONNX has no operator of, naming close ones."""
    if options.core_layers is None:
        return
    light = workers.worker("onnx_tflite", "onnx_tflite")
    try:
        unknown = light.call("repair.statistics.layer_ranking", "unknown", names=list(options.core_layers))
    except WorkerFailed as error:
        raise BadInput(f"--ranking kruskal does not work here: {shorten(str(error))}") from error
    for name, close in unknown.items():
        hint = f"Did you mean {' or '.join(close)}?" if close else "Name them as ONNX does: Conv, Gemm, MatMul."
        raise BadInput(f"--core-layers {name}: ONNX has no such operator. {hint}")


@dataclass
class Ranker:
    """Ranks the layers of one run's models. ``shapes`` are those of the Source's inputs."""

    workers: WorkerPool
    evaluation_set: EvaluationSet
    shapes: Mapping[str, Sequence[int | None]]
    options: Options
    observer: Observer

    def repaired(self, pair: Pair | None, located: LocatedTarget | None, looked: Localisation | None) -> Ranked:
        """Rank the layers of a given Target, on the pair of views in which its faults were located."""
        if looked is None:
            return None, ()
        if pair is None or located is None:
            return looked, (_kept("there are no two ONNX views to rank layers of"),)
        try:
            found, note = self._ranked(pair, located, looked)
        except WorkerFailed as error:
            return looked, (_kept(shorten(_told(error))),)
        return found, (note,)

    def of_hops(
        self, findings: Sequence[HopFinding], looked: Localisation | None, settings: ConversionOptions
    ) -> Ranked:
        """Of hops that read ONNX and differ: the graph that each was fed beside what it gave, unrepaired."""
        return self._joined([(one.fed, one.before) for one in findings], looked, settings)

    def of_source(self, diverged: ConvertedModel, looked: Localisation | None, settings: ConversionOptions) -> Ranked:
        """Of a hop that started at the Source and differs: the Source beside what the hop gave."""
        source = self.evaluation_set.source
        mapping = map_inputs(source.signature, self.shapes, source.signature)
        assert not isinstance(mapping, Mismatch)
        return self._joined([(ConvertedModel(source, mapping), diverged)], looked, settings)

    def _joined(
        self,
        stages: Sequence[tuple[ConvertedModel, ConvertedModel]],
        looked: Localisation | None,
        settings: ConversionOptions,
    ) -> Ranked:
        if looked is None:
            return None, ()
        notes, parts = [], []
        for fed, diverged in stages:
            try:
                pair, located = self._walked(fed, diverged, settings)
                runs = located.result.model_runs
                one, note = self._ranked(pair, located, replace(looked, model_runs=runs))
            except (WorkerFailed, _NoView) as error:
                return looked, (_kept(shorten(_told(error))),)
            parts.append(one)
            notes.append(note)
        runs = looked.model_runs + sum(one.model_runs for one in parts)
        ranking = tuple(entry for one in parts for entry in one.ranking)
        return Localisation("kruskal", "onnxruntime", runs, ranking), tuple(notes)

    # -- one pair

    def _walked(
        self, fed: ConvertedModel, diverged: ConvertedModel, settings: ConversionOptions
    ) -> tuple[Pair, LocatedTarget]:
        """Locate the faults of what a hop gave, with what it was fed as the Source.

        Raises :class:`_NoView` where a model has no view that agrees with it, and :class:`WorkerFailed`.
        """
        if not diverged.mapping:
            raise _NoView(f"what {fed.format}->{diverged.format} gave does not take the Source's inputs")
        sample = self.evaluation_set.sample()
        differing = () if diverged.comparison is None else diverged.comparison.differing
        theirs, source = self._view(fed, sample, settings)
        ours, target = self._view(diverged, sample, settings)
        rows = list(dict.fromkeys([*differing, *range(sample.count)]))
        fixed = min((one.batch for one in (theirs, ours) if one.batch), default=SHOWN)
        rows = (rows * fixed)[:fixed]
        arrays = {name: array[rows] for name, array in sample.arrays.items()}
        order = ordered(theirs, source.output_names, target.output_names)
        is_unquantized = not (source.signature.quantized or target.signature.quantized)
        pair = Pair(
            source, target, theirs, ours, fed.mapping, diverged.mapping, tuple(order),
            {name: array[:1] for name, array in arrays.items()}, is_unquantized,
        )  # fmt: skip
        self.observer.say("aligning the layers of both models")
        source_arrays, target_arrays = _through(pair.given, theirs, arrays), _through(pair.taken, ours, arrays)
        located = LocatedTarget(
            self.workers,
            lambda worker: LOCATE(
                worker,
                None,
                source=str(theirs.path),
                target=str(ours.path),
                arrays=source_arrays,
                given=target_arrays,
                order=order,
                is_unquantized=is_unquantized,
                seconds=settings.repair_time,
            ),
        )
        return pair, located

    def _view(self, stage: ConvertedModel, sample: Sample, settings: ConversionOptions) -> tuple[View, LoadedModel]:
        """The view of a stage's model, and the model in a child that no converter uses, unless it is the Source."""
        side = stage.side
        if side is not self.evaluation_set.source:
            side = LoadedModel(self.workers, f"ranked-{side.framework}", side.file, side.options)
            side.worker()
        shapes = sizes(stage.mapping, {name: list(shape) for name, shape in self.shapes.items()})
        taken = apply_mapping(stage.mapping, sample.arrays)
        found = view(self.workers, side, shapes, Sample(taken, side.run(taken)), settings, self.observer.say)
        if found is None:
            raise _NoView(f"no converter gives an ONNX view that agrees with the {side.format} model")
        return found, side

    def _ranked(self, pair: Pair, located: LocatedTarget, looked: Localisation) -> tuple[Localisation, str]:
        """Raises :class:`WorkerFailed`."""
        core = self.options.core_layers
        self.observer.say("ranking layers by the Kruskal-Wallis test")
        found = located.aligned_layers(pair.theirs.path, core)
        layers, alone = found.layers, found.unaligned
        if not layers:
            what = "layers with weights" if core is None else f"layers of type {' or '.join(core)}"
            lost = " that go with anything in the Source" if alone else ""
            return looked, _kept(f"the Target has no {what}{lost}")
        worker = self.workers.worker("ranking", "onnx_tflite")
        both: dict[str, Any] = {
            "timeout": self.options.timeout,
            "source": str(pair.theirs.path),
            "target": str(pair.ours.path),
            "batches": [pair.theirs.batch or 1, pair.ours.batch or 1],
        }
        rows = self._rows()
        if not rows:
            return looked, _kept("there are no inputs to compare")
        told = [
            worker.call(
                "repair.statistics.input_groups", "answers", order=list(pair.order), **both, **self._arrays(pair, batch)
            )
            for batch in batches(rows, BATCH)
        ]
        agree, apart = (np.concatenate(column) for column in zip(*told, strict=True))
        groups = worker.call(
            "repair.statistics.input_groups", "chosen", agree=agree, apart=apart, seed=self.options.seed
        )
        answer = worker.call(
            "repair.statistics.layer_ranking",
            "rank",
            layers=layers,
            similar=groups["similar"],
            draws=groups["draws"],
            is_unquantized=pair.is_unquantized,
            **both,
            **self._arrays(pair, [rows[place] for place in groups["rows"]]),
        )
        self.workers.restart("ranking")  # it held activations
        names = self._names(pair, located, layers)
        ranking = tuple(
            (*names[place], float("inf") if share is None else share) for place, share, _ in answer["ranking"]
        )
        runs = looked.model_runs + len(rows) + int(answer["runs"])
        left = len(alone) + len(layers) - len(ranking)
        return Localisation("kruskal", "onnxruntime", runs, ranking), _said(groups, answer["ranking"], left)

    def _rows(self) -> tuple[int, ...]:
        """Calibration inputs, spread evenly where there are more than may be looked at."""
        rows = self.evaluation_set.rows[0]
        if len(rows) <= INPUTS:
            return rows
        return tuple(rows[place] for place in np.linspace(0, len(rows) - 1, INPUTS).astype(int))

    def _arrays(self, pair: Pair, rows: Sequence[int]) -> dict[str, Any]:
        """These of the run's inputs as the two views take them."""
        arrays = self.evaluation_set.inputs.read(rows)
        return {
            "arrays": _through(pair.given, pair.theirs, arrays),
            "given": _through(pair.taken, pair.ours, arrays),
        }

    def _names(self, pair: Pair, located: LocatedTarget, layers: Sequence[AlignedLayer]) -> list[tuple[str, str]]:
        """The native names of each layer, in the Source and in the Target, as faults have them."""
        blames = [Blame("", layer.op_type) for layer in layers]
        found = [
            traced(self.workers, side, role, apply_mapping(mapping, pair.row), blames, located, tensors)
            for side, role, mapping, tensors in (
                (pair.source, "source", pair.given, [layer.source_tensor for layer in layers]),
                (pair.target, "target", pair.taken, [layer.target_tensor for layer in layers]),
            )
        ]
        known = layer_names(pair.target)
        return [
            (
                one.source_node if origin is None else told(pair.source.format, origin),
                native_name(pair.target.format, one, known) if own is None else told(pair.target.format, own),
            )
            for one, origin, own in zip(layers, *found, strict=True)
        ]


class _NoView(Exception):
    """A model that no view can be made of; the message says which."""


def _through(mapping: Sequence[Any], one: View, arrays: Mapping[str, Array]) -> dict[str, Array]:
    return apply_mapping(one.mapping, apply_mapping(mapping, arrays))


def _told(error: Exception) -> str:
    """The words for a person: the kind of a value that cannot be used says nothing more."""
    return error.message if isinstance(error, CallRaised) and error.kind == "ValueError" else str(error)


def _kept(why: str) -> str:
    return f"--ranking kruskal: the ranking is that of replay: {why}"


def _said(groups: Mapping[str, Any], ranking: Sequence[tuple[int, float | None, float]], left: int) -> str:
    """What the ranking was made on, in one line for the report's notes."""
    similar, dissimilar = groups["counts"]
    words = f"{similar} inputs whose labels agree against {dissimilar} whose labels differ"
    if groups["split"]:
        words = (
            f"labels give no two groups of inputs, so the {similar} whose outputs are less apart stand against the "
            f"{dissimilar} whose outputs are more so"
        )
    times = "once" if len(groups["draws"]) == 1 else f"{len(groups['draws'])} times"
    said = f"--ranking kruskal: {words}; {len(groups['draws'][0]) // 2} of each drawn {times}"
    if not any(share for _, share, _ in ranking):
        said += "; no element is significant, so layers stand by their mean statistic"
    if left:
        said += f"; {left} of the Target's layers have no counterpart in the Source and are left out"
    return said
