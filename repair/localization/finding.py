"""What the localization of faults tells the parent process: frozen values that both sides know. Needs numpy only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...runtimes.trace_store import TraceRecord
from ..alignment.runtime_difference import RuntimeDifference

Array = np.ndarray[Any, Any]
SettingValue = None | bool | int | float | str | list[int] | list[float] | list[str]
"""A node's attribute or constant input as a plain value."""


@dataclass(frozen=True)
class FaultSummary:
    """A located fault without the edits that repair it, which stay in the worker.

    ``type`` is PP, ID, TSS, WB, LH or CG. Nodes and tensors are named as in the ONNX views; ``source_node`` is "" where
    no node of the Source corresponds. ``evidence`` goes into the report as it is. ``description`` says what the repair
    changes. ``metadata`` is that of the target node (ONNX's ``metadata_props``).

    ``local_difference`` is how far the Target's nodes are from the Source's on the Source's own activations, relative;
    None where it is not finite. ``diverging_tensor`` is the first tensor of the Target that holds wrong values, "" if
    unknown. ``setting_names`` are the settings that differ, by ONNX's names; ``missing_operators`` the types of the
    nodes that the Target lacks; ``has_scaled_channels_only``: each output channel of the weights, if any differ, is a
    multiple of the Source's.
    """

    type: str
    target_node: str
    target_tensor: str
    source_node: str
    evidence: Mapping[str, Any]
    description: str
    metadata: Mapping[str, str]
    op_type: str
    is_repairable: bool
    local_difference: float | None = None
    diverging_tensor: str = ""
    setting_names: tuple[str, ...] = ()
    missing_operators: tuple[str, ...] = ()
    has_scaled_channels_only: bool = True


@dataclass(frozen=True)
class LocateResult:
    """The faults of a Target, in the order of its graph.

    A later call names the session by ``session_id``, and a fault by its index in ``faults``. ``model_runs`` counts
    whole passes of the Target, rounded up, and ``nodes_run`` single nodes. ``unrelated_weights`` is the share of the
    Target's weighted nodes looked at whose weights have nothing to do with the Source's. ``stop_reason`` says why the
    search ended early, and is "" where it did not. ``runtime_differences`` are no faults.
    """

    session_id: str
    faults: tuple[FaultSummary, ...]
    model_runs: int
    nodes_run: int
    unrelated_weights: float
    stop_reason: str
    aligned_tensors: int
    runtime_differences: tuple[RuntimeDifference, ...] = ()


@dataclass(frozen=True)
class ConstantChange:
    """A constant that the repair of a fault sets; ``fault`` is the fault's index in the session."""

    fault: int
    before: Array
    after: Array


@dataclass(frozen=True)
class SettingChange:
    """A setting that the repair of a fault sets, by ONNX's name."""

    name: str
    before: SettingValue
    after: SettingValue


@dataclass(frozen=True)
class AffineChange:
    """A convolution or matrix product that the repair of a fault changes, with all that scales its channels folded in.

    Weights are (out channels, in channels / group, kernel...), biases (out channels,).
    """

    fault: int
    weights_before: Array
    weights_after: Array
    bias_before: Array
    bias_after: Array


@dataclass(frozen=True)
class TraceDivergence:
    """An operator of the Target at which it diverges from the Source, by the two models' own activations.

    ``source`` is the Source's operator that reads the same content (None: there is none). ``type`` is LH or CG.
    """

    type: str
    source: TraceRecord | None
    target: TraceRecord
    evidence: Mapping[str, Any]


@dataclass(frozen=True)
class TraceFault:
    """A fault of a converter, located along the Source's own activations.

    ``target_node`` and ``target_tensor`` are the view's names, ``source_node`` the Source framework's; "" where none
    corresponds. ``evidence`` goes into the report as it is.
    """

    type: str
    target_node: str
    target_tensor: str
    source_node: str
    evidence: Mapping[str, Any]


@dataclass(frozen=True)
class TraceSearchResult:
    """The faults in the order of the graph; ``model_runs`` counts whole passes of the Target, rounded up."""

    faults: tuple[TraceFault, ...] = ()
    model_runs: int = 0


@dataclass(frozen=True)
class NamedFault:
    """A located fault by the two models' own names.

    ``evidence`` goes into the report as it is. ``source_node`` is "" where none corresponds.

    ``local_difference`` is relative; None where it is not finite or was not measured.
    """

    type: str
    source_node: str
    target_node: str
    evidence: Mapping[str, Any]
    local_difference: float | None = None


@dataclass(frozen=True)
class Segment:
    """The nodes of a fault as an ONNX model: its inputs by name, from the Source's activations, and its one output."""

    arrays: Mapping[str, Array]
    tensor: str
