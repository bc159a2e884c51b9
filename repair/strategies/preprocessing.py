"""PP, preprocessing by the deployment: the model is right, and its images are prepared in another way.

Two ways out: the deployment prepares as the Source does (its input contract says how), or the Target is changed so that
it takes what the deployment prepares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...checking.evaluation_set import ImageInput, Sample
from ...checking.verdict import Judgement, compare_rows
from ...comparison.acceptance import discrepancy_key, is_closer
from ...comparison.comparison import Comparison
from ...conversion.stage import ConvertedModel
from ...errors import BadInput, WorkerFailed
from ...formats import ONNX
from ...inputs.preprocess import Preprocess
from ...models.input_mapping import InputMapping, Mismatch, apply_mapping, map_inputs, sizes
from ...models.loaded_model import LoadedModel
from ...records import Diagnosis, Verdict
from ..acceptance import MAX_ROWS_COMPARED
from ..context import Findings, Proposal, RepairContext, RepairState, in_own_worker
from ..remote_functions import WRITE_PREPROCESSING

Array = np.ndarray[Any, Any]
NAME = "prepare images as the Source does"
EMBED_NAME = "build the deployment's preprocessing into the Target"
SETS = {
    "channel_order": ("channel_order",),
    "scaling": ("scale", "mean", "std"),
    "geometry": ("resize", "resize_ratio", "resize_size", "crop", "crop_size"),
    "interpolation": ("interpolation",),
}
"""Fields of a preprocessing that go together: correcting only one of a set makes no sense."""


@dataclass(frozen=True)
class Change:
    """What a Target must do to a deployment's values: ``value * factor + offset``, one number a channel.

    ``turn``: the order of the channels is reversed first.
    """

    turn: bool
    factor: tuple[float, ...]
    offset: tuple[float, ...]

    @property
    def words(self) -> str:
        steps = ["channels reversed"] if self.turn else []
        steps += [f"times {_few(self.factor)}"] if any(factor != 1 for factor in self.factor) else []
        steps += [f"plus {_few(self.offset)}"] if any(offset != 0 for offset in self.offset) else []
        return ", ".join(steps) or "nothing"

    def undone(self, array: Array, axis: int) -> Array:
        """Return the values that the change turns into these: a deployment's, computed from the Source's."""
        across = [-1 if i == axis else 1 for i in range(array.ndim)]
        values = (array.astype(np.float64) - np.reshape(self.offset, across)) / np.reshape(self.factor, across)
        return np.ascontiguousarray(np.flip(values, axis) if self.turn else values).astype(array.dtype)


def differing(right: Preprocess, deployed: Preprocess, image: ImageInput) -> dict[str, tuple[str, ...]]:
    """Return the sets of fields that prepare such an image in another way, each with the fields that differ."""
    sizes = image.height, image.width
    differing_sets = []
    if image.channels == 3 and right.channel_order != deployed.channel_order:
        differing_sets.append("channel_order")
    if image.dtype != "uint8" and not np.allclose(_per_colour(right, image), _per_colour(deployed, image), 1e-6, 1e-9):
        differing_sets.append("scaling")
    boxes = [None if each.resize == "none" else each.box(*sizes) for each in (right, deployed)]
    if (right.resize, right.crop, boxes[0]) != (deployed.resize, deployed.crop, boxes[1]):
        differing_sets.append("geometry")
    if right.interpolation != deployed.interpolation and None not in boxes:
        differing_sets.append("interpolation")
    return {
        name: tuple(field for field in SETS[name] if getattr(right, field) != getattr(deployed, field))
        for name in differing_sets
    }


def change(right: Preprocess, deployed: Preprocess, image: ImageInput) -> Change:
    """Return what makes the Source's values of the deployment's. Raises :class:`BadInput` where no model can."""
    sets = differing(right, deployed, image)
    if lost := [field for name in ("geometry", "interpolation") for field in sets.get(name, ())]:
        causes = [f"{field} {_value(deployed, field)} instead of {_value(right, field)}" for field in lost]
        raise BadInput(
            f"--embed-preprocessing cannot make up for {', '.join(causes)}: resizing is no part of a model's input.\n"
            "Let the deployment resize as the Source does, or leave --embed-preprocessing out."
        )
    is_channel_order_reversed = image.channels == 3 and right.channel_order != deployed.channel_order
    right_lines, deployed_lines = _lines(right, image.channels), _lines(deployed, image.channels)
    if is_channel_order_reversed:
        deployed_lines = deployed_lines[:, ::-1]  # in the order in which the model takes the channels
    # pixel * a0 + b0 from value = pixel * a1 + b1
    factor = right_lines[0] / deployed_lines[0]
    offset = right_lines[1] - deployed_lines[1] * factor
    factor = np.where(np.abs(factor - 1) < 1e-9, 1.0, factor)
    offset = np.where(np.abs(offset) < 1e-9, 0.0, offset)
    return Change(is_channel_order_reversed, tuple(factor.tolist()), tuple(offset.tolist()))


def hides_the_model(context: RepairContext, state: RepairState) -> bool:
    """The deployment prepares images in another way than the Source does, and the Target differs as deployed."""
    deployed, right = context.evaluation_set.deployment, context.evaluation_set.preprocess
    if right is None or deployed is None or not state.model_differs():
        return False
    return bool(differing(right, deployed, context.evaluation_set.image_input()))


def compare_alike(context: RepairContext, state: RepairState) -> Proposal:
    """Propose that the deployment prepares images as the Source does; whether that is all is decided at the end."""
    if context.options.embed_preprocessing:
        Deployment(context).change()  # raises BadInput at once for what no Target can make up for
    return Proposal(evaluation_set=context.evaluation_set)


def was_compared_alike(context: RepairContext, state: RepairState) -> bool:
    """The models were compared on images that are prepared alike, which the deployment does not."""
    return NAME in state.changed_by and state.stage is not None


def decide(context: RepairContext, state: RepairState) -> Proposal:
    """Propose what becomes of the deployment's preprocessing, now that the model itself was looked at."""
    stage, deployment = state.stage, Deployment(context)
    assert stage is not None
    is_changed = state.changed_by != (NAME,)
    judgement = context.judge(stage, context.deployed) if is_changed else state.first
    if judgement.compared is None:
        return Proposal(evaluation_set=context.deployed, judgement=judgement)
    percent = judgement.compared[0].percent
    if not state.is_good:
        diagnoses: tuple[Diagnosis, ...] = ()
        if is_closer(state.comparison, judgement.compared[0]):
            diagnoses = (deployment.diagnose(stage, percent, "the model must be right first", is_repaired=False),)
        return Proposal(evaluation_set=context.deployed, judgement=state.judgement, findings=Findings(diagnoses))
    if judgement.verdict is Verdict.VERIFIED:  # the Target was wrong, and what the deployment does is right
        return Proposal(evaluation_set=context.deployed, judgement=judgement)
    if context.options.no_repair:
        diagnosis = deployment.diagnose(stage, percent, is_repaired=False)
        return Proposal(evaluation_set=context.deployed, judgement=judgement, findings=Findings((diagnosis,)))
    if not context.options.embed_preprocessing:
        diagnosis = deployment.diagnose(stage, percent, is_repaired=True)
        return Proposal(findings=Findings((diagnosis,)))
    return _embed(context, deployment, stage, judgement)


