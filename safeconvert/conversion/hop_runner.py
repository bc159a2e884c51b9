"""Run one hop in its child process, on the model of a stage or on an equivalent form of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..comparison.comparators import TOP1, Comparator
from ..comparison.compare import Comparison, Tolerance
from ..errors import CallRaised, Unchanged
from ..models.input_mapping import TO_NCHW, TO_NHWC, InputMapping, layout_of, sizes
from ..models.loaded import RUNTIMES, LoadedModel
from ..records import Hop, Recognised
from ..workers.environments import interpreter
from ..workers.pool import Worker, WorkerPool
from .time_budget import RepairTime

Array = np.ndarray[Any, Any]
Shapes = dict[str, list[int | None]]
SUFFIX = {"torch": ".pt2", "keras": ".keras", "tf": "", "tflite": ".tflite", "onnx": ".onnx"}
FLAVOUR = {"torch": "pt2", "keras": "keras", "tf": "savedmodel", "tflite": "tflite", "onnx": "onnx"}


@dataclass(frozen=True)
class ConversionOptions:
    """What the person asked of the conversion; see the options of the same names."""

    tolerance: Tolerance
    timeout: float
    input_layout: str
    quantize: str
    opset: int | None
    signature: str | None
    repair: bool = True
    repair_time: float = 300.0
    comparator: Comparator = TOP1


@dataclass(frozen=True)
class Sample:
    """The few inputs every hop is checked on, with the Source's outputs for them."""

    arrays: Mapping[str, Array]
    outputs: Sequence[Array]

    @property
    def count(self) -> int:
        return len(next(iter(self.arrays.values())))


@dataclass(frozen=True)
class ConvertedModel:
    """A model on the way: the Source itself, what a hop wrote, or the Target (the last one)."""

    side: LoadedModel
    mapping: tuple[InputMapping, ...]
    attempts: tuple[int, ...] = ()
    comparison: Comparison | None = None

    @property
    def format(self) -> str:
        return self.side.format


def turns(layout: str, source: LoadedModel, shapes: Mapping[str, Sequence[int | None]]) -> dict[str, tuple[int, ...]]:
    """The permutations that bring the Source's image inputs into the layout asked for, by input name."""
    if layout == "keep":
        return {}
    return {
        name: TO_NHWC if layout == "nhwc" else TO_NCHW
        for name, shape in shapes.items()
        if len(shape) == 4 and layout_of(shape, source.format) != layout
    }


TOLD = 4  # kinds of rewriting that a message lists


@dataclass(frozen=True)
class Rewritten:
    """An ONNX file in an equivalent form, and what was rewritten: name of the rewrite, node, operator, fault type."""

    path: Path
    changes: tuple[Mapping[str, str], ...]

    @property
    def words(self) -> str:
        """What was rewritten, by operator: "Gelu at act (gelu); 2 Relu (max)"."""
        nodes: dict[tuple[str, str], list[str]] = {}
        for change in self.changes:
            nodes.setdefault((change["operator"], change["rewrite"]), []).append(change["node"])
        told = [
            rewrite if not operator else f"{operator} at {names[0]} ({rewrite})" if len(names) == 1
            else f"{len(names)} {operator} ({rewrite})"
            for (operator, rewrite), names in nodes.items()
        ]  # fmt: skip
        return "; ".join(told[:TOLD] + ([f"and {len(told) - TOLD} more"] if len(told) > TOLD else []))


