"""Run one hop in its worker, on the model of a stage or on an equivalent form of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from ..converters.hop import Hop
from ..converters.hop_function import HopAnswer, HopArguments, InputPermutation, Shapes
from ..errors import CallRaised, Unchanged
from ..formats import ONNX, format_named
from ..models.input_mapping import TO_NCHW, TO_NHWC, InputMapping, layout_of, sizes
from ..models.loaded_model import LoadedModel
from ..records import NO_LOAD_OPTIONS
from ..workers.pool import Worker, WorkerPool
from .remote_functions import PERMUTE_ONNX_INPUTS, WRITE_FORM
from .routes import python_of
from .stage import ConversionOptions, ConvertedModel, Rewritten
from .time_budget import RepairTime


def input_permutations(
    layout: str, source: LoadedModel, shapes: Mapping[str, Sequence[int | None]]
) -> dict[str, tuple[int, ...]]:
    """Return the permutations that bring the Source's image inputs into the layout asked for, by input name."""
    if layout == "keep":
        return {}
    return {
        name: TO_NHWC if layout == "nhwc" else TO_NCHW
        for name, shape in shapes.items()
        if len(shape) == 4 and layout_of(shape, source.format) != layout
    }


class HopRunner:
    """Runs hops. ``before`` is called when the Source's own worker is about to be used for one."""

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
        self.input_permutations = input_permutations(settings.input_layout, source, shapes)
        self._calibration, self._before = calibration, before
        self._used_workers: set[int] = set()  # process ids that a hop with ``fresh_worker`` ran in
        self._loaded_in: set[int] = set()  # process ids of workers in other environments that have the Source
        self.repair_time = RepairTime(settings.repair_time)

    @property
    def timeout(self) -> float:
        """Seconds that the next call may take."""
        return self.repair_time.limit(self.settings.timeout)

    def run(
        self, hop: Hop, stage: ConvertedModel, path: Path, form: str, *, last: bool, shapes: Shapes | None = None
    ) -> Path:
        """Run the hop on the file at ``path``, which is the stage's model or a form of it, and return what it wrote.

        Image inputs come out in the layout that was asked for, where this is the first hop. ``shapes`` are the input
        shapes (None: those of the stage). ``last``: what is written is the Target. Raises :class:`Unchanged` where
        the form would be the model as it is, and :class:`WorkerFailed`.
        """
        is_permuted_in_file = self.has_permuted_inputs(stage) and "input_permutation" not in hop.takes
        if is_permuted_in_file and stage.format.is_view:
            path = self._with_permuted_inputs(path, stage)
        written = self.workers.scratch("model" + format_named(hop.target).suffix)
        self._before(hop)
        worker = self._worker(hop, stage)
        arguments = self.arguments(hop, stage, self.shapes_of(stage) if shapes is None else shapes, form, last=last)
        answer = hop.convert(worker, self.timeout, path=str(path.absolute()), target=str(written), **arguments)
        if answer is HopAnswer.UNCHANGED:
            raise Unchanged(f"the {form} form would be the model as it is")
        if not written.exists():
            raise CallRaised("FileNotFoundError", "the converter ended without writing a file", "")
        if is_permuted_in_file and not stage.format.is_view:
            written = self._with_permuted_inputs(written, stage)
        return written

    def _worker(self, hop: Hop, stage: ConvertedModel) -> Worker:
        """Return the worker to run this hop in: the Source's own, with the Source loaded, if it has the framework."""
        if hop.environment is not None:
            worker = self.workers.worker(f"convert-{hop.framework}", hop.framework, python_of(hop) or "")
            if hop.needs_loaded_source and stage.model is self.source:
                self._load_source(worker)
            return worker
        is_source_worker = hop.framework == self.source.framework
        name = self.source.worker_name if is_source_worker else f"convert-{hop.framework}"
        worker = self.workers.worker(name, hop.framework)
        if hop.fresh_worker:
            if worker.process.pid in self._used_workers:
                self.workers.restart(name)
                worker = self.workers.worker(name, hop.framework)
            self._used_workers.add(worker.process.pid)
        return self.source.worker() if is_source_worker else worker

    def _load_source(self, worker: Worker) -> None:
        """Load the Source in a worker of another environment, once."""
        if worker.process.pid in self._loaded_in:
            return
        file, options = self.source.file, self.source.options
        self.source.runtime.load(worker, self.timeout, path=self.source.location, flavour=file.flavour, options=options)
        self._loaded_in.add(worker.process.pid)

    def rewritten(
        self, stage: ConvertedModel, form: str, hop: Hop, nodes: Collection[str] | None = None
    ) -> Rewritten | None:
        """Write the ONNX file of this stage in an equivalent form (at ``nodes`` only); None where nothing changes."""
        target = self.workers.scratch("model.onnx")
        changed = WRITE_FORM(
            self.workers.worker("onnx_tflite", "onnx_tflite"),
            self.timeout,
            path=stage.model.location,
            target=str(target),
            form=form,
            opset=hop.newest_opset,
            nodes=None if nodes is None else list(nodes),
        )
        return Rewritten(target, tuple(changed)) if changed else None

    def load(self, hop: Hop, written: Path, *, last: bool) -> LoadedModel:
        """Return what the hop wrote as a model in its own runtime, to be loaded when it is first used."""
        file = format_named(hop.target).written_at(written)
        framework = file.format.worker
        if last:
            name = "target"  # a fresh process: the Target must run where its converter never was
            if self.workers.worker(name, framework).framework != framework:
                self.workers.restart(name)
        elif framework == "onnx_tflite":
            name = framework
        elif hop.framework == self.source.framework:
            name = self.source.worker_name
        else:
            name = f"convert-{hop.framework}"
        return LoadedModel(self.workers, name, file)

    def arguments(self, hop: Hop, stage: ConvertedModel, shapes: Shapes, form: str, *, last: bool) -> HopArguments:
        """Return the keyword arguments of the hop's function: of all that there are, those that it takes."""
        settings, values = self.settings, HopArguments(shapes=shapes)
        if form:
            values["form"] = form
        if settings.opset is not None:
            values["opset"] = settings.opset
        if stage.model is self.source:
            values["signature"] = settings.signature
        if last:
            values["quantize"] = settings.quantize
            if settings.quantize == "int8" and "calibration" in hop.takes:
                values["calibration"] = dict(self._calibration(self.model_inputs(stage)))
        if self.has_permuted_inputs(stage):
            values["input_permutation"] = self._permutation(self._permuted_names(stage))
        chosen = {name: value for name, value in values.items() if name in hop.takes}
        return cast(HopArguments, {**hop.arguments, **chosen})

    def has_permuted_inputs(self, stage: ConvertedModel) -> bool:
        """Does the hop from this stage give the inputs their other layout? The first hop of a route does."""
        return bool(self.input_permutations) and not stage.attempts

    def _permuted_names(self, stage: ConvertedModel) -> list[str]:
        return [mapped.target.name for mapped in stage.mapping if mapped.source in self.input_permutations]

    def _permutation(self, names: Sequence[str]) -> InputPermutation:
        """The permutation of these inputs as a converter needs it: from the new layout to the model's own."""
        axes = next(iter(self.input_permutations.values()))
        return InputPermutation(tuple(names), tuple(axes.index(i) for i in range(4)))

    def _with_permuted_inputs(self, path: Path, stage: ConvertedModel) -> Path:
        """Write the ONNX file at ``path`` with its inputs in the layout that was asked for."""
        target = self.workers.scratch("model.onnx")
        names = self._permuted_names(stage)
        worker = self.workers.worker("onnx_tflite", "onnx_tflite")
        if not stage.format.is_view:
            # The exporter may have named the inputs its own way: they are taken by position.
            written = ONNX.runtime.load(
                worker, None, path=str(path.absolute()), flavour=ONNX.flavour, options=NO_LOAD_OPTIONS
            )
            named = zip([spec.name for spec in written.inputs], stage.mapping, strict=False)
            names = [name for name, mapped in named if mapped.source in self.input_permutations]
        permutation = self._permutation(names)
        PERMUTE_ONNX_INPUTS(worker, None, path=str(path.absolute()), target=str(target), permutation=permutation)
        return target

    def model_inputs(self, stage: ConvertedModel) -> tuple[InputMapping, ...]:
        """Return how calibration inputs reach a converter that works on this stage's model."""
        if not self.has_permuted_inputs(stage):
            return stage.mapping
        return tuple(replace(mapped, axes=self.input_permutations.get(mapped.source)) for mapped in stage.mapping)

    def shapes_of(self, stage: ConvertedModel) -> Shapes:
        """Return the shapes of the stage's inputs in this run, by its own names; a free batch stays None."""
        return sizes(self.model_inputs(stage) if stage.format.is_view else stage.mapping, self.shapes)
