"""What the two models themselves call the nodes at fault that were found in their views."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ...errors import WorkerFailed
from ...formats import Format
from ...models.loaded_model import LoadedModel
from ...runtimes.trace_store import TraceRecord
from ...workers.pool import WorkerPool
from ..localization.finding import FaultSummary
from ..located_target import LocatedTarget
from .names import Blame, display_name, layer_names, native_name, traced
from .parameters import parameters, unlike

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class _Layers:
    """The layer of each array: of the Target's that none of the Source's equals, of the Source's that none of the
    Target's does, and of all of the Target's."""

    left: list[str]
    free: list[str]
    own: list[str]


@dataclass
class Names:
    """The native names of each fault's nodes, in the Source and in the Target, in the order of the findings."""

    workers: WorkerPool
    source: LoadedModel
    target: LoadedModel
    is_unquantized: bool
    pairs: list[tuple[str, str]] = field(default_factory=list)
    _operators: list[tuple[TraceRecord | None, TraceRecord | None]] = field(default_factory=list)

    def look(self, located: LocatedTarget, arrays: Mapping[str, Array], target_arrays: Mapping[str, Array]) -> None:
        """Find the names, on one input: ``arrays`` as the Source takes it, ``target_arrays`` as the Target does."""
        faults = located.faults
        heavy = any(fault.type == "WB" for fault in faults)
        blames = [Blame.of(fault) for fault in faults]
        changed_layers, original = (self.changed if heavy else None) or ([], [])
        source_records = traced(self.workers, self.source, "source", arrays, blames, located, changed=original)
        tensors = [_view_tensor(self.target.format, fault) for fault in faults]
        target_records = traced(
            self.workers, self.target, "target", target_arrays, blames, located, tensors, changed=changed_layers
        )
        layers = layer_names(self.target)
        self._operators = list(zip(source_records, target_records, strict=True))
        self.pairs = [
            (
                fault.source_node if origin is None else display_name(self.source.format, origin),
                native_name(self.target.format, fault, layers)
                if record is None
                else display_name(self.target.format, record),
            )
            for fault, origin, record in zip(faults, source_records, target_records, strict=True)
        ]

    @property
    def changed(self) -> tuple[list[str], list[str]] | None:
        """The Target's layers whose arrays are not the Source's, and the Source's whose arrays the Target lacks; None
        where the two do not hold their weights in the same pieces. A view folds settings and normalisations into
        weights, and cannot tell."""
        if self._layers is None or len(self._layers.left) != len(self._layers.free):
            return None
        return list(dict.fromkeys(self._layers.left)), list(dict.fromkeys(self._layers.free))

    @property
    def trained(self) -> dict[str, bool]:
        """The Target's layers that have arrays: are they all the Source's? Empty where that cannot be told."""
        if self._layers is None:
            return {}
        return {layer: layer not in self._layers.left for layer in self._layers.own}

    @cached_property
    def _layers(self) -> _Layers | None:
        if self.source.format.is_view or self.target.format.is_view or not self.is_unquantized:
            return None
        try:
            target_parameters, source_parameters = (
                parameters(self.workers, self.target),
                parameters(self.workers, self.source),
            )
        except WorkerFailed:
            return None
        left, free = unlike(target_parameters, source_parameters)
        layers = (
            [parameter.layer for parameter in left],
            [source_parameters[number].layer for number in free],
            [parameter.layer for parameter in target_parameters],
        )
        return _Layers(*layers) if target_parameters else None

    def place(self, index: int) -> str | None:
        """The Target's own layer or operator at that fault, by which its settings are asked for; None for none."""
        record = self._operators[index][1]
        if record is None:
            return None
        return str(record.layer if self.target.format.layer_naming == "layer scopes" else record.node)

    def operations(self, index: int, fault: FaultSummary) -> dict[str, str]:
        """The single operators behind the names: in the views, and in the models' own graphs where they were found."""
        names = {"view_node": fault.target_node, "source_view_node": fault.source_node}
        for key, record in zip(("source_operation", "target_operation"), self._operators[index], strict=True):
            if record is not None:
                names[key] = str(record.node)
        return names


FUSED = frozenset({"Relu", "Clip"})


def _view_tensor(format: Format, fault: FaultSummary) -> str:
    """The view's tensor whose operator has the fault's name: of an activation that a TFLite file lacks it is the one
    that gives what ought to be activated, since TFLite has the two in one operator."""
    missing = fault.missing_operators
    if format.layer_naming == "tensor" and missing and FUSED.issuperset(missing):
        return fault.diverging_tensor
    return fault.target_tensor