def _embed(context: RepairContext, deployment: Deployment, stage: ConvertedModel, judgement: Judgement) -> Proposal:
    """Propose the Target so changed that it takes what the deployment prepares.

    ``judgement`` is that of the unchanged Target, as deployed.
    """
    percent = None if judgement.compared is None else judgement.compared[0].percent
    changed = deployment.embedded(stage)
    if changed is None:
        reason = f"no converter gives the Target back as {stage.format} with the preprocessing built in"
        findings = Findings((deployment.diagnose(stage, percent, reason, is_repaired=False),), reasons=(reason,))
        return Proposal(evaluation_set=context.deployed, judgement=judgement, findings=findings)
    words = f"built into the Target: {deployment.change().words}"
    diagnosis = deployment.diagnose(stage, percent, words)
    return Proposal(changed, context.deployed, findings=Findings((diagnosis,)))


class Deployment:
    """The deployment's preprocessing of images beside the Source's, for one Target."""

    def __init__(self, context: RepairContext) -> None:
        self.context, self.evaluation_set = context, context.evaluation_set
        assert self.evaluation_set.preprocess is not None
        assert self.evaluation_set.deployment is not None
        self.right, self.deployed = self.evaluation_set.preprocess, self.evaluation_set.deployment
        self.image = self.evaluation_set.image_input()

    def diagnose(
        self, stage: ConvertedModel, percent: float | None, words: str = "", *, is_repaired: bool | None = None
    ) -> Diagnosis:
        """Describe the fault of the deployment; ``stage`` is a Target that is right in itself."""
        sets = differing(self.right, self.deployed, self.image)
        alone = self._corrected_alone(stage, sets)
        order = sorted(sets, key=lambda name: discrepancy_key(alone[name]) if name in alone else (0.0, 0, 0, 0.0))
        fields = {
            field: {"deployed": _value(self.deployed, field), "source": _value(self.right, field)}
            for name in order
            for field in sets[name]
        }
        percents = {", ".join(sets[name]): alone[name].percent for name in order if name in alone}
        corrections = [f"{field} {both['source']} instead of {both['deployed']}" for field, both in fields.items()]
        return Diagnosis(
            type="PP",
            hop=f"{self.evaluation_set.source.format}->{stage.format}",
            source_node=", ".join(spec.name for spec in self.evaluation_set.source.signature.inputs),
            target_node=", ".join(spec.name for spec in stage.model.signature.inputs),
            evidence={
                "differs": fields,
                "matters_first": list(sets[order[0]]) if order else [],
                "percent_if_corrected_alone": percents,
            },
            repair=words or f"the deployment prepares images as the Source does: {', '.join(corrections)}",
            percent_before=percent,
            is_repaired=is_repaired,
        )

    def _corrected_alone(self, stage: ConvertedModel, sets: Mapping[str, Sequence[str]]) -> dict[str, Comparison]:
        """The comparison with each set of fields corrected alone, where there are several."""
        if len(sets) < 2:
            return {}
        comparisons = {}
        for name in sets:
            corrected = {field: getattr(self.right, field) for field in SETS[name]}
            try:
                mixed = self.evaluation_set.with_target_preprocess(replace(self.deployed, **corrected))
            except BadInput:
                continue
            rows = mixed.rows[0][:MAX_ROWS_COMPARED]
            comparisons[name] = compare_rows(mixed, stage.model, stage.mapping, rows, "comparing a repair")
        return comparisons

    def change(self) -> Change:
        """Return what the Target must make of the deployment's values. Raises :class:`BadInput` where it cannot."""
        return change(self.right, self.deployed, self.image)

    def embedded(self, stage: ConvertedModel) -> ConvertedModel | None:
        """Return the Target with the change at its input, in its own format; None where no converter gives it back."""
        change = self.change()
        stage = in_own_worker(stage)
        context = replace(self.context, target=stage.model)
        dtype = stage.mapping[0].target.dtype
        if not dtype.startswith("float"):
            raise BadInput(
                f"--embed-preprocessing needs a Target that takes floats; {stage.model.path.name} takes {dtype}.\n"
                "Let the deployment prepare images as the Source does, or give a float Target."
            )
        sample = self.evaluation_set.sample()
        arrays = apply_mapping(stage.mapping, sample.arrays)
        view = context.view_of(stage.model, sizes(stage.mapping, context.shapes), arrays)
        if view is None:
            return None
        axis = self._channel_axis(stage.mapping)
        view_axis = axis if view.mapping[0].axes is None else view.mapping[0].axes.index(axis)
        path = context.workers.scratch("prepared.onnx")
        context.observer.say(f"building the deployment's preprocessing into {stage.model.path.name}")
        try:
            WRITE_PREPROCESSING(
                context.workers.worker("onnx_tflite", "onnx_tflite"),
                None,
                path=str(view.path),
                target=str(path),
                input_name=view.mapping[0].target.name,
                channel_axis=view_axis,
                reverse_channels=change.turn,
                factor=list(change.factor),
                offset=list(change.offset),
            )
            model = LoadedModel(context.workers, "onnx_tflite", ONNX.written_at(path))
            model.worker()
        except WorkerFailed:
            return None
        if isinstance(map_inputs(self.evaluation_set.source.signature, context.shapes, model.signature), Mismatch):
            return None
        axis = 1 if self.image.layout == "nchw" else 3
        deployed = {name: change.undone(array, axis) for name, array in sample.arrays.items()}
        return context.convert_back(model, Sample(deployed, sample.outputs))

    def _channel_axis(self, mapping: Sequence[InputMapping]) -> int:
        """The axis of the channels in the Target's input."""
        axis = 1 if self.image.layout == "nchw" else 3
        return axis if mapping[0].axes is None else mapping[0].axes.index(axis)


def _lines(preprocess: Preprocess, channels: int) -> Array:
    """Factor and offset of each channel, in the preprocessing's own order: value = pixel * factor + offset."""
    std, mean = (np.broadcast_to(np.asarray(x, np.float64), (channels,)) for x in (preprocess.std, preprocess.mean))
    return np.stack([preprocess.scale / std, -mean / std])


def _per_colour(preprocess: Preprocess, image: ImageInput) -> Array:
    """``_lines`` in the order red, green, blue."""
    lines = _lines(preprocess, image.channels)
    return lines[:, ::-1] if preprocess.channel_order == "bgr" and image.channels == 3 else lines


def _value(preprocess: Preprocess, field: str) -> Any:
    value = getattr(preprocess, field)
    return list(value) if isinstance(value, tuple) else value


def _few(numbers: Sequence[float]) -> str:
    return f"{numbers[0]:.6g}" if len(set(numbers)) == 1 else "[" + ", ".join(f"{n:.6g}" for n in numbers) + "]"
