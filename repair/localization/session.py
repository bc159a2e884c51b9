"""The last Target that was looked at, and what is asked about it afterwards: repairs made, native names found.

Child side: only numbers of findings travel to the parent and back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx

from ...runtimes.tensor_layout import moves
from ..alignment.matching import CLOSE, Contents, Match
from ..alignment.walk import Walk
from ..faults import batchnorm_folding, hyperparameters
from ..faults.proposal import Array
from ..graph.edits import Edit, Rewire, SetAttributes, SetConstant, applied
from ..graph.runner import GraphRunner, core

DRIFT = 1e-2  # what the roundings of two runtimes may add up to over a whole model; the nearest tensor is meant


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

    def plain(self) -> dict[str, Any]:
        return {
            "type": self.type,
            "target_node": self.target_node,
            "target_tensor": self.target_tensor,
            "source_node": self.source_node,
            "evidence": dict(self.evidence),
            "words": self.words,
            "metadata": dict(self.metadata),
            "op_type": self.op_type,
            "repairable": bool(self.edits),
        }


@dataclass
class LocalizationSession:
    """The last Target looked at: its canonical view and what was found in it."""

    model: onnx.ModelProto
    found: list[LocatedFault]
    given: Mapping[str, Array]
    contents: Mapping[str, Array]
    aligned: Mapping[str, Match]  # tensors of the Target, and what of the Source each ought to hold
    walk: Walk | None = None  # kept where findings are held against another runtime


HELD: dict[str, LocalizationSession] = {}


def write(path: str, chosen: Sequence[int]) -> None:
    """Write the Target's view with the repairs of these findings (by their places in the list) made."""
    held = HELD["last"]
    edits = [edit for index in chosen for edit in held.found[index].edits]
    onnx.save(applied(held.model, edits), path)


def native(
    role: str, store: str, records: Sequence[Mapping[str, Any]], tensors: Sequence[str] | None = None
) -> list[Mapping[str, Any] | None]:
    """For each finding, the record of the native tensor that holds what the view's node gives; None where none does.

    ``tensors`` are the view's tensors to look for in place of those of the findings.

    ``role`` is "source" or "target"; ``store`` and ``records`` are the trace of that model (``runtimes/*/trace.py``) on
    the first of the inputs that were walked on. The Target's tensor is the one that it gives by itself, unrepaired.
    """
    held = HELD["last"]
    with np.load(store) as stored:
        contents = Contents({str(i): stored[one["key"]] for i, one in enumerate(records)}, limit=DRIFT)
    values = GraphRunner(held.model).everything(held.given) if role == "target" else held.contents
    found: list[Mapping[str, Any] | None] = []
    structural = {one.target_tensor for one in held.found if one.type == "TSS"} if role == "target" else set()
    if tensors is None:
        tensors = [one.target_tensor if role == "target" else one.source_tensor for one in held.found]
    for tensor in tensors:
        value = values.get(tensor)
        matches = [] if value is None or not value.ndim else contents.find(value[:1])
        nearest = max(CLOSE, 2 * matches[0].apart) if matches else 0.0
        holders = [records[i] for i in sorted(int(match.name) for match in matches if match.apart <= nearest)]
        movers = [one for one in holders if moves(one["operator"])] if tensor in structural else []
        found.append(next(iter(movers or holders), None))
    return found


def constants_set(chosen: Sequence[int]) -> list[tuple[int, Array, Array]] | None:
    """Finding, array before and array after of each constant that these repairs set; None where they do more."""
    held = HELD["last"]
    steps = GraphRunner(held.model)
    changes = []
    for index in chosen:
        for edit in held.found[index].edits:
            if not isinstance(edit, SetConstant) or edit.value.dtype.kind != "f":
                return None
            node = steps.nodes[steps.index[edit.node]]
            changes.append((index, steps.constants[node.input[edit.index]], edit.value))
    return changes


