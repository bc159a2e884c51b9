"""A hop that differs, mended: find the nodes that its converter gets wrong, and feed it these in another form.

Localisation is local replay (``repair/replay.py``): each node of the ONNX graph that the converter was fed is
converted alone and run on the Source's own activations. Only a node whose own output differs is a fault; what
it does to the nodes behind it is not. The repair feeds the same converter an equivalent of these nodes,
accepts it only where the hop then agrees with the Source, and drops every node that turns out not to need it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from safeconvert.errors import ChildFailed
from safeconvert.feeding import Mismatch, feed, match_outputs, plan_feed
from safeconvert.hopping import Hopper, Rewritten, Stage
from safeconvert.judge import Judgement
from safeconvert.model import Fault, Hop, Localisation, Signature, TensorSpec, Verdict

Array = np.ndarray[Any, Any]
BYTES = 256 << 20  # of activations that a replay may hold; beyond it there is no replay
PIECES = 12  # conversions of parts of the graph, where the converter fails on the whole of it taken apart
RANKED = 20  # entries of the ranking that the report shows


@dataclass(frozen=True)
class Local:
    """One node replayed: ``score`` is its largest difference in units of the tolerance, above 1 a fault.

    ``failed`` holds the converter's words where it does not convert the node alone.
    """

    node: str
    operator: str
    score: float
    max_abs: float | None
    source_shape: tuple[int, ...]
    target_shape: tuple[int, ...] | None
    failed: str = ""
    index: int = 0

    def evidence(self) -> dict[str, Any]:
        return {
            "operator": self.operator,
            "local_max_abs": self.max_abs,
            "local_difference_in_tolerances": self.score if np.isfinite(self.score) else None,
            "source_shape": list(self.source_shape),
            "target_shape": None if self.target_shape is None else list(self.target_shape),
            "converter_says": self.failed,
        }


@dataclass(frozen=True)
class Mended:
    """A repaired hop. ``before`` is what the hop gave unrepaired; ``faults`` the nodes that had to change."""

    hop: Hop
    before: Stage
    after: Stage
    form: str
    ranking: tuple[Local, ...]
    faults: tuple[Local, ...]
    changes: tuple[Any, ...]
    model_runs: int

    def changed(self, node: str) -> list[Any]:
        """What was rewritten at this node."""
        return [c for c in self.changes if c["node"] == node] or [c for c in self.changes if not c["node"]]

    def target_node(self, local: Local) -> str:
        """What the unrepaired Target calls the node: onnx2keras numbers its layers, other converters keep names."""
        return f"LAYER_{local.index}" if self.hop.target == "keras" else local.node


def faults(repairs: Sequence[Mended], judgement: Judgement) -> list[Fault]:
    """One entry a repaired node. Percentages are of the calibration set, before and after all repairs together."""
    percent = [None if c is None else c[0].percent for c in (judgement.before, judgement.compared)]
    found = []
    for mended in repairs:
        for local in mended.faults:
            changes = mended.changed(local.node)
            rewrites = ", ".join(dict.fromkeys(change["rewrite"] for change in changes))
            found.append(
                Fault(
                    _type(changes),
                    mended.hop.label,
                    local.node,
                    mended.target_node(local),
                    local.evidence(),
                    "repaired" if judgement.verdict is Verdict.REPAIRED else "unrepaired",
                    percent[0],
                    percent[1],
                    f"{mended.hop.converter} was fed this {local.operator} in another form: {rewrites}",
                )
            )
    return found


def localisation(repairs: Sequence[Mended]) -> Localisation | None:
    """How the faults were found; a score is the local difference in units of the tolerance."""
    if not repairs:
        return None
    ranking = tuple(
        (local.node, mended.target_node(local), local.score) for mended in repairs for local in mended.ranking[:RANKED]
    )
    return Localisation("replay", "onnxruntime", sum(mended.model_runs for mended in repairs), ranking)


def _type(changes: Sequence[Mapping[str, str]]) -> str:
    """The fault type of what was rewritten; saying defaults explicitly goes along with it and decides nothing."""
    decisive = [change for change in changes if change["rewrite"] != "explicit-attributes"] or list(changes)
    return decisive[0]["fault_type"] if decisive else "CG"


class Mender:
    """Mends hops whose converter reads ONNX. ``attempt`` runs the hop on a file and compares it with the Source."""

    def __init__(
        self,
        hopper: Hopper,
        attempt: Callable[[Stage, Hop, Rewritten, str, bool], Stage | None],
        agrees: Callable[[Stage], bool],
    ) -> None:
        self.hopper, self._attempt, self._agrees = hopper, attempt, agrees
        self.runs = 0

    def mend(
        self, stage: Stage, hop: Hop, strayed: Stage, row: dict[str, Array], forms: Sequence[str], *, last: bool
    ) -> Mended | None:
        """The hop repaired, or None where no node alone is at fault or no form of those that are helps.

        ``row`` is one input (batch of 1) on which the hop differs, by the names of the ONNX graph's inputs.
        """
        self.runs = 0
        try:
            ranking = self.localise(stage, hop, row)
        except ChildFailed:
            return None  # the replay is a help; without it the whole graph is fed in other forms
        suspects = [local for local in ranking if not local.score <= 1]
        for form in forms if suspects else ():
            found = self._with(stage, hop, form, suspects, last=last)
            if found is None:
                continue
            needed, (rewritten, after) = self._minimal(stage, hop, form, suspects, found, last=last)
            return Mended(hop, strayed, after, form, tuple(ranking), tuple(needed), rewritten.changes, self.runs)
        return None

    def _with(
        self, stage: Stage, hop: Hop, form: str, suspects: Sequence[Local], *, last: bool
    ) -> tuple[Rewritten, Stage] | None:
        """The hop fed this form of these nodes, if it then agrees with the Source."""
        rewritten = self.hopper.rewritten(stage, form, hop, [local.node for local in suspects])
        if rewritten is None:
            return None
        self.runs += 1
        reached = self._attempt(stage, hop, rewritten, form, last)
        return (rewritten, reached) if reached is not None and self._agrees(reached) else None

    def _minimal(
        self,
        stage: Stage,
        hop: Hop,
        form: str,
        suspects: Sequence[Local],
        found: tuple[Rewritten, Stage],
        *,
        last: bool,
    ) -> tuple[list[Local], tuple[Rewritten, Stage]]:
        """Leave out every node that agrees without its repair, weakest suspicion first."""
        needed = list(suspects)
        for local in reversed(suspects):
            fewer = [other for other in needed if other is not local]
            if fewer and (without := self._with(stage, hop, form, fewer, last=last)) is not None:
                needed, found = fewer, without
        return needed, found

    # -- localisation

    def localise(self, stage: Stage, hop: Hop, row: dict[str, Array]) -> list[Local]:
        """Every node replayed, most suspicious first. Raises :class:`ChildFailed`."""
        light = self.hopper.workshop.child("light", "light")
        store = self.hopper.workshop.scratch("activations.npz")
        shapes = light.call("repair.replay", "activations", path=stage.side.location, store=str(store), arrays=row)
        self.runs += 1
        if sum(4 * int(np.prod(shape)) for shape in shapes.values()) > BYTES:
            return []
        with np.load(store) as stored:
            values = dict(zip(shapes, (stored[key] for key in stored.files), strict=True))
        store.unlink()
        pending: list[list[str] | None] = [None]
        found: list[Local] = []
        for _ in range(PIECES):
            if not pending:
                break
            only = pending.pop(0)
            pieces, failed = self._pieces(stage, hop, shapes, values, only)
            nodes = list(dict.fromkeys(piece.node for piece in pieces))
            if not failed or len(nodes) == 1:
                found += pieces
            else:
                middle = len(nodes) // 2
                pending += [nodes[:middle], nodes[middle:]]
        return sorted(found, key=lambda local: -local.score)

    def _pieces(
        self, stage: Stage, hop: Hop, shapes: dict[str, list[int]], values: dict[str, Array], only: list[str] | None
    ) -> tuple[list[Local], bool]:
        """Convert and run these nodes apart; or, where that fails, the nodes as failed ones and True."""
        target = self.hopper.workshop.scratch("pieces.onnx")
        light = self.hopper.workshop.child("light", "light")
        made = light.call(
            "repair.replay", "explode", path=stage.side.location, target=str(target), shapes=shapes, only=only
        )
        outputs = made["outputs"]
        given: dict[str, list[int | None]] = {name: list(shapes[tensor]) for name, tensor in made["inputs"].items()}
        try:
            results = self._run(stage, hop, target, given, {n: values[t] for n, t in made["inputs"].items()}, outputs)
        except ChildFailed as error:
            words = str(error)[:300]
            return [
                Local(o["node"], o["operator"], np.inf, None, tuple(shapes[o["tensor"]]), None, words, o["index"])
                for o in outputs
            ], True
        located = [self._compare(o, values[o["tensor"]], r, hop) for o, r in zip(outputs, results, strict=True)]
        return located, False

    def _run(
        self,
        stage: Stage,
        hop: Hop,
        path: Path,
        given: dict[str, list[int | None]],
        arrays: dict[str, Array],
        outputs: Sequence[dict[str, Any]],
    ) -> list[Array]:
        written = self.hopper.run(hop, stage, path, "", last=False, shapes=given)
        side = self.hopper.side(hop, written, last=False)
        child = side.child()
        specs = tuple(TensorSpec(name, tuple(shape), "float32") for name, shape in given.items())
        feeds = plan_feed(Signature(specs, ()), given, side.signature)
        if isinstance(feeds, Mismatch):
            raise ChildFailed(feeds.reason)
        answer = child.call("native.loaded", "run_once", path=side.location, arrays=feed(feeds, arrays))
        child.call("native.loaded", "forget", path=side.location)
        self.runs += 1
        results = match_outputs([o["name"] for o in outputs], answer["names"], answer["outputs"])
        if len(results) != len(outputs):
            raise ChildFailed(f"{len(results)} of {len(outputs)} pieces came out")
        return results

    def _compare(self, output: dict[str, Any], expected: Array, given: Array, hop: Hop) -> Local:
        if hop.environment == "onnx2tf" and given.shape != expected.shape and given.ndim > 2:
            # onnx2tf gives channels-last outputs; the pieces' layout is its own business.
            turned = np.moveaxis(given, -1, 1)
            given = turned if turned.shape == expected.shape else given
        shapes = expected.shape, given.shape
        if shapes[0] != shapes[1]:
            return Local(output["node"], output["operator"], np.inf, None, *shapes, index=output["index"])
        tolerance = self.hopper.settings.tolerance
        allowed = tolerance.atol + tolerance.rtol * float(np.abs(expected[np.isfinite(expected)]).max(initial=0.0))
        with np.errstate(invalid="ignore", over="ignore"):
            apart = np.abs(expected.astype(np.float64) - given)
        difference = np.where(expected == given, 0.0, apart).max(initial=0.0)  # the same infinity is no difference
        if not np.isfinite(difference):
            return Local(output["node"], output["operator"], np.inf, None, *shapes, index=output["index"])
        largest = float(difference)
        score = largest / allowed if allowed else (np.inf if largest else 0.0)
        return Local(output["node"], output["operator"], score, largest, *shapes, index=output["index"])
