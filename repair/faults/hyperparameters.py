"""LH, layer hyperparameters: pads, strides, dilations, group, epsilon, axis, limits, modes.

A setting that one side leaves out and the other states is tried like any other difference; where it changes nothing it
is no fault. Settings that are inputs (the limits of Clip, the pads of Pad) count as much as attributes do, and may be
an input in the Source's opset and an attribute in the Target's. Worker side.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx

from ..alignment.walk import Divergence, Walk
from ..graph.edits import DropInput, Edit, SetAttributes, SetConstant
from ..graph.runner import computing_nodes
from .codes import FaultCode
from .fault_type import FaultType
from .idle_nodes import idle_divergences
from .operators import SETTINGS, has_like_operators
from .proposal import Proposal, constants, fitted, same

NOT_COMPUTING = frozenset({"storage_order", "momentum", "training_mode"})


def localise(walk: Walk, node: onnx.NodeProto) -> Iterator[Divergence]:
    """Find nodes that do nothing for their setting, as a LeakyRelu whose alpha is 1."""
    return idle_divergences(walk, node)


def propose(walk: Walk, divergence: Divergence) -> Iterator[Proposal]:
    """Set one setting to the Source's, then all that differ in a node, for each pair of nodes with one operator."""
    pairs = [
        (n, s)
        for n in computing_nodes(divergence.nodes)
        for s in computing_nodes(divergence.origins)
        if n.op_type == s.op_type
    ]
    for node, source_node in pairs if has_like_operators(walk, divergence) else ():
        settings = [
            *_attributes(divergence, node, source_node),
            *_constant_settings(walk, node, source_node),
            *_moved_settings(walk, node, source_node),
        ]
        for setting in settings:
            yield _proposal(node, source_node, [setting])
        if len(settings) > 1:
            firsts = {setting[0]: setting for setting in reversed(settings)}
            yield _proposal(node, source_node, list(firsts.values()))


def is_temperature(walk: Walk, node: onnx.NodeProto) -> bool:
    """Is the node a factor before a softmax? TFLite holds it as the setting ``beta`` of one operator."""
    factors = [array for _, _, array in constants(walk.target, node)]
    is_single = node.op_type in ("Mul", "Div") and [array.size for array in factors] == [1]
    return is_single and [n.op_type for n in walk.target.readers.get(node.output[0], ())] == ["Softmax"]


Setting = tuple[str, Edit, Any, Any]


def _attributes(divergence: Divergence, node: onnx.NodeProto, source_node: onnx.NodeProto) -> Iterator[Setting]:
    target_settings, source_settings = settings_of(node), settings_of(source_node)
    for name in dict.fromkeys((*source_settings, *target_settings)):
        before, after = target_settings.get(name), source_settings.get(name)
        if before == after or name in NOT_COMPUTING or isinstance(after or before, (onnx.GraphProto, onnx.TensorProto)):
            continue
        if isinstance(before, float) and isinstance(after, float) and np.isclose(before, after, rtol=1e-6, atol=0):
            continue
        options = [after]
        if name == "axis" and isinstance(after, int) and not divergence.arrangement.plain:
            perm = divergence.arrangement.perm
            options.insert(0, perm.index(after % len(perm)) if after % len(perm) in perm else after)
        for value in dict.fromkeys(options):
            if value != before:
                words = f"{name} of {node.op_type} set from {_as_text(before)} to {_as_text(value)}"
                yield name, SetAttributes(words, node.name, {name: value}), before, value