def settings_set(index: int) -> list[tuple[str, Any, Any]] | None:
    """Name, value before and value after of each setting that this repair sets, as plain values, by ONNX's names.

    What a node leaves out has its default. An activation that is added is one too, since formats have it in the
    operator before it. None where the repair does anything else.
    """
    held = HELD["last"]
    steps, one = GraphRunner(held.model), held.found[index]
    if one.evidence.get("difference") == "missing nodes" and len(one.edits) == 1:
        activation = _activation(one.edits[0])
        return None if activation is None else [("fused_activation", "none", activation)]
    if one.type != "LH" or not one.edits:
        return None
    changes: list[tuple[str, Any, Any]] = []
    for edit in one.edits:
        node = steps.nodes[steps.index[edit.node]] if isinstance(edit, (SetAttributes, SetConstant)) else None
        if isinstance(edit, SetAttributes) and node is not None:
            before = hyperparameters.settings_of(node)
            for name, value in edit.attributes.items():
                changes.append((name, *(_told(node, name, v) for v in (before.get(name), value))))
        elif isinstance(edit, SetConstant) and node is not None and node.input[edit.index] in steps.constants:
            have = steps.constants[node.input[edit.index]]
            changes.append((hyperparameters.input_name(node, edit.index), have.tolist(), edit.value.tolist()))
        else:
            return None
    return changes


ACTIVATIONS = {(0.0, np.inf): "relu", (0.0, 6.0): "relu6", (-1.0, 1.0): "relu_n1_to_1"}


def _activation(edit: Edit) -> str | None:
    """The activation that an edit adds, where that is all, by its limits and as TFLite calls it."""
    if not isinstance(edit, Rewire):
        return None
    nodes = core(edit.added)
    if len(nodes) != 1 or nodes[0].op_type not in ("Relu", "Clip"):
        return None
    low, high = (0.0, np.inf) if nodes[0].op_type == "Relu" else (-np.inf, np.inf)
    for index, name in enumerate(nodes[0].input[1:]):
        if name:
            held = edit.constants.get(name)
            if held is None:
                return None
            low, high = (float(held), high) if index == 0 else (low, float(held))
    return ACTIVATIONS.get((low, high))


def _told(node: onnx.NodeProto, name: str, value: Any) -> Any:
    """An attribute as a plain value; of an absent one the default, which for windows ONNX has in words only."""
    if value is None and name in ("strides", "dilations", "pads"):
        window = hyperparameters.settings_of(node).get("kernel_shape", (1, 1))
        return [0] * (2 * len(window)) if name == "pads" else [1] * len(window)
    if value is None:
        default = onnx.defs.get_schema(node.op_type).attributes[name].default_value
        return onnx.helper.get_attribute_value(default) if default.name else None
    return list(value) if isinstance(value, tuple) else value


def folded(chosen: Sequence[int]) -> list[tuple[int, Array, Array, Array, Array]] | None:
    """Finding, weights before and after, bias before and after of each convolution that these repairs change.

    Weights are (out channels, in channels / group, kernel...) with all that scales the channels behind them multiplied
    in. None where a repair changes anything else.
    """
    held = HELD["last"]
    before = GraphRunner(held.model)
    changes = []
    for index in chosen:
        one = held.found[index]
        if not all(isinstance(edit, SetConstant) for edit in one.edits):
            return None
        after = GraphRunner(applied(held.model, one.edits))
        names = set(one.evidence["target_nodes"])
        pair = [
            batchnorm_folding.affine(steps, [n for n in steps.nodes if n.name in names]) for steps in (before, after)
        ]
        if pair[0] is None or pair[1] is None:
            return None
        (w0, b0), (w1, b1) = ((a.whole, a.shift) for a in pair if a)
        changes.append((index, w0, w1, b0, b1))
    return changes


def dismiss(indices: Sequence[int]) -> None:
    """Forget these findings: they are no faults. Those that stay keep their order."""
    held = HELD["last"]
    held.found = [one for index, one in enumerate(held.found) if index not in set(indices)]
