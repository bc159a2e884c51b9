"""What a run compares on: the person's images or arrays, or probes; and the split of them in two sets."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BadInput, CallRaised, SourceFailed, WorkerFailed
from ..inputs.arrays import TensorInputs
from ..inputs.base import Inputs, ProbeInputs, Skipped, split
from ..inputs.batch_axes import row_specs
from ..inputs.contract import contract
from ..inputs.images import ImageInputs
from ..inputs.preprocess import Layout, Preprocess
from ..inputs.presets import load_preprocess
from ..inputs.true_labels import labels_of_images
from ..models.input_mapping import InputMapping, apply_mapping, layout_of
from ..models.loaded_model import LoadedModel, shorten
from ..models.loader import Shapes, source_batch_axes, specs
from ..options import Observer, Options
from ..records import Signature, TensorSpec
from ..workers.pool import WorkerPool
from .distinct_inputs import distinct_rows
from .probe_ranges import ranges_of_inputs, ranges_tried
from .source_behaviour import SourceBehaviour
from .source_outputs import SourceOutputs

Array = np.ndarray[Any, Any]
PROBES = 32  # where a person gives no inputs
SAMPLE = 4  # inputs of each kind that every hop is checked on
QUANTISING = 200  # rows that integer quantisation is calibrated on, at most


@dataclass(frozen=True)
class Sample:
    """The few inputs every hop is checked on, with the Source's outputs for them."""

    arrays: Mapping[str, Array]
    outputs: Sequence[Array]

    @property
    def count(self) -> int:
        return len(next(iter(self.arrays.values())))


@dataclass(frozen=True)
class ImageInput:
    """The one input of a model that images can feed. Sizes are in pixels."""

    name: str
    height: int
    width: int
    channels: int
    layout: Layout
    dtype: str