class HopRunner:
    """Runs hops. ``before`` is called when the Source's own child is about to be used for one."""

    def __init__(
        self,
        workers: WorkerPool,
        source: LoadedModel,
        shapes: Mapping[str, Sequence[int | None]],
        calibration: Callable[[Sequence[InputMapping]], Mapping[str, str]],
        settings: ConversionOptions,
        before: Callable[[Hop], None],
    ) -> None:
        self.workers, self.source, self.shapes, self.settings = workers, source, shapes, settings
        self.turns = turns(settings.input_layout, source, shapes)
        self._calibration, self._before = calibration, before
        self._used_once: set[int] = set()
        self.repair_time = RepairTime(settings.repair_time)

    @property
    def timeout(self) -> float:
        """Seconds that the next call may take."""
        return self.repair_time.limit(self.settings.timeout)

    def run(
        self, hop: Hop, stage: ConvertedModel, origin: Path, form: str, *, last: bool, shapes: Shapes | None = None
    ) -> Path:
        written = self.workers.scratch("model" + SUFFIX[hop.target])
        self._before(hop)
        worker = self._child(hop)
        answer = worker.call(
            f"converters.{hop.module}",
            hop.function,
            timeout=self.timeout,
            path=str(origin.absolute()),
            target=str(written),
            **({"form": form} if form and stage.format != "onnx" else {}),
            **self.arguments(hop, stage, self.shapes_of(stage) if shapes is None else shapes, last=last),
        )
        if answer is False:
            raise Unchanged(f"the {form} form would be the model as it is")
        if not written.exists():
            raise CallRaised("FileNotFoundError", "the converter ended without writing a file", "")
        return written

    def _child(self, hop: Hop) -> Worker:
        """The child to run this hop in: the Source's own, with the Source loaded, where the framework is the same."""
        if hop.environment is not None:
            return self.workers.worker(f"convert-{hop.framework}", hop.framework, interpreter(hop.environment) or "")
        own = hop.framework == self.source.framework
        name = self.source.worker_name if own else f"convert-{hop.framework}"
        worker = self.workers.worker(name, hop.framework)
        if hop.module == "tensorflow_tflite":
            # A second from_keras_model in one process fails: 'NoneType' object is not callable.
            if worker.process.pid in self._used_once:
                self.workers.restart(name)
                worker = self.workers.worker(name, hop.framework)
            self._used_once.add(worker.process.pid)
        return self.source.worker() if own else worker

    def rewritten(
        self, stage: ConvertedModel, form: str, hop: Hop, nodes: Collection[str] | None = None
    ) -> Rewritten | None:
        """The ONNX file of this stage in an equivalent form (at ``nodes`` only); None where that changes nothing."""
        target = self.workers.scratch("model.onnx")
        changed = self.workers.worker("onnx_tflite", "onnx_tflite").call(
            "repair.rewrites.forms",
            "write",
            timeout=self.timeout,
            path=stage.side.location,
            target=str(target),
            form=form,
            opset=13 if hop.target == "keras" else 17,
            nodes=None if nodes is None else list(nodes),
        )
        return Rewritten(target, tuple(changed)) if changed else None

    def side(self, hop: Hop, written: Path, *, last: bool) -> LoadedModel:
        recognised = Recognised(written, hop.target, FLAVOUR[hop.target])
        framework = RUNTIMES[hop.target][0]
        if last:
            name = "target"  # a fresh process: the Target must run where its converter never was
            if self.workers.worker(name, framework).framework != framework:
                self.workers.restart(name)
        elif hop.target in ("onnx", "tflite"):
            name = "onnx_tflite"
        elif hop.framework == self.source.framework:
            name = self.source.worker_name
        else:
            name = f"convert-{hop.framework}"
        return LoadedModel(self.workers, name, recognised)

    def arguments(self, hop: Hop, stage: ConvertedModel, shapes: Shapes, *, last: bool) -> dict[str, Any]:
        """The keyword arguments of the hop's function."""
        arguments: dict[str, Any] = dict(hop.options)
        settings = self.settings
        if hop.target == "onnx" and settings.opset is not None:
            arguments["opset"] = settings.opset
        if hop.source == "tf":
            arguments["signature"] = settings.signature if stage.side is self.source else None
        if hop.target == "tflite" and hop.environment is None and last:
            arguments["quantize"] = settings.quantize
            if settings.quantize == "int8":
                arguments["calibration"] = dict(self._calibration(self.fed(stage)))
        if hop.source == "torch" or hop.target == "torch":
            arguments["shapes"] = shapes
        if hop.environment == "onnx2tf":
            arguments["inputs"] = [name for name, shape in shapes.items() if len(shape) >= 3]
        if self.has_permuted_inputs(stage) and "onnx" not in (hop.source, hop.target):
            axes = next(iter(self.turns.values()))
            arguments["turn"] = {"names": self._turned_names(stage), "axes": [axes.index(i) for i in range(4)]}
        return arguments

    def has_permuted_inputs(self, stage: ConvertedModel) -> bool:
        """Does the hop from this stage give the inputs their other layout? The first hop of a route does."""
        return bool(self.turns) and not stage.attempts

    def _turned_names(self, stage: ConvertedModel) -> list[str]:
        return [one.target.name for one in stage.mapping if one.source in self.turns]

    def turned(self, path: Path, stage: ConvertedModel) -> Path:
        """The ONNX file with the inputs in the layout asked for."""
        target = self.workers.scratch("model.onnx")
        axes = next(iter(self.turns.values()))
        names = self._turned_names(stage)
        light = self.workers.worker("onnx_tflite", "onnx_tflite")
        if stage.format != "onnx":
            # The exporter may have named the inputs its own way: they are taken by position.
            written = light.call("runtimes.onnx_tflite", "load", path=str(path.absolute()), flavour="onnx")
            found = [described["name"] for described in written["inputs"]]
            names = [new for new, one in zip(found, stage.mapping, strict=False) if one.source in self.turns]
        light.call(
            "converters.support.input_layout",
            "turn_onnx",
            path=str(path.absolute()),
            target=str(target),
            names=names,
            axes=[axes.index(i) for i in range(4)],
        )
        return target

    def fed(self, stage: ConvertedModel) -> tuple[InputMapping, ...]:
        """How calibration inputs reach a converter that works on this stage's model."""
        if not self.has_permuted_inputs(stage):
            return stage.mapping
        return tuple(replace(one, axes=self.turns.get(one.source)) for one in stage.mapping)

    def shapes_of(self, stage: ConvertedModel) -> Shapes:
        """The shapes of the stage's inputs in this run, by its own names; a free batch stays None."""
        return sizes(self.fed(stage) if stage.format == "onnx" else stage.mapping, self.shapes)
