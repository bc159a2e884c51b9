"""PP, preprocessing by the pipeline: the model is right, and the deployment prepares its images another way.

Two ways out: the deployment prepares as the Source does (its input contract says how), or the Target is changed so that
it takes what the deployment prepares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...checking.evaluation_set import ImageInput, Sample
from ...checking.verdict import compare_rows
from ...comparison.acceptance import discrepancy_key
from ...comparison.compare import Comparison
from ...conversion.stage import ConvertedModel
from ...errors import BadInput, WorkerFailed
from ...formats import ONNX
from ...inputs.preprocess import Preprocess
from ...models.input_mapping import InputMapping, Mismatch, apply_mapping, map_inputs, sizes
from ...models.loaded import LoadedModel
from ...records import Fault
from ..acceptance import MAX_ROWS_COMPARED
from ..remote_functions import WRITE_PREPROCESSING
from .view_edits import Repairer, apart

Array = np.ndarray[Any, Any]
SETS = {
    "channel_order": ("channel_order",),
    "scaling": ("scale", "mean", "std"),
    "geometry": ("resize", "resize_ratio", "resize_size", "crop", "crop_size"),
    "interpolation": ("interpolation",),
}
"""Fields of a preprocessing that go together: to correct one of a set alone makes no sense."""


@dataclass(frozen=True)
class Change:
    """``value * factor + offset`` of the channels, turned round first where ``turn`` says so; one number a channel."""

    turn: bool
    factor: tuple[float, ...]
    offset: tuple[float, ...]

    @property
    def words(self) -> str:
        said = ["channels turned round"] if self.turn else []
        said += [f"times {_few(self.factor)}"] if any(one != 1 for one in self.factor) else []
        said += [f"plus {_few(self.offset)}"] if any(one != 0 for one in self.offset) else []
        return ", ".join(said) or "nothing"

    def undone(self, array: Array, axis: int) -> Array:
        """Values from which the change makes these: a deployment's from the Source's."""
        across = [-1 if i == axis else 1 for i in range(array.ndim)]
        values = (array.astype(np.float64) - np.reshape(self.offset, across)) / np.reshape(self.factor, across)
        return np.ascontiguousarray(np.flip(values, axis) if self.turn else values).astype(array.dtype)


def differing(right: Preprocess, deployed: Preprocess, one: ImageInput) -> dict[str, tuple[str, ...]]:
    """The sets of fields that prepare such an image otherwise, each with those of its fields that are not the same."""
    sizes = one.height, one.width
    found = []
    if one.channels == 3 and right.channel_order != deployed.channel_order:
        found.append("channel_order")
    if one.dtype != "uint8" and not np.allclose(_per_colour(right, one), _per_colour(deployed, one), 1e-6, 1e-9):
        found.append("scaling")
    boxes = [None if each.resize == "none" else each.box(*sizes) for each in (right, deployed)]
    if (right.resize, right.crop, boxes[0]) != (deployed.resize, deployed.crop, boxes[1]):
        found.append("geometry")
    if right.interpolation != deployed.interpolation and None not in boxes:
        found.append("interpolation")
    return {
        name: tuple(field for field in SETS[name] if getattr(right, field) != getattr(deployed, field))
        for name in found
    }


def change(right: Preprocess, deployed: Preprocess, one: ImageInput) -> Change:
    """What makes the Source's values of the deployment's. Raises :class:`BadInput` where nothing in a model can."""
    sets = differing(right, deployed, one)
    if lost := [field for name in ("geometry", "interpolation") for field in sets.get(name, ())]:
        said = [f"{field} {_value(deployed, field)} instead of {_value(right, field)}" for field in lost]
        raise BadInput(
            f"--embed-preprocessing cannot make up for {', '.join(said)}: resizing is no part of a model's input.\n"
            "Let the deployment resize as the Source does, or leave --embed-preprocessing out."
        )
    turn = one.channels == 3 and right.channel_order != deployed.channel_order
    ours, theirs = _lines(right, one.channels), _lines(deployed, one.channels)
    if turn:
        theirs = theirs[:, ::-1]  # in the order in which the model takes the channels
    # pixel * a0 + b0 from value = pixel * a1 + b1
    factor = ours[0] / theirs[0]
    offset = ours[1] - theirs[1] * factor
    factor = np.where(np.abs(factor - 1) < 1e-9, 1.0, factor)
    offset = np.where(np.abs(offset) < 1e-9, 0.0, offset)
    return Change(turn, tuple(factor.tolist()), tuple(offset.tolist()))


class Pipeline:
    """The deployment's preparing of images, held against the Source's, for one Target."""

    def __init__(self, repairer: Repairer) -> None:
        self.repairer, self.evaluation_set = repairer, repairer.evaluation_set
        assert self.evaluation_set.preprocess is not None
        assert self.evaluation_set.deployment is not None
        self.right, self.deployed = self.evaluation_set.preprocess, self.evaluation_set.deployment
        self.one = self.evaluation_set.image_input()

    def fault(self, stage: ConvertedModel, percent: float | None, status: str, words: str = "") -> Fault:
        """The fault of a deployment; ``stage`` is the Target to look at, right in itself."""
        sets = differing(self.right, self.deployed, self.one)
        alone = self._alone(stage, sets)
        order = sorted(sets, key=lambda name: discrepancy_key(alone[name]) if name in alone else (0.0, 0, 0, 0.0))
        fields = {
            field: {"deployed": _value(self.deployed, field), "source": _value(self.right, field)}
            for name in order
            for field in sets[name]
        }
        evidence = {
            "differs": fields,
            "matters_first": list(sets[order[0]]) if order else [],
            "percent_if_corrected_alone": {
                ", ".join(sets[name]): one.percent for name in order if (one := alone.get(name)) is not None
            },
        }
        said = [f"{field} {both['source']} instead of {both['deployed']}" for field, both in fields.items()]
        names = [spec.name for spec in self.evaluation_set.source.signature.inputs]
        return Fault(
            "PP",
            f"{self.evaluation_set.source.format}->{stage.format}",
            ", ".join(names),
            ", ".join(spec.name for spec in stage.side.signature.inputs),
            evidence,
            status,
            percent,
            None,
            words or f"the deployment prepares images as the Source does: {', '.join(said)}",
        )

    def _alone(self, stage: ConvertedModel, sets: Mapping[str, Sequence[str]]) -> dict[str, Comparison]:
        """The comparison with each set of fields corrected alone, where there are several."""
        if len(sets) < 2:
            return {}
        found = {}
        for name in sets:
            mixed = {field: getattr(self.right, field) for field in SETS[name]}
            try:
                partly_corrected = self.evaluation_set.with_target_preprocess(replace(self.deployed, **mixed))
            except BadInput:
                continue
            rows = partly_corrected.rows[0][:MAX_ROWS_COMPARED]
            found[name] = compare_rows(partly_corrected, stage.side, stage.mapping, rows, "comparing a repair")
        return found

    def change(self) -> Change:
        """What the Target must make of the deployment's values. Raises :class:`BadInput` where it cannot."""
        return change(self.right, self.deployed, self.one)

    def embedded(self, stage: ConvertedModel) -> ConvertedModel | None:
        """The Target with the change at its input, in its own format; None where no converter gives it back."""
        made = self.change()
        stage = apart(stage)
        repairer = replace(self.repairer, target=stage.side)
        dtype = stage.mapping[0].target.dtype
        if not dtype.startswith("float"):
            raise BadInput(
                f"--embed-preprocessing needs a Target that takes floats; {stage.side.path.name} takes {dtype}.\n"
                "Let the deployment prepare images as the Source does, or give a float Target."
            )
        sample = self.evaluation_set.sample()
        arrays = apply_mapping(stage.mapping, sample.arrays)
        view = repairer.view_of(stage.side, sizes(stage.mapping, repairer.shapes), arrays)
        if view is None:
            return None
        axis = self.channels(stage.mapping)
        inner = axis if view.mapping[0].axes is None else view.mapping[0].axes.index(axis)
        path = repairer.workers.scratch("prepared.onnx")
        repairer.observer.say(f"building the deployment's preprocessing into {stage.side.path.name}")
        try:
            WRITE_PREPROCESSING(
                repairer.workers.worker("onnx_tflite", "onnx_tflite"),
                None,
                path=str(view.path),
                target=str(path),
                input_name=view.mapping[0].target.name,
                channel_axis=inner,
                reverse_channels=made.turn,
                factor=list(made.factor),
                offset=list(made.offset),
            )
            side = LoadedModel(repairer.workers, "onnx_tflite", ONNX.written_at(path))
            side.worker()
        except WorkerFailed:
            return None
        planned = map_inputs(self.evaluation_set.source.signature, repairer.shapes, side.signature)
        if isinstance(planned, Mismatch):
            return None
        axis = 1 if self.one.layout == "nchw" else 3
        deployed = {name: made.undone(array, axis) for name, array in sample.arrays.items()}
        return repairer.back(side, Sample(deployed, sample.outputs))

    def channels(self, mapping: Sequence[InputMapping]) -> int:
        """The axis of the channels in the Target's input."""
        axis = 1 if self.one.layout == "nchw" else 3
        return axis if mapping[0].axes is None else mapping[0].axes.index(axis)


def _lines(one: Preprocess, channels: int) -> Array:
    """Factor and offset of each channel, in the preprocessing's own order: value = pixel * factor + offset."""
    std, mean = (np.broadcast_to(np.asarray(x, np.float64), (channels,)) for x in (one.std, one.mean))
    return np.stack([one.scale / std, -mean / std])


def _per_colour(one: Preprocess, image: ImageInput) -> Array:
    """``_lines`` in the order red, green, blue."""
    lines = _lines(one, image.channels)
    return lines[:, ::-1] if one.channel_order == "bgr" and image.channels == 3 else lines


def _value(one: Preprocess, field: str) -> Any:
    value = getattr(one, field)
    return list(value) if isinstance(value, tuple) else value


def _few(numbers: Sequence[float]) -> str:
    return f"{numbers[0]:.6g}" if len(set(numbers)) == 1 else "[" + ", ".join(f"{n:.6g}" for n in numbers) + "]"