class EvaluationSet:
    """The inputs of one run, and the Source's answers to them. Images are decoded while a converter runs."""

    def __init__(
        self,
        workers: WorkerPool,
        source: LoadedModel,
        shapes: Shapes,
        options: Options,
        pool: ThreadPoolExecutor,
        observer: Observer,
    ) -> None:
        self.workers, self.source, self.options, self.observer = workers, source, options, observer
        options.check_output_names(source.output_names)
        self.batch_axes = source_batch_axes(source.signature, options)
        self.specs = row_specs(specs(source.signature, shapes), self.batch_axes)
        self.preprocess: Preprocess | None = None
        self.deployment: Preprocess | None = None  # --target-preprocess, if it was given
        self.target_preprocess: Preprocess | None = None  # of the Target's images; None: the Source's own
        self.target_inputs: Inputs | None = None  # prepared by ``target_preprocess``; None: the Source's own
        self.notes: list[str] = []
        self._image_labels: dict[Path, int] = {}  # --labels
        folder = workers.scratch("outputs")
        folder.mkdir()
        inputs = self._inputs = self._begin(pool)  # of images that may still be being decoded
        self.source_outputs = SourceOutputs(source, inputs, folder)
        self._distinct = pool.submit(lambda: distinct_rows(inputs.result()))
        self.behaviour = SourceBehaviour(self.source_outputs, self.specs, options, lambda: self.rows)  # copies share it
        self._samples: list[Sample] = []  # none or one; copies of this set share it

    def _begin(self, pool: ThreadPoolExecutor) -> Future[Inputs]:
        options = self.options
        if options.images is not None:
            paths, skipped = ImageInputs.scan(options.images)
            if options.labels is not None:
                self._image_labels = labels_of_images(options.labels, paths, options.images)
            name = options.preprocess
            if name is None:
                name = self.source.format.default_preprocess
                self.notes.append(self._assumed(load_preprocess(name)))
            self.preprocess = load_preprocess(name)
            if options.target_preprocess is not None:
                self.deployment = load_preprocess(options.target_preprocess)
            self.image_input()  # a model that takes no images is the person's to know at once
            return pool.submit(self._images, paths, skipped, self.preprocess)
        inputs: Inputs
        if options.inputs is not None:
            folder = self.workers.scratch("arrays").parent
            inputs = TensorInputs.load(options.inputs, self.specs, folder, self.batch_axes)
        else:
            ranges = ranges_tried(self.source, self.specs, options.seed)
            inputs = ProbeInputs.make(self.specs, options.seed, PROBES, ranges)
        return pool.submit(lambda: inputs)

    def _assumed(self, preprocess: Preprocess) -> str:
        """Return a note that states the preprocessing that was assumed for the user's images."""
        size = self.image_input()
        words = preprocess.describe(size.height, size.width)
        return f"assumed preprocessing: {words}; pass --preprocess if yours differs"

    def image_input(self) -> ImageInput:
        """What images must become for this model. Raises :class:`BadInput` where it takes none."""
        shape = self.specs[0].shape
        if len(self.specs) != 1 or shape is None or len(shape) != 4:
            raise BadInput(
                f"--images need a model with one input of four axes, not {'; '.join(map(str, self.specs))}.\n"
                "Pass ready arrays with --inputs FILE.npz."
            )
        layout = layout_of(shape, self.source.format)
        channels, height, width = (shape[i] or 0 for i in ((1, 2, 3) if layout == "nchw" else (3, 1, 2)))
        return ImageInput(self.specs[0].name, height, width, channels, layout, self.specs[0].dtype)

    def _images(self, paths: Sequence[Path], skipped: Sequence[Skipped], preprocess: Preprocess) -> Inputs:
        image_input = self.image_input()
        return ImageInputs.prepare(
            paths,
            preprocess,
            name=image_input.name,
            height=image_input.height,
            width=image_input.width,
            channels=image_input.channels,
            layout=image_input.layout,
            dtype=image_input.dtype,
            cache=self.workers.scratch("pixels").parent,
            skipped=skipped,
            on_progress=lambda done, total: self.observer.progress("reading images", done, total),
        )

    @property
    def inputs(self) -> Inputs:
        return self._inputs.result()

    @cached_property
    def true_labels(self) -> Mapping[int, int]:
        """The true class index of each input that ``--labels`` gives one, by the input's row."""
        labels, inputs = self._image_labels, self.inputs
        if not labels or not isinstance(inputs, ImageInputs):
            return {}
        return {row: labels[path] for row, path in enumerate(inputs.paths) if path in labels}

    @cached_property
    def rows(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Calibration and held-out rows: inputs that are copies of others are left out of both."""
        rows = self.distinct
        if not rows:
            return (), ()
        calibration, heldout = split(len(rows), self.options.holdout, self.options.seed)
        return tuple(rows[index] for index in calibration), tuple(rows[index] for index in heldout)

    @cached_property
    def distinct(self) -> tuple[int, ...]:
        """The rows that are no copy of an earlier one."""
        rows = self._distinct.result()
        copies = self.inputs.count - len(rows)
        if copies:
            self.notes.append(f"{copies} of the {self.inputs.count} inputs are copies of others and were left out")
        return rows

    def as_deployed(self) -> EvaluationSet:
        """The same images and Source outputs, with the Target's images prepared as ``--target-preprocess`` says.

        Returns this set itself where the option was not given. All images are decoded a second time.
        """
        if self.deployment is None:
            return self
        paths = [Path(self.inputs.label(row)) for row in range(self.inputs.count)]
        return self._for_target(self.deployment, self._images(paths, (), self.deployment))

    def with_target_preprocess(self, preprocess: Preprocess) -> EvaluationSet:
        """The same images and Source outputs, with the Target's images prepared by ``preprocess``.

        Each image is decoded when it is read, which suits comparisons over a few of them. Raises :class:`BadInput`
        where the preprocessing does not fit the model's input.
        """
        image, inputs = self.image_input(), self.inputs
        assert isinstance(inputs, ImageInputs)
        preprocess.check(image.height, image.width, image.channels, image.dtype)
        nothing_cached = np.empty((0, image.height, image.width, image.channels), np.uint8)
        return self._for_target(preprocess, replace(inputs, skipped=(), preprocess=preprocess, cached=nothing_cached))

    def _for_target(self, preprocess: Preprocess, inputs: Inputs) -> EvaluationSet:
        other = copy.copy(self)  # shares the Source's outputs, the sample and the notes
        other.target_preprocess, other.target_inputs = preprocess, inputs
        return other

    def ahead(self) -> None:
        """Let the Source answer in the background from now on, if its inputs are there."""
        if self.source_outputs.ready():
            self.source_outputs.ahead(self.rows)

    def probes(self, count: int) -> ProbeInputs:
        """Synthetic inputs; integers are drawn from the range of the person's own."""
        inputs = self.inputs
        if isinstance(inputs, ProbeInputs):
            ranges = inputs.ranges
        else:
            ranges = ranges_of_inputs(inputs, self.rows[0]) if inputs.count else {}
        return ProbeInputs.make(self.specs, self.options.seed, count, ranges)

    def sample(self) -> Sample:
        """A few of the person's inputs and a few probes, with the Source's outputs, taken once.

        Probes that the Source cannot answer with finite numbers are left out.
        """
        if not self._samples:
            self._samples.append(self._take_sample())
        return self._samples[0]

    def _take_sample(self) -> Sample:
        rows = self.rows[0][:SAMPLE]
        parts: list[tuple[Mapping[str, Array], Sequence[Array]]] = []
        if rows:
            arrays = self.inputs.read(rows)
            try:
                parts.append((arrays, self.source.run(arrays)))
            except WorkerFailed as error:
                raise SourceFailed(shorten(str(error))) from error
        if not rows or self.inputs.kind != "probes":
            arrays = self.probes(SAMPLE).read(range(SAMPLE))
            with contextlib.suppress(CallRaised):
                outputs = self.source.run(arrays)
                if all(np.isfinite(output).all() for output in outputs):
                    parts.append((arrays, outputs))
        if not parts:
            raise BadInput(
                f"{self.source.path} gives no finite output on probes. Pass real inputs with --inputs or --images."
            )
        joined = {name: np.concatenate([part[0][name] for part in parts]) for name in parts[0][0]}
        return Sample(joined, [np.concatenate(column) for column in zip(*[part[1] for part in parts], strict=True)])

    def quantising(self, mapping: Sequence[InputMapping]) -> Mapping[str, str]:
        """Calibration inputs as ``.npy`` files by the fed model's input names; none where there are only probes."""
        rows = self.rows[0][:QUANTISING]
        if self.inputs.kind == "probes" or not rows:
            return {}
        files = {}
        for name, array in apply_mapping(mapping, self.inputs.read(rows)).items():
            path = self.workers.scratch("calibration.npy")
            np.save(path, array)
            files[name] = str(path)
        return files

    def contract(self, target: Signature) -> str | None:
        """The Target's input contract as JSON text: the preprocessing that its verdict holds for."""
        if self.preprocess is None:
            return None
        image_input, spec = self.image_input(), target.inputs[0]
        used = self.target_preprocess or self.preprocess
        layout = _layout(spec, image_input)
        return json.dumps(
            contract(used, spec.name, image_input.height, image_input.width, image_input.channels, layout, spec.dtype),
            indent=1,
        )


def _layout(spec: TensorSpec, image_input: ImageInput) -> Layout:
    """The layout in which the Target takes the image; the Source's where its sizes do not tell."""
    if spec.shape is None or len(spec.shape) != 4:
        return image_input.layout
    sizes = spec.shape[1:]
    nhwc = all(
        a in (None, b)
        for a, b in zip(sizes, (image_input.height, image_input.width, image_input.channels), strict=True)
    )
    nchw = all(
        a in (None, b)
        for a, b in zip(sizes, (image_input.channels, image_input.height, image_input.width), strict=True)
    )
    return image_input.layout if nhwc == nchw else "nhwc" if nhwc else "nchw"
