"""Find the nodes that a converter gets wrong: each node of the ONNX graph that it was fed, converted and run alone.

Localisation is local replay (``repair/localization/node_replay.py``). Every node is run on the right activations, those
of the whole graph in onnxruntime or, with ``--engine tvm``, in TVM. Only a node whose own output differs is a fault;
what it does to the nodes behind it is not.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..checking.tvm_check import RuntimeComparison, ask
from ..converters.hop import Hop
from ..errors import WorkerFailed
from ..formats import ONNX
from ..models.input_mapping import Mismatch, apply_mapping, map_inputs, match_outputs
from ..models.loaded_model import LoadedModel
from ..records import Refusal, Signature, TensorSpec
from ..repair.graph.neighbour import Neighbour
from ..workers.runtime_functions import FORGET, RUN_ONCE
from .findings import Crash, HopFinding, NodeDifference
from .hop_runner import HopRunner
from .node_comparison import Activations, judge_node, unconverted
from .remote_functions import ACTIVATIONS, NEIGHBOURHOODS, NODES_NAMED_AFTER, RUNTIME_ACTIVATIONS, WRITE_PIECES
from .stage import ConvertedModel

Array = np.ndarray[Any, Any]
Rows = Sequence[dict[str, Array]]
MAX_ACTIVATION_BYTES = 256 << 20  # of one input's activations; beyond it there is no replay
MAX_FAULTS_SHOWN = 20  # whose neighbours are looked up
MAX_CONVERSIONS = 12  # of parts of the graph, where the converter fails on all of its nodes at once


@dataclass(frozen=True)
class Replay:
    """Nodes replayed: the ``ranking`` of their differences, most suspicious first.

    ``refused`` are nodes that differ from the engine's activations only as the two runtimes do.
    """

    ranking: tuple[NodeDifference, ...]
    activations: Activations
    refused: tuple[Refusal, ...] = ()


class NodeLocalization:
    """Finds nodes at fault of hops whose converter reads ONNX. ``model_runs`` counts runs of models and of pieces."""

    def __init__(self, hop_runner: HopRunner) -> None:
        self.hop_runner, self.workers = hop_runner, hop_runner.workers
        self.model_runs = 0

    def locate(self, stage: ConvertedModel, hop: Hop, diverged: ConvertedModel, rows: Rows) -> HopFinding | None:
        """Return the nodes at fault of a hop that differs, or None where they cannot be looked for.

        ``rows`` are inputs (batch of 1) on which the hop differs, by the names of the ONNX graph's inputs.
        """
        self.model_runs = 0
        try:
            replay = self.replay(stage, hop, rows[0], engine=self.hop_runner.settings.engine)
        except WorkerFailed:
            return None  # the replay is a help; without it the whole graph is fed in other forms
        faults = tuple(difference for difference in replay.ranking if not difference.score <= 1)
        return HopFinding(
            hop,
            stage,
            tuple(rows),
            replay.activations.shapes,
            before=diverged,
            ranking=replay.ranking,
            faults=faults,
            model_runs=self.model_runs,
            engine=replay.activations.engine,
            comparison=replay.activations.comparison,
            refused=replay.refused,
            neighbours=self._neighbours(stage, [fault.node for fault in faults]),
        )

    def _neighbours(self, stage: ConvertedModel, nodes: Sequence[str]) -> Mapping[str, Sequence[Neighbour]]:
        """Return what stands around these nodes in the graph; nothing where that cannot be read."""
        worker = self.workers.worker("onnx_tflite", "onnx_tflite")
        with contextlib.suppress(WorkerFailed):
            return NEIGHBOURHOODS(
                worker, self.hop_runner.timeout, path=stage.model.location, nodes=list(nodes)[:MAX_FAULTS_SHOWN]
            )
        return {}

    def measure_repaired(self, finding: HopFinding) -> HopFinding:
        """Return the finding with ``scores_after``: what stands in place of the faulty nodes, replayed as they were.

        Without them where there is no repair, no time, or the repaired nodes cannot be replayed.
        """
        path, nodes = finding.repaired_file, [fault.node for fault in finding.faults]
        if finding.after is None or path is None or not self.hop_runner.repair_time.allows():
            return finding
        fed = LoadedModel(self.workers, "onnx_tflite", ONNX.written_at(path), finding.fed.model.options)
        try:
            worker = self.workers.worker("onnx_tflite", "onnx_tflite")
            stand_ins = NODES_NAMED_AFTER(worker, self.hop_runner.timeout, path=str(path), nodes=nodes)
            only = sorted({node for names in stand_ins.values() for node in names})
            replay = self.replay(replace(finding.fed, model=fed), finding.hop, finding.rows[0], only)
        except WorkerFailed:
            return finding
        scores = {difference.node: difference.score for difference in replay.ranking}
        after = {
            node: max(scores[name] for name in names if name in scores)
            for node, names in stand_ins.items()
            if any(name in scores for name in names)
        }
        is_whole = len(after) == len(nodes)
        return replace(finding, scores_after=after if is_whole else {}, model_runs=finding.model_runs + self.model_runs)

    def failing_nodes(
        self, attempt: int, stage: ConvertedModel, hop: Hop, nodes: Sequence[str], rows: Rows
    ) -> Crash | None:
        """Return which of these nodes, of a graph that the converter crashed on, it fails to convert alone too."""
        try:
            replay = self.replay(stage, hop, rows[0], list(nodes))
        except WorkerFailed:
            return None
        failing = tuple(difference for difference in replay.ranking if difference.failed)
        return Crash(hop, stage, tuple(rows), replay.activations.shapes, attempt, failing) if failing else None

    def replay(
        self,
        stage: ConvertedModel,
        hop: Hop,
        row: dict[str, Array],
        only: list[str] | None = None,
        engine: str = "onnxruntime",
    ) -> Replay:
        """Replay every node (or ``only`` these) on the activations of ``row``. Raises :class:`WorkerFailed`.

        Where the converter fails on all nodes at once, they are converted in halves, down to single nodes.
        """
        activations = self._activations(stage, row, only, engine)
        if sum(4 * int(np.prod(shape)) for shape in activations.shapes.values()) > MAX_ACTIVATION_BYTES:
            return Replay((), activations)
        differences: list[NodeDifference] = []
        refused: list[Refusal] = []
        pending = [only]
        for _ in range(MAX_CONVERSIONS):
            if not pending or not self.hop_runner.repair_time.allows():
                break
            pieces, is_failed = self._replay_at_once(stage, hop, activations, pending.pop(0), refused)
            nodes = list(dict.fromkeys(piece.node for piece in pieces))
            if not is_failed or len(nodes) == 1:
                differences += pieces
            else:
                middle = len(nodes) // 2
                pending += [nodes[:middle], nodes[middle:]]
        differences, shapes = self._at_integers(stage, hop, row, differences)
        activations = replace(activations, shapes={**activations.shapes, **shapes})
        return Replay(tuple(sorted(differences, key=lambda d: -d.score)), activations, tuple(refused))

    def _at_integers(
        self, stage: ConvertedModel, hop: Hop, row: dict[str, Array], differences: Sequence[NodeDifference]
    ) -> tuple[list[NodeDifference], Mapping[str, list[int]]]:
        """Name the first node that differs of those that were run together, as only integers lie between them.

        Also returns the shapes of these integer tensors, which the graph is cut at. What the converter does not convert
        apart keeps its name.
        """
        wrong = [d for d in differences if d.attached and not d.failed and not d.score <= 1]
        if not wrong:
            return list(differences), {}
        nodes = list(dict.fromkeys(name for d in wrong for name in (*d.attached, d.node)))
        activations = self._activations(stage, row, nodes, has_integers=True)
        pieces, is_failed = self._replay_at_once(stage, hop, activations, nodes, [])
        if is_failed:
            return list(differences), {}
        first = {}
        for difference in wrong:
            together = [p for p in pieces if p.node in (*difference.attached, difference.node) and not p.score <= 1]
            first[difference.node] = min(together, key=lambda piece: piece.index, default=difference)
        named = {d.node: d for d in (first.get(d.node, d) for d in differences)}
        return list(named.values()), activations.shapes

    def _activations(
        self,
        stage: ConvertedModel,
        row: dict[str, Array],
        only: list[str] | None,
        engine: str = "onnxruntime",
        *,
        has_integers: bool = False,
    ) -> Activations:
        """Run the graph on one input in the engine asked for; in onnxruntime where that cannot give every tensor."""
        comparison = None
        if engine == "tvm":
            comparison = self._comparison(stage, row)
            if comparison.activations is not None:
                return self._from_engine(comparison, comparison.activations, stage, only)
        worker = self.workers.worker("onnx_tflite", "onnx_tflite")
        store = self.workers.scratch("activations.npz")
        shapes = ACTIVATIONS(
            worker,
            self.hop_runner.timeout,
            path=stage.model.location,
            store=str(store),
            arrays=row,
            only=only,
            has_integers=has_integers,
        )
        self.model_runs += 1
        return Activations(shapes, _stored(store, shapes), comparison=comparison)

    def _comparison(self, stage: ConvertedModel, row: dict[str, Array]) -> RuntimeComparison:
        """Run the graph in TVM and in onnxruntime on one input and keep TVM's activations."""
        name = "source" if stage.model is self.hop_runner.source else "source view"
        path = Path(stage.model.location)
        self.model_runs += 2
        return ask(
            self.workers, name, path, row, self.hop_runner.settings.tolerance, self.hop_runner.timeout, keep=True
        )

    def _from_engine(
        self, comparison: RuntimeComparison, engine_store: Path, stage: ConvertedModel, only: list[str] | None
    ) -> Activations:
        """Read the activations that TVM gave."""
        store = self.workers.scratch("activations.npz")
        shapes, onnxruntime_values = RUNTIME_ACTIVATIONS(
            self.workers.worker("onnx_tflite", "onnx_tflite"),
            self.hop_runner.timeout,
            path=stage.model.location,
            store=str(store),
            engine_store=str(engine_store),
            only=only,
        )
        engine_store.unlink()
        return Activations(shapes, _stored(store, shapes), comparison.engine, onnxruntime_values, comparison)

    def _replay_at_once(
        self,
        stage: ConvertedModel,
        hop: Hop,
        activations: Activations,
        only: list[str] | None,
        refused: list[Refusal],
    ) -> tuple[list[NodeDifference], bool]:
        """Convert and run these nodes in one go; where that fails, return the nodes as failed ones and True.

        What differs as the runtimes do is added to ``refused``.
        """
        target, shapes, values = self.workers.scratch("pieces.onnx"), activations.shapes, activations.values
        pieces = WRITE_PIECES(
            self.workers.worker("onnx_tflite", "onnx_tflite"),
            self.hop_runner.timeout,
            path=stage.model.location,
            target=str(target),
            shapes=dict(shapes),
            only=only,
        )
        outputs = pieces.outputs
        arrays = {name: values[tensor] for name, tensor in pieces.inputs.items()}
        try:
            results = self._run(stage, hop, target, arrays, [output.name for output in outputs])
        except WorkerFailed as error:
            if error.status == "timeout":
                return [], False  # slow is not wrong
            failed = [unconverted(output, shapes[output.tensor], str(error)[:300]) for output in outputs]
            return failed, True
        differences = []
        for output, result in zip(outputs, results, strict=True):
            difference, refusal = judge_node(output, activations, result, hop, self.hop_runner.settings.tolerance)
            differences.append(difference)
            refused += [] if refusal is None else [refusal]
        return differences, False

    def _run(
        self, stage: ConvertedModel, hop: Hop, path: Path, arrays: dict[str, Array], outputs: Sequence[str]
    ) -> list[Array]:
        """Convert the ONNX file of the pieces and run it in the hop's target format. Raises :class:`WorkerFailed`."""
        shapes: dict[str, list[int | None]] = {name: list(array.shape) for name, array in arrays.items()}
        written = self.hop_runner.run(hop, stage, path, "", last=False, shapes=shapes)
        model = self.hop_runner.load(hop, written, last=False)
        worker = model.worker()
        specs = tuple(TensorSpec(name, tuple(shape), "float32") for name, shape in shapes.items())
        mapping = map_inputs(Signature(specs, ()), shapes, model.signature)
        if isinstance(mapping, Mismatch):
            raise WorkerFailed(mapping.reason)
        answer = RUN_ONCE(worker, None, path=model.location, arrays=apply_mapping(mapping, arrays))
        FORGET(worker, None, path=model.location)
        self.model_runs += 1
        results = match_outputs(outputs, answer.names, answer.outputs)
        if len(results) != len(outputs):
            raise WorkerFailed(f"{len(results)} of {len(outputs)} pieces came out")
        return results


def _stored(store: Path, shapes: Mapping[str, list[int]]) -> dict[str, Array]:
    """The arrays of an ``.npz`` file whose members stand in the order of ``shapes``; the file is removed."""
    with np.load(store) as stored:
        values = dict(zip(shapes, (stored[key] for key in stored.files), strict=True))
    store.unlink()
    return values
