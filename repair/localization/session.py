"""Localization sessions: what ``locate`` found in a Target, held in the worker for later calls under an id.

Worker side. Edits and ONNX graphs stay here; plain values of ``finding.py`` travel to the parent and back.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx

from ...errors import SessionLost
from ...runtimes.tensor_layout import moves
from ...runtimes.trace_store import TraceRecord
from ..alignment.matching import CLOSE, Contents, Match
from ..alignment.walk import Walk
from ..faults import batchnorm_folding, hyperparameters
from ..faults.proposal import Array
from ..graph.edits import Edit, Rewire, SetAttributes, SetConstant, applied
from ..graph.runner import GraphRunner, computing_nodes
from .finding import AffineChange, ConstantChange, FaultSummary, SettingChange, SettingValue

DRIFT = 1e-2  # relative distance up to which the nearest native tensor may hold the view's tensor: roundings add up
MAX_SESSIONS_HELD = 2  # in one worker; each holds all activations of the Source on the inputs that were looked at


@dataclass(frozen=True)
class LocatedFault:
    """One fault, and the edits that repair it (none where no repair was found)."""

    type: str
    target_node: str
    target_tensor: str
    source_node: str
    evidence: Mapping[str, Any]
    edits: tuple[Edit, ...]
    words: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    source_tensor: str = ""
    op_type: str = ""

    def summary(self) -> FaultSummary:
        """The fault as the parent sees it."""
        return FaultSummary(
            type=self.type,
            target_node=self.target_node,
            target_tensor=self.target_tensor,
            source_node=self.source_node,
            evidence=dict(self.evidence),
            description=self.words,
            metadata=dict(self.metadata),
            op_type=self.op_type,
            is_repairable=bool(self.edits),
            local_difference=self.evidence.get("local_difference"),
            diverging_tensor=str(self.evidence.get("target_tensor", "")),
            setting_names=tuple(setting["name"] for setting in self.evidence.get("settings", ())),
            missing_operators=tuple(self.evidence.get("missing", ())),
            has_scaled_channels_only=all(
                array["channels_scaled_only"]
                for array in self.evidence.get("tensors", ())
                if array["role"] == "weights"
            ),
        )


@dataclass
class LocalizationSession:
    """A Target that was looked at: its canonical view and the faults located in it.

    ``target_inputs`` are the inputs of the Target's view, ``source_tensors`` every tensor of the Source's view on the
    same inputs, ``aligned`` the tensors of the Target with the Source's tensor that each of them ought to hold.
    ``walk`` is kept only where faults are compared with a second runtime.
    """

    model: onnx.ModelProto
    faults: list[LocatedFault]
    target_inputs: Mapping[str, Array]
    source_tensors: Mapping[str, Array]
    aligned: Mapping[str, Match]
    walk: Walk | None = None


_sessions: dict[str, LocalizationSession] = {}  # the one used last comes last


def make_room() -> None:
    """Drop the sessions that were not used for longest, so that one more does not exceed ``MAX_SESSIONS_HELD``."""
    while len(_sessions) >= MAX_SESSIONS_HELD:
        del _sessions[next(iter(_sessions))]


def hold(session: LocalizationSession) -> str:
    """Hold a session in this worker, and give the id by which later calls name it: no two workers give the same."""
    make_room()
    session_id = secrets.token_hex(8)
    _sessions[session_id] = session
    return session_id


def session_of(session_id: str) -> LocalizationSession:
    """The session of that id. Raises :class:`SessionLost` where this worker does not hold it."""
    session = _sessions.pop(session_id, None)
    if session is None:
        raise SessionLost(
            f"this worker holds no localization session {session_id}: it was started anew, or newer sessions took its "
            "place. Locate the faults again."
        )
    _sessions[session_id] = session
    return session


def write(session_id: str, path: str, chosen: Sequence[int]) -> None:
    """Write the Target's view to ``path`` with the repairs of the ``chosen`` faults, by their indices."""
    session = session_of(session_id)
    edits = [edit for index in chosen for edit in session.faults[index].edits]
    onnx.save(applied(session.model, edits), path)


def native_records(
    session_id: str, role: str, store: str, records: Sequence[TraceRecord], tensors: Sequence[str] | None = None
) -> tuple[int | None, ...]:
    """For each fault, the index of the native record whose tensor holds what the view's node gives; None without one.

    ``role`` is "source" or "target"; ``store`` and ``records`` are the trace of that model (``runtimes/*/trace.py``) on
    the first of the inputs that were looked at. ``tensors`` are tensors of the view to look for in place of those of
    the faults. The Target's values are those before any repair.
    """
    session = session_of(session_id)
    with np.load(store) as stored:
        contents = Contents({str(i): stored[record.key] for i, record in enumerate(records)}, limit=DRIFT)
    is_target = role == "target"
    values = GraphRunner(session.model).everything(session.target_inputs) if is_target else session.source_tensors
    reordered = {fault.target_tensor for fault in session.faults if fault.type == "TSS"} if is_target else set()
    if tensors is None:
        tensors = [fault.target_tensor if is_target else fault.source_tensor for fault in session.faults]
    indices: list[int | None] = []
    for tensor in tensors:
        value = values.get(tensor)
        matches = [] if value is None or not value.ndim else contents.find(value[:1])
        nearest = max(CLOSE, 2 * matches[0].difference) if matches else 0.0
        holders = sorted(int(match.name) for match in matches if match.difference <= nearest)
        movers = [index for index in holders if moves(records[index].operator)] if tensor in reordered else []
        indices.append(next(iter(movers or holders), None))
    return tuple(indices)


