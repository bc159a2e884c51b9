"""ID, input dimensions: a Target whose input does not take what the Source takes.

Where other sizes are all that it needs, they are declared in its own file (``runtimes/*/input_shapes.py``). Otherwise
its ONNX view is given the Source's sizes in each possible way (``repair/graph/input_shapes.py``); its outputs then
show which way is right.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...checking.evaluation_set import Sample
from ...comparison.compare import all_rows_differ
from ...conversion.stage import ConvertedModel
from ...errors import BadInput, WorkerFailed
from ...formats import ONNX, Format, ModelFile
from ...inputs.base import ProbeInputs
from ...models.input_mapping import TO_NCHW, TO_NHWC, Mismatch, apply_mapping, layout_of, map_inputs, to_other_layout
from ...models.loaded import LoadedModel
from ...records import Fault, TensorSpec
from ..acceptance import Candidate, Gate
from ..graph.input_change import InputChange
from ..native_format.names import renamings
from ..remote_functions import WRITE_INPUT_SHAPES
from .view_edits import Outcome, Repairer

Shape = tuple[int | None, ...]
PLAIN = (0, 1, 2, 3)
SEEN = 4  # probes on which the view of a Target is held against it
WAYS = 12  # ways tried, at most


@dataclass(frozen=True)
class Way:
    """One way to give an input the Source's sizes: ``declared``, batch first; ``axes`` turn it into what the model
    takes, ``squeezed`` takes its batch away. With neither, the model itself is to work on the sizes declared."""

    declared: Shape
    axes: tuple[int, ...] | None = None
    squeezed: bool = False

    @property
    def words(self) -> str:
        sizes = list(self.declared[1:])
        if self.squeezed:
            return f"a batch declared before {sizes}"
        return f"{sizes} declared" + (
            "" if self.axes is None else f", and turned by {list(self.axes)} behind the input"
        )


def ways(source: Shape, theirs: Format, spec: TensorSpec, ours: Format) -> Iterator[Way]:
    """How a Target's input ``spec`` may come to take the Source's sizes, likeliest first; ``theirs`` and ``ours`` are
    the formats of Source and Target, whose customs decide where sizes do not tell the layout."""
    shape = spec.shape or ()
    batch = shape[0] if len(shape) == len(source) else None
    if len(shape) == len(source) - 1:
        for sizes in _layouts(source, theirs, None):
            if _fit(sizes[1:], shape):
                yield Way((1, *sizes[1:]), squeezed=True)
        return
    if len(shape) != len(source):
        return
    if len(source) != 4:
        yield Way((batch, *source[1:]))
        return
    axis = 1 if layout_of(shape, ours) == "nchw" else 3
    layouts = _layouts(source, theirs, axis)
    turned = list(itertools.permutations((1, 2, 3)))
    turned.sort(key=lambda perm: perm[axis - 1] != axis)  # the channels stay where they are, if that will do
    for perm in turned:
        if perm != (1, 2, 3) and _fit([layouts[0][a] for a in perm], shape[1:]):
            yield Way((batch, *layouts[0][1:]), (0, *perm))
    for sizes in layouts:
        if shape[axis] in (None, sizes[axis]):
            yield Way((batch, *sizes[1:]))


def _layouts(shape: Shape, format: Format, axis: int | None) -> list[Shape]:
    """The shape as NCHW and as NHWC, first that with the channels at ``axis`` (None: as it is)."""
    if len(shape) != 4:
        return [shape]
    own = 1 if layout_of(shape, format) == "nchw" else 3
    other = TO_NHWC if own == 1 else TO_NCHW
    both = [(own, shape), (4 - own, tuple(shape[a] for a in other))]
    return [one for _, one in (both if axis in (None, own) else both[::-1])]


def _fit(sizes: Sequence[int | None], wanted: Sequence[int | None]) -> bool:
    return len(sizes) == len(wanted) and all(
        a is None or b is None or a == b for a, b in zip(sizes, wanted, strict=True)
    )


class Dimensions:
    """A Target beside a Source whose inputs it does not take."""

    def __init__(self, repairer: Repairer) -> None:
        self.repairer, self.source, self.target = repairer, repairer.source, repairer.target
        self.shapes = repairer.shapes
        self.words = ""
        self.turned: dict[str, tuple[int, ...]] = {}  # by the Target's inputs, where its view was changed

    def other(self) -> list[tuple[TensorSpec, TensorSpec]]:
        """The inputs that do not fit, the Source's and the Target's."""
        source, target = self.source.signature.inputs, self.target.signature.inputs
        if len(source) != len(target):
            return []
        names = {one.name: one for one in source}
        by_name = set(names) == {one.name for one in target}
        pairs = [(names[two.name] if by_name else one, two) for one, two in zip(source, target, strict=True)]
        shapes = {name: tuple(shape) for name, shape in self.shapes.items()}
        return [(one, two) for one, two in pairs if two.shape is not None and not self._takes(shapes[one.name], two)]

    def _takes(self, shape: Shape, spec: TensorSpec) -> bool:
        layouts = [shape] if len(shape) != 4 else [tuple(shape[a] for a in p) for p in (PLAIN, *to_other_layout(shape))]
        return any(_fit(one[1:], (spec.shape or ())[1:]) and len(one) == len(spec.shape or ()) for one in layouts)

    def faults(self, status: str) -> list[Fault]:
        return [
            Fault(
                "ID",
                f"{self.source.format}->{self.target.format}",
                one.name,
                two.name,
                {
                    "source_shape": list(self.shapes[one.name]),
                    "target_shape": None if two.shape is None else list(two.shape),
                },
                status,
                100.0,  # it does not run on these inputs
                None,
                self.words or "no repair was found",
            )
            for one, two in self.other()
        ]

    def redimensioned(self) -> tuple[ConvertedModel | None, str]:
        """The Target with the Source's sizes at its inputs, in its own format; or why there is none."""
        repairer = self.repairer
        pairs = self.other()
        if not pairs:
            return None, "the Target takes another number of inputs"
        if (stage := self._natively(pairs)) is not None:
            return stage, ""
        try:
            path, specs = self._view()
        except (BadInput, WorkerFailed) as error:
            return None, f"{self.target.path.name} does not run on inputs of its own: {error}"
        if path is None:
            return None, f"no converter gives an ONNX view that agrees with {self.target.path.name}"
        repairer.observer.say("looking for the input's right dimensions")
        chosen_by_model: dict[Path, dict[str, Way]] = {}
        best = self.gate().closest(self._candidates(path, pairs, specs, chosen_by_model))
        if best is None:
            return None, "the Target cannot run on inputs of the Source's dimensions"
        side, self.words = best.candidate.model, best.candidate.words
        chosen = chosen_by_model[side.path]
        if all(way.axes is not None for way in chosen.values()):
            own = {spec.name: name for name, spec in specs.items()}
            self.turned = {own[name]: way.axes for name, way in chosen.items() if way.axes is not None}
        return self._back(side), f"no converter gives the repaired model back as {self.target.format}"

    def gate(self) -> Gate:
        mismatch = map_inputs(self.source.signature, self.shapes, self.target.signature)
        assert isinstance(mismatch, Mismatch)
        count = len(self.repairer.evaluation_set.rows[0])
        return self.repairer.gate((), all_rows_differ(count, mismatch.reason))

    def _natively(self, pairs: Sequence[tuple[TensorSpec, TensorSpec]]) -> ConvertedModel | None:
        """The Target's own file with other sizes declared, where no axes need turning and it runs on them."""
        format, repairer = self.target.format, self.repairer
        several = [list(ways(tuple(self.shapes[a.name]), self.source.format, b, format)) for a, b in pairs]
        change = format.runtime.change_input_shapes
        if change is None or any(way.axes or way.squeezed for found in several for way in found):
            return None
        gate = self.gate()
        for chosen in itertools.islice(itertools.product(*several), WAYS):
            shapes = {two.name: list(way.declared) for (_, two), way in zip(pairs, chosen, strict=True)}
            target = repairer.workers.scratch("model" + format.suffix)
            worker, path = self.target.worker(), self.target.location
            try:
                flavour = change(worker, None, path=path, target=str(target), shapes=shapes)
            except WorkerFailed:
                continue
            words = "; ".join(way.words for way in chosen)
            model = LoadedModel(repairer.workers, "mended", ModelFile(target, format, flavour))
            decision = gate.consider(Candidate(model, words=words))
            if decision.is_accepted:  # whatever else is wrong with it
                self.words = words
                return decision.stage
        return None

    def in_own_names(self, outcome: Outcome, stage: ConvertedModel) -> Outcome:
        """What was found in the Target as it came back from its view, by the names that its layers had before."""
        if not self.turned or self.target.format.is_view or not outcome.faults:
            return outcome
        evaluation_set = self.repairer.evaluation_set
        given = apply_mapping(stage.mapping, evaluation_set.inputs.read(tuple(evaluation_set.rows[0][:1])))
        pairs = zip(self.target.signature.inputs, stage.side.signature.inputs, strict=True)
        own = {
            mine.name: np.transpose(given[theirs.name], self.turned.get(mine.name) or range(given[theirs.name].ndim))
            for mine, theirs in pairs
        }
        try:
            names = renamings(self.repairer.workers, self.target, own, stage.side, given)
        except WorkerFailed:
            return outcome
        found = [replace(one, target_node=names.get(one.target_node, one.target_node)) for one in outcome.faults]
        looked = outcome.localisation
        if looked is not None:
            ranking = tuple((source, names.get(target, target), score) for source, target, score in looked.ranking)
            looked = replace(looked, ranking=ranking)
        return replace(outcome, faults=tuple(found), localisation=looked)

    def _view(self) -> tuple[Path | None, dict[str, TensorSpec]]:
        """A view that agrees with the Target on probes of its own sizes; the view's inputs by the Target's names."""
        own = self.target.signature.inputs
        if self.target.format.is_view:
            return Path(self.target.location), {one.name: one for one in own}
        probes = ProbeInputs.make(own, self.repairer.options.seed, SEEN).read(range(SEEN))
        view = self.repairer.view_of(self.target, {one.name: one.shape or () for one in own}, probes)
        return (None, {}) if view is None else (view.path, {one.source: one.target for one in view.mapping})

    def _all(
        self, pairs: Sequence[tuple[TensorSpec, TensorSpec]], specs: dict[str, TensorSpec]
    ) -> Iterator[tuple[dict[str, Way], bool]]:
        """Ways for all inputs at once, by the view's names, and whether pads follow."""
        several = []
        for one, two in pairs:
            custom = ONNX if specs[two.name].shape != two.shape else self.target.format
            found = ways(tuple(self.shapes[one.name]), self.source.format, specs[two.name], custom)
            several.append([(specs[two.name].name, way) for way in found])
        for chosen in itertools.islice(itertools.product(*several), WAYS):
            plain = all(way.axes is None and not way.squeezed for _, way in chosen)
            for same in (False, True) if plain else (False,):
                yield dict(chosen), same

    def _candidates(
        self,
        path: Path,
        pairs: Sequence[tuple[TensorSpec, TensorSpec]],
        specs: dict[str, TensorSpec],
        chosen_by_model: dict[Path, dict[str, Way]],
    ) -> Iterator[Candidate]:
        """The Target's view with the Source's sizes at its inputs, in each way; notes which way gave which model."""
        for inputs, same in self._all(pairs, specs):
            candidate = self._candidate(path, inputs, same=same)
            if candidate is not None:
                chosen_by_model[candidate.model.path] = inputs
                yield candidate

    def _candidate(self, path: Path, inputs: dict[str, Way], *, same: bool) -> Candidate | None:
        repairer = self.repairer
        written = repairer.workers.scratch("model.onnx")
        changes = {name: InputChange(way.declared, way.axes, way.squeezed) for name, way in inputs.items()}
        worker = repairer.workers.worker("onnx_tflite", "onnx_tflite")
        try:
            undone = WRITE_INPUT_SHAPES(worker, None, path=str(path), target=str(written), inputs=changes, same=same)
        except WorkerFailed:
            return None
        model = LoadedModel(repairer.workers, "onnx_tflite", ONNX.written_at(written))
        return Candidate(model, words="; ".join(way.words for way in inputs.values()), preference=0 if undone else 1)

    def _back(self, side: LoadedModel) -> ConvertedModel | None:
        """In the Target's format, whatever else may be wrong with it."""
        sample = self.repairer.evaluation_set.sample()
        planned = map_inputs(self.source.signature, self.shapes, side.signature)
        assert not isinstance(planned, Mismatch)
        return self.repairer.back(side, Sample(sample.arrays, side.run(apply_mapping(planned, sample.arrays))))