def _constant_settings(walk: Walk, node: onnx.NodeProto, source_node: onnx.NodeProto) -> Iterator[Setting]:
    """Constant inputs that are settings: of the operators known for it, and whole numbers anywhere."""
    target_values = {index: value for index, _, value in constants(walk.target, node)}
    source_values = {index: value for index, _, value in constants(walk.source, source_node)}
    for index in sorted(set(target_values) | set(source_values)):
        have, wanted = target_values.get(index), source_values.get(index)
        value = wanted if have is None else have
        assert value is not None
        if value.dtype.kind == "f" and node.op_type not in SETTINGS:
            continue
        name = input_name(node, index)
        if wanted is None:
            if index >= len(source_node.input) or not source_node.input[index]:
                yield name, DropInput(f"{name} of {node.op_type} taken away", node.name, index), _plain(have), None
            continue
        if have is not None and same(wanted, have):
            continue
        if have is None and index < len(node.input) and node.input[index]:
            continue  # computed
        options = [wanted.astype(have.dtype)] if have is not None else [wanted]
        if have is not None:
            options += [value for value in fitted(wanted, have) if not same(value, wanted)]
        for value in options:
            words = f"{name} of {node.op_type} set from {_as_text(_plain(have))} to {_as_text(_plain(value))}"
            yield name, SetConstant(words, node.name, index, value), _plain(have), _plain(value)


def _moved_settings(walk: Walk, node: onnx.NodeProto, source_node: onnx.NodeProto) -> Iterator[Setting]:
    """Settings that are an attribute in one of the two opsets and an input in the other, as axes of reductions are."""
    schemas = [
        _schema(runner.model, operator) for runner, operator in ((walk.target, node), (walk.source, source_node))
    ]
    if schemas[0] is None or schemas[1] is None:
        return
    (target_inputs, target_attributes), (source_inputs, source_attributes) = (
        ({entry.name: index for index, entry in enumerate(schema.inputs)}, schema.attributes) for schema in schemas
    )
    target_values = {index: value for index, _, value in constants(walk.target, node)}
    source_values = {index: value for index, _, value in constants(walk.source, source_node)}
    target_settings, source_settings = settings_of(node), settings_of(source_node)
    for name, index in target_inputs.items():
        if name in source_attributes and name in source_settings:
            have, after = target_values.get(index), source_settings[name]
            value = np.asarray(after, np.float32 if np.asarray(after).dtype.kind == "f" else np.int64)
            if have is None or not same(value, have):
                words = f"{name} of {node.op_type} set from {_as_text(_plain(have))} to {_as_text(after)}"
                yield name, SetConstant(words, node.name, index, value), _plain(have), _plain(value)
    for name, index in source_inputs.items():
        if name in target_attributes and index in source_values:
            after, before = source_values[index].tolist(), target_settings.get(name)
            if before is None or np.asarray(before).tolist() != after:
                words = f"{name} of {node.op_type} set from {_as_text(before)} to {_as_text(after)}"
                yield name, SetAttributes(words, node.name, {name: after}), before, after


def _schema(model: onnx.ModelProto, node: onnx.NodeProto) -> Any:
    """The operator as the model's opset has it; None for one that ONNX does not know."""
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)
    try:
        return onnx.defs.get_schema(node.op_type, opset)
    except onnx.defs.SchemaError:
        return None


def settings_of(node: onnx.NodeProto) -> dict[str, Any]:
    """Read the node's attributes as plain values, lists as tuples."""
    values = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def input_name(node: onnx.NodeProto, index: int) -> str:
    """Look up what ONNX calls that input."""
    try:
        schema = onnx.defs.get_schema(node.op_type)
    except onnx.defs.SchemaError:
        return f"input {index}"
    return str(schema.inputs[index].name) if index < len(schema.inputs) else f"input {index}"


def _plain(value: Any) -> Any:
    if value is None:
        return None
    return value.tolist() if value.size <= 16 else f"{value.size} values"


def _as_text(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bytes):
        return value.decode()
    return str(list(value) if isinstance(value, tuple) else value)


def _proposal(node: onnx.NodeProto, source_node: onnx.NodeProto, settings: list[Setting]) -> Proposal:
    evidence = {
        "operator": node.op_type,
        "settings": [{"name": n, "target": _as_text(b), "source": _as_text(a)} for n, _, b, a in settings],
    }
    return Proposal("LH", node.name, source_node.name, tuple(edit for _, edit, _, _ in settings), evidence)


HYPERPARAMETERS = FaultType(FaultCode.LH, localise, propose)
