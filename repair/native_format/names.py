"""What a person knows a view's node by: the layer, module or tensor of the model in its own format."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ...errors import WorkerFailed
from ...formats import Format
from ...models.loaded_model import LoadedModel
from ...runtimes.tensor_layout import moves
from ...runtimes.trace_store import TraceRecord
from ...workers.pool import WorkerPool
from ...workers.runtime_functions import LAYER_NAMES
from ..localization.finding import FaultSummary
from ..located_target import LocatedTarget
from ..remote_functions import MATCH_BY_CONTENT, TRACE_VIEW

Array = np.ndarray[Any, Any]
BACK = 4  # operators between a convolution and the end of what a view folds into it

SCOPES = "pkg.torch.onnx.name_scopes"
"""Metadata that torch.onnx leaves on a node: the modules around it, from the outermost to itself."""


@dataclass(frozen=True)
class Blame:
    """What decides which native operator is to blame for a fault of the view: the fields of ``FaultSummary``."""

    type: str
    op_type: str
    setting_names: tuple[str, ...] = ()
    has_scaled_channels_only: bool = True

    @classmethod
    def of(cls, fault: FaultSummary) -> Blame:
        return cls(fault.type, fault.op_type, fault.setting_names, fault.has_scaled_channels_only)


class ViewNode(Protocol):
    """A located node of the Target's view: a fault's, or a layer's that is ranked."""

    @property
    def target_node(self) -> str: ...
    @property
    def target_tensor(self) -> str: ...
    @property
    def metadata(self) -> Mapping[str, str]: ...


def layer_names(model: LoadedModel) -> frozenset[str]:
    """The names of a Keras model's layers; empty for other formats, whose names need no list."""
    if model.format.layer_naming != "layer scopes":
        return frozenset()
    try:
        return frozenset(LAYER_NAMES(model.worker(), None, path=model.location))
    except WorkerFailed:
        return frozenset()


def traced(
    workers: WorkerPool,
    model: LoadedModel,
    role: str,
    arrays: Mapping[str, Array],
    blames: Sequence[Blame],
    located: LocatedTarget,
    tensors: Sequence[str] | None = None,
    changed: Collection[str] = (),
) -> list[TraceRecord | None]:
    """Find the native operator of each located fault: a record of its trace.

    It is found by content: the native tensor that holds what the view's node computes for ``arrays`` (one input).
    ``role`` is "source" or "target". An ONNX model is its own view and needs none; None stands where nothing was found.
    ``blames`` has an entry for each fault, or for each of ``tensors``, which are other tensors of the view. ``changed``
    are the layers that are known to hold other weights than they should.
    """
    if model.format.is_view:
        return [None] * len(blames)
    try:
        store, records = trace(workers, model, arrays)
        indices = located.native_records(role, store, records, tensors)
    except WorkerFailed:
        return [None] * len(blames)
    makers = {record.tensor: record for record in records}
    operators: list[TraceRecord | None] = []
    for index, blame in zip(indices, blames, strict=True):
        if index is None:
            operators.append(None)
        elif role == "target" and blame.type == "TSS":
            operators.append(_mover(records[index], makers))
        else:
            operators.append(_meant(records[index], makers, blame, changed))
    return operators


def trace(
    workers: WorkerPool, model: LoadedModel, arrays: Mapping[str, Array], *, with_integers: bool = False
) -> tuple[str, list[TraceRecord]]:
    """Store the model's own activations on ``arrays``; return the store and a record for each.

    ``with_integers`` keeps whole numbers and truth values too; an ONNX model's trace has none.
    """
    store = str(workers.scratch("trace.npz"))
    arguments: dict[str, Any] = {"path": model.location, "arrays": dict(arrays), "store": store}
    run_trace = model.format.runtime.trace
    if run_trace is None:  # an ONNX graph, which repair runs node by node
        return store, TRACE_VIEW(workers.worker("onnx_tflite", "onnx_tflite"), None, **arguments)
    return store, run_trace(model.worker(), None, **arguments, with_integers=with_integers)


