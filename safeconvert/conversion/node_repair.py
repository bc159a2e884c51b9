"""A hop that differs, mended: find the nodes that its converter gets wrong, and feed it these in another form.

Localisation is local replay (``repair/localization/node_replay.py``): each node of the ONNX graph that the converter
was fed is
converted alone and run on the Source's own activations. Only a node whose own output differs is a fault; what
it does to the nodes behind it is not. The repair feeds the same converter an equivalent of these nodes,
accepts it only where the hop then agrees with the Source, and drops every node that turns out not to need it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..converters.hop import Hop
from ..errors import WorkerFailed
from ..models.input_mapping import Mismatch, apply_mapping, map_inputs, match_outputs
from ..records import Signature, TensorSpec
from ..workers.runtime_functions import FORGET, RUN_ONCE
from .findings import Crash, HopFinding, NodeDifference, decides
from .hop_runner import HopRunner
from .stage import ConvertedModel, Rewritten

Array = np.ndarray[Any, Any]
Rows = Sequence[dict[str, Array]]
BYTES = 256 << 20  # of activations that a replay may hold; beyond it there is no replay
PIECES = 12  # conversions of parts of the graph, where the converter fails on the whole of it taken apart


class NodeRepair:
    """Mends hops whose converter reads ONNX. ``attempt`` runs the hop on a file and compares it with the Source."""

    def __init__(
        self,
        hop_runner: HopRunner,
        attempt: Callable[[ConvertedModel, Hop, Rewritten, str, bool], ConvertedModel | None],
        agrees: Callable[[ConvertedModel], bool],
    ) -> None:
        self.hop_runner, self._attempt, self._agrees = hop_runner, attempt, agrees
        self._allows = hop_runner.repair_time.allows
        self.runs = 0

    def locate(self, stage: ConvertedModel, hop: Hop, diverged: ConvertedModel, rows: Rows) -> HopFinding | None:
        """The nodes at fault, or None where they cannot be looked for.

        ``rows`` are inputs (batch of 1) on which the hop differs, by the names of the ONNX graph's inputs.
        """
        self.runs = 0
        try:
            ranking, shapes = self.localise(stage, hop, rows[0])
        except WorkerFailed:
            return None  # the replay is a help; without it the whole graph is fed in other forms
        suspects = tuple(local for local in ranking if not local.score <= 1)
        return HopFinding(hop, stage, tuple(rows), shapes, diverged, tuple(ranking), suspects, self.runs)

    def refused(self, attempt: int, stage: ConvertedModel, hop: Hop, nodes: Sequence[str], rows: Rows) -> Crash | None:
        """Which of these nodes, of a graph that the converter crashed on, it does not convert alone either."""
        try:
            ranking, shapes = self.localise(stage, hop, rows[0], list(nodes))
        except WorkerFailed:
            return None
        found = tuple(local for local in ranking if local.failed)
        return Crash(hop, stage, tuple(rows), shapes, attempt, found) if found else None

    def mend(self, finding: HopFinding, *, last: bool) -> HopFinding:
        """With ``after``, where one of the forms of the nodes at fault makes the hop agree with the Source."""
        suspects = finding.faults
        self.runs = finding.model_runs
        for form in finding.hop.forms if suspects else ():
            if not self._allows():
                return self.classified(replace(finding, model_runs=self.runs))
            found = self._with(finding, form, suspects, last=last)
            if found is None:
                continue
            needed, alone, (rewritten, after) = self._minimal(finding, form, found, last=last)
            return replace(
                finding,
                after=after,
                form=form,
                faults=tuple(needed),
                changes=rewritten.changes,
                alone=alone if len(needed) > 1 else {},
                model_runs=self.runs,
            )
        return self.classified(replace(finding, tried=True, model_runs=self.runs))

    def classified(self, finding: HopFinding) -> HopFinding:
        """With the changes that would be made: they tell the type of a fault that stays."""
        changes: list[Mapping[str, str]] = []
        for form in finding.hop.forms:
            known = {change["node"] for change in changes if decides(change)}
            left = [local.node for local in finding.faults if local.node not in known]
            if not left or not self.hop_runner.repair_time.left:
                break
            with contextlib.suppress(WorkerFailed):
                rewritten = self.hop_runner.rewritten(finding.fed, form, finding.hop, left)
                changes += rewritten.changes if rewritten is not None else ()
        return replace(finding, changes=tuple(changes))

    def _with(
        self, finding: HopFinding, form: str, suspects: Sequence[NodeDifference], *, last: bool
    ) -> tuple[Rewritten, ConvertedModel] | None:
        """The hop fed this form of these nodes, if it then agrees with the Source."""
        tried = self._try(finding, form, suspects, last=last)
        return tried if tried is not None and self._agrees(tried[1]) else None

    def _try(
        self, finding: HopFinding, form: str, suspects: Sequence[NodeDifference], *, last: bool
    ) -> tuple[Rewritten, ConvertedModel] | None:
        try:
            rewritten = self.hop_runner.rewritten(finding.fed, form, finding.hop, [local.node for local in suspects])
        except WorkerFailed:
            return None
        if rewritten is None:
            return None
        self.runs += 1
        reached = self._attempt(finding.fed, finding.hop, rewritten, form, last)
        return None if reached is None else (rewritten, reached)

    def _minimal(
        self, finding: HopFinding, form: str, found: tuple[Rewritten, ConvertedModel], *, last: bool
    ) -> tuple[list[NodeDifference], dict[str, ConvertedModel], tuple[Rewritten, ConvertedModel]]:
        """Leave out every node that agrees without its repair, weakest suspicion first.

        Gives the nodes that are needed, what each of them does where it alone is left out, and the hop repaired.
        """
        needed = list(finding.faults)
        alone: dict[str, ConvertedModel] = {}
        for local in reversed(finding.faults):
            fewer = [other for other in needed if other is not local]
            if not fewer or not self._allows():
                break
            tried = self._try(finding, form, fewer, last=last)
            if tried is not None and self._agrees(tried[1]):
                needed, found = fewer, tried
            elif tried is not None and tried[1].mapping:
                alone[local.node] = tried[1]
        return needed, alone, found

    # -- localisation

    def localise(
        self, stage: ConvertedModel, hop: Hop, row: dict[str, Array], only: list[str] | None = None
    ) -> tuple[list[NodeDifference], dict[str, list[int]]]:
        """Every node (or ``only`` these) replayed, most suspicious first, and the shapes of all tensors.

        Raises :class:`WorkerFailed`.
        """
        light = self.hop_runner.workers.worker("onnx_tflite", "onnx_tflite")
        store = self.hop_runner.workers.scratch("activations.npz")
        shapes = light.call(
            "repair.localization.node_replay",
            "activations",
            timeout=self.hop_runner.timeout,
            path=stage.side.location,
            store=str(store),
            arrays=row,
            only=only,
        )
        self.runs += 1
        if sum(4 * int(np.prod(shape)) for shape in shapes.values()) > BYTES:
            return [], shapes
        with np.load(store) as stored:
            values = dict(zip(shapes, (stored[key] for key in stored.files), strict=True))
        store.unlink()
        pending = [only]
        found: list[NodeDifference] = []
        for _ in range(PIECES):
            if not pending or not self._allows():
                break
            only = pending.pop(0)
            pieces, failed = self._pieces(stage, hop, shapes, values, only)
            nodes = list(dict.fromkeys(piece.node for piece in pieces))
            if not failed or len(nodes) == 1:
                found += pieces
            else:
                middle = len(nodes) // 2
                pending += [nodes[:middle], nodes[middle:]]
        return sorted(found, key=lambda local: -local.score), shapes

    def _pieces(
        self,
        stage: ConvertedModel,
        hop: Hop,
        shapes: dict[str, list[int]],
        values: dict[str, Array],
        only: list[str] | None,
    ) -> tuple[list[NodeDifference], bool]:
        """Convert and run these nodes apart; or, where that fails, the nodes as failed ones and True."""
        target = self.hop_runner.workers.scratch("pieces.onnx")
        light = self.hop_runner.workers.worker("onnx_tflite", "onnx_tflite")
        made = light.call(
            "repair.localization.node_replay",
            "explode",
            timeout=self.hop_runner.timeout,
            path=stage.side.location,
            target=str(target),
            shapes=shapes,
            only=only,
        )
        outputs = made["outputs"]
        given: dict[str, list[int | None]] = {name: list(shapes[tensor]) for name, tensor in made["inputs"].items()}
        try:
            results = self._run(stage, hop, target, given, {n: values[t] for n, t in made["inputs"].items()}, outputs)
        except WorkerFailed as error:
            if error.status == "timeout":
                return [], False  # slow is not wrong
            words = str(error)[:300]
            return [
                NodeDifference(
                    o["node"], o["operator"], np.inf, None, tuple(shapes[o["tensor"]]), None, words, o["index"]
                )
                for o in outputs
            ], True
        located = [self._compare(o, values[o["tensor"]], r, hop) for o, r in zip(outputs, results, strict=True)]
        return located, False

    def _run(
        self,
        stage: ConvertedModel,
        hop: Hop,
        path: Path,
        given: dict[str, list[int | None]],
        arrays: dict[str, Array],
        outputs: Sequence[dict[str, Any]],
    ) -> list[Array]:
        written = self.hop_runner.run(hop, stage, path, "", last=False, shapes=given)
        side = self.hop_runner.side(hop, written, last=False)
        worker = side.worker()
        specs = tuple(TensorSpec(name, tuple(shape), "float32") for name, shape in given.items())
        mapping = map_inputs(Signature(specs, ()), given, side.signature)
        if isinstance(mapping, Mismatch):
            raise WorkerFailed(mapping.reason)
        answer = RUN_ONCE(worker, None, path=side.location, arrays=apply_mapping(mapping, arrays))
        FORGET(worker, None, path=side.location)
        self.runs += 1
        results = match_outputs([o["name"] for o in outputs], answer.names, answer.outputs)
        if len(results) != len(outputs):
            raise WorkerFailed(f"{len(results)} of {len(outputs)} pieces came out")
        return results

    def _compare(self, output: dict[str, Any], expected: Array, given: Array, hop: Hop) -> NodeDifference:
        if hop.has_channels_last_outputs and given.shape != expected.shape and given.ndim > 2:
            channels_first = np.moveaxis(given, -1, 1)
            given = channels_first if channels_first.shape == expected.shape else given
        shapes = expected.shape, given.shape
        if shapes[0] != shapes[1]:
            return NodeDifference(output["node"], output["operator"], np.inf, None, *shapes, index=output["index"])
        tolerance = self.hop_runner.settings.tolerance
        allowed = tolerance.atol + tolerance.rtol * float(np.abs(expected[np.isfinite(expected)]).max(initial=0.0))
        with np.errstate(invalid="ignore", over="ignore"):
            apart = np.abs(expected.astype(np.float64) - given)
        difference = np.where(expected == given, 0.0, apart).max(initial=0.0)  # the same infinity is no difference
        if not np.isfinite(difference):
            return NodeDifference(output["node"], output["operator"], np.inf, None, *shapes, index=output["index"])
        largest = float(difference)
        score = largest / allowed if allowed else (np.inf if largest else 0.0)
        return NodeDifference(output["node"], output["operator"], score, largest, *shapes, index=output["index"])