def constants_set(session_id: str, chosen: Sequence[int]) -> tuple[ConstantChange, ...] | None:
    """The floating-point constants that the repairs of these faults set; None where they change anything else."""
    session = session_of(session_id)
    steps = GraphRunner(session.model)
    changes = []
    for index in chosen:
        for edit in session.faults[index].edits:
            if not isinstance(edit, SetConstant) or edit.value.dtype.kind != "f":
                return None
            node = steps.nodes[steps.index[edit.node]]
            changes.append(ConstantChange(index, steps.constants[node.input[edit.index]], edit.value))
    return tuple(changes)


def settings_set(session_id: str, index: int) -> tuple[SettingChange, ...] | None:
    """The settings that the repair of a fault sets; None where it changes anything else.

    A setting that the node leaves out has ONNX's default before the repair. An added activation counts as the setting
    ``fused_activation``, since formats such as TFLite have it in the operator before it.
    """
    session = session_of(session_id)
    steps, fault = GraphRunner(session.model), session.faults[index]
    if fault.evidence.get("difference") == "missing nodes" and len(fault.edits) == 1:
        activation = _activation(fault.edits[0])
        return None if activation is None else (SettingChange("fused_activation", "none", activation),)
    if fault.type != "LH" or not fault.edits:
        return None
    changes: list[SettingChange] = []
    for edit in fault.edits:
        node = steps.nodes[steps.index[edit.node]] if isinstance(edit, (SetAttributes, SetConstant)) else None
        if isinstance(edit, SetAttributes) and node is not None:
            before = hyperparameters.settings_of(node)
            for name, value in edit.attributes.items():
                changes.append(
                    SettingChange(name, _plain_value(node, name, before.get(name)), _plain_value(node, name, value))
                )
        elif isinstance(edit, SetConstant) and node is not None and node.input[edit.index] in steps.constants:
            constant = steps.constants[node.input[edit.index]]
            name = hyperparameters.input_name(node, edit.index)
            changes.append(SettingChange(name, constant.tolist(), edit.value.tolist()))
        else:
            return None
    return tuple(changes)


ACTIVATIONS = {(0.0, np.inf): "relu", (0.0, 6.0): "relu6", (-1.0, 1.0): "relu_n1_to_1"}


def _activation(edit: Edit) -> str | None:
    """The activation that an edit adds, where that is all, by its limits and as TFLite calls it."""
    if not isinstance(edit, Rewire):
        return None
    nodes = computing_nodes(edit.added)
    if len(nodes) != 1 or nodes[0].op_type not in ("Relu", "Clip"):
        return None
    low, high = (0.0, np.inf) if nodes[0].op_type == "Relu" else (-np.inf, np.inf)
    for index, name in enumerate(nodes[0].input[1:]):
        if name:
            constant = edit.constants.get(name)
            if constant is None:
                return None
            low, high = (float(constant), high) if index == 0 else (low, float(constant))
    return ACTIVATIONS.get((low, high))


def _plain_value(node: onnx.NodeProto, name: str, value: Any) -> SettingValue:
    """An attribute as a plain value; of an absent one ONNX's default, which for windows stands in its text only."""
    if value is None and name in ("strides", "dilations", "pads"):
        window = hyperparameters.settings_of(node).get("kernel_shape", (1, 1))
        return [0] * (2 * len(window)) if name == "pads" else [1] * len(window)
    if value is None:
        default = onnx.defs.get_schema(node.op_type).attributes[name].default_value
        value = onnx.helper.get_attribute_value(default) if default.name else None
    plain: SettingValue = list(value) if isinstance(value, tuple) else value
    return plain


def affine_changes(session_id: str, chosen: Sequence[int]) -> tuple[AffineChange, ...] | None:
    """The convolutions that the repairs of these faults change; None where a repair changes anything else."""
    session = session_of(session_id)
    before = GraphRunner(session.model)
    changes = []
    for index in chosen:
        fault = session.faults[index]
        if not all(isinstance(edit, SetConstant) for edit in fault.edits):
            return None
        after = GraphRunner(applied(session.model, fault.edits))
        names = set(fault.evidence["target_nodes"])
        first, second = (
            batchnorm_folding.affine(steps, [n for n in steps.nodes if n.name in names]) for steps in (before, after)
        )
        if first is None or second is None:
            return None
        changes.append(AffineChange(index, first.whole, second.whole, first.shift, second.shift))
    return tuple(changes)


def dismiss(session_id: str, indices: Sequence[int]) -> None:
    """Remove these from the faults of the session, since they are none. The others keep their order."""
    session = session_of(session_id)
    session.faults = [fault for index, fault in enumerate(session.faults) if index not in set(indices)]