def origins(
    workers: WorkerPool,
    source: LoadedModel,
    arrays: Mapping[str, Array],
    target: LoadedModel,
    target_arrays: Mapping[str, Array],
) -> dict[str, str]:
    """Name the Source's operator behind each of the Target's tensors, by the tensor's name in the Target's trace.

    Tensors are matched by their values on one input: ``arrays`` for the Source, ``target_arrays`` for the Target. Where
    one operator of the Target stands for several of the Source, it is named after the Source's convolution, if any.
    """
    source_trace, target_trace = trace(workers, source, arrays), trace(workers, target, target_arrays)
    light = workers.worker("onnx_tflite", "onnx_tflite")
    matches = MATCH_BY_CONTENT(light, None, source=source_trace, target=target_trace)
    makers = {record.tensor: record for record in source_trace[1]}
    operators = {record.tensor: record.operator for record in target_trace[1]}
    named = {}
    for tensor, origin in matches.items():
        kind = "Conv" if "CONV" in operators[tensor].upper() else ""
        rounded = Blame(
            "WB", kind, has_scaled_channels_only=False
        )  # a convolution's, not the normalisation's behind it
        named[tensor] = display_name(source.format, _meant(makers[origin], makers, rounded))
    return named


def renamings(
    workers: WorkerPool,
    model: LoadedModel,
    arrays: Mapping[str, Array],
    reconvert: LoadedModel,
    reconvert_arrays: Mapping[str, Array],
) -> dict[str, str]:
    """What a model calls the layers of one that was made of it, matched by content on one input as each takes it.

    Where several hold the same content, it is the one that does the same to it.
    """
    first, second = trace(workers, model, arrays), trace(workers, reconvert, reconvert_arrays)
    light = workers.worker("onnx_tflite", "onnx_tflite")
    matches = MATCH_BY_CONTENT(light, None, source=first, target=second)
    makers = {record.tensor: record for record in first[1]}
    return {
        display_name(reconvert.format, record): display_name(model.format, makers[matches[record.tensor]])
        for record in second[1]
        if record.tensor in matches
    }


def _meant(
    record: TraceRecord, makers: Mapping[str, TraceRecord], blame: Blame, changed: Collection[str] = ()
) -> TraceRecord:
    """The operator to blame: a view folds batch normalisations into the convolutions before them.

    Weights of which each channel is only scaled are the normalisation's fault, all else is the convolution's.
    """
    if blame.type == "LH" and (not blame.setting_names or "pads" in blame.setting_names):
        before = [makers[name] for name in record.inputs if name in makers]
        if any("pad" in operator.operator.lower() for operator in before):  # exporters fold a Pad into what reads it
            return next(operator for operator in before if "pad" in operator.operator.lower())
    if blame.type == "WB" and (nearest := _nearest(record, makers, lambda operator: operator.layer in changed)):
        return nearest
    if blame.op_type != "Conv":
        return record
    if blame.type == "WB" and blame.has_scaled_channels_only:
        return record
    return _nearest(record, makers, lambda operator: "conv" in operator.operator.lower()) or record


def _mover(record: TraceRecord, makers: Mapping[str, TraceRecord]) -> TraceRecord:
    """The operator that moves values, nearest before this one: exporters push transposes through what follows them."""
    return _nearest(record, makers, lambda operator: moves(operator.operator)) or record


def _nearest(
    record: TraceRecord, makers: Mapping[str, TraceRecord], is_wanted: Callable[[TraceRecord], bool]
) -> TraceRecord | None:
    """The first operator that is meant, from this one back; None where none is near."""
    front = [record]
    for _ in range(BACK):
        if match := next((candidate for candidate in front if is_wanted(candidate)), None):
            return match
        front = [makers[name] for candidate in front for name in candidate.inputs if name in makers]
    return None


def display_name(format: Format, record: TraceRecord) -> str:
    """What to call a native operator: its layer where layers are what a person knows, else its own name."""
    if format.is_named_by_layer:
        return record.layer or record.node
    return record.node


def native_name(format: Format, node: ViewNode, layers: Collection[str]) -> str:
    """The native name of a located node, or the view's own where the exporter left no trace of it."""
    name = node.target_node
    match format.layer_naming:
        case "tensor":
            return node.target_tensor or name
        case "layer scopes":
            return _layer(name, layers) or _layer(node.target_tensor, layers) or name
        case "graph scopes":
            return name.removeprefix("StatefulPartitionedCall/")
        case "module scopes":
            return _module(node.metadata.get(SCOPES, "")) or name
        case "node":
            return name


def _layer(name: str, layers: Collection[str]) -> str:
    """The innermost layer in a name like ``model_1/block_1/conv_1/Conv2D``: Keras numbers scopes as it enters them."""
    for part in reversed(name.split("/")):
        for candidate in (part, re.sub(r"_\d+$", "", part)):
            if candidate in layers:
                return candidate
    return ""


def _module(scopes: str) -> str:
    """The innermost module of a list like ``['', 'features', 'features.0', 'conv2d']``, its own node left out."""
    try:
        names = [str(scope) for scope in ast.literal_eval(scopes)][:-1]
    except (SyntaxError, ValueError):
        return ""
    return names[-1] if names else ""
