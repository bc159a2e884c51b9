"""LH, layer hyperparameters: pads, strides, dilations, group, epsilon, axis, limits, modes.

What is absent on one side and said on the other is tried like any other difference, and is no fault where it does
nothing. Settings that are inputs (the limits of Clip, the pads of Pad) are hyperparameters as much as attributes are,
and may be the one in the Source's opset and the other in the Target's. Child side.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx

from ..alignment.walk import Divergence, Walk
from ..graph.edits import DropInput, Edit, SetAttributes, SetConstant
from ..graph.runner import core
from .proposal import Proposal, constants, fitted, same
from .weights import SETTINGS

NOT_COMPUTING = frozenset({"storage_order", "momentum", "training_mode"})


def propose(walk: Walk, parting: Divergence) -> Iterator[Proposal]:
    """One setting at a time, then all that differ in a node, for each pair of nodes with the same operator."""
    for node in core(parting.nodes):
        for origin in core(parting.origins):
            if node.op_type != origin.op_type:
                continue
            found = [*_attributes(parting, node, origin), *_settings(walk, node, origin), *_moved(walk, node, origin)]
            for name, edit, before, after in found:
                yield _proposal(node, origin, [(name, edit, before, after)])
            if len(found) > 1:
                firsts = {name: (name, edit, before, after) for name, edit, before, after in reversed(found)}
                yield _proposal(node, origin, list(firsts.values()))


def temperature(walk: Walk, node: onnx.NodeProto) -> bool:
    """A factor before a softmax is its temperature: TFLite holds it as the setting ``beta`` of the one operator."""
    factors = [array for _, _, array in constants(walk.target, node)]
    single = node.op_type in ("Mul", "Div") and [array.size for array in factors] == [1]
    return single and [n.op_type for n in walk.target.readers.get(node.output[0], ())] == ["Softmax"]


Setting = tuple[str, Edit, Any, Any]


def _attributes(parting: Divergence, node: onnx.NodeProto, origin: onnx.NodeProto) -> Iterator[Setting]:
    ours, theirs = settings_of(node), settings_of(origin)
    for name in dict.fromkeys((*theirs, *ours)):
        before, after = ours.get(name), theirs.get(name)
        if before == after or name in NOT_COMPUTING or isinstance(after or before, (onnx.GraphProto, onnx.TensorProto)):
            continue
        if isinstance(before, float) and isinstance(after, float) and np.isclose(before, after, rtol=1e-6, atol=0):
            continue
        options = [after]
        if name == "axis" and isinstance(after, int) and not parting.arrangement.plain:
            perm = parting.arrangement.perm
            options.insert(0, perm.index(after % len(perm)) if after % len(perm) in perm else after)
        for value in dict.fromkeys(options):
            if value != before:
                words = f"{name} of {node.op_type} set from {_said(before)} to {_said(value)}"
                yield name, SetAttributes(words, node.name, {name: value}), before, value


def _settings(walk: Walk, node: onnx.NodeProto, origin: onnx.NodeProto) -> Iterator[Setting]:
    """Constant inputs that are settings: of the operators known for it, and whole numbers anywhere."""
    ours = {index: value for index, _, value in constants(walk.target, node)}
    theirs = {index: value for index, _, value in constants(walk.source, origin)}
    for index in sorted(set(ours) | set(theirs)):
        have, wanted = ours.get(index), theirs.get(index)
        one = have if have is not None else wanted
        assert one is not None
        if one.dtype.kind == "f" and node.op_type not in SETTINGS:
            continue
        name = input_name(node, index)
        if wanted is None:
            if index >= len(origin.input) or not origin.input[index]:
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
            words = f"{name} of {node.op_type} set from {_said(_plain(have))} to {_said(_plain(value))}"
            yield name, SetConstant(words, node.name, index, value), _plain(have), _plain(value)


def _moved(walk: Walk, node: onnx.NodeProto, origin: onnx.NodeProto) -> Iterator[Setting]:
    """Settings that are an attribute in one of the two opsets and an input in the other, as axes of reductions are."""
    schemas = [_schema(side.model, one) for side, one in ((walk.target, node), (walk.source, origin))]
    if schemas[0] is None or schemas[1] is None:
        return
    (places, attributes), (their_places, their_attributes) = (
        ({one.name: index for index, one in enumerate(schema.inputs)}, schema.attributes) for schema in schemas
    )
    ours = {index: value for index, _, value in constants(walk.target, node)}
    theirs = {index: value for index, _, value in constants(walk.source, origin)}
    said, read = settings_of(origin), settings_of(node)
    for name in places:
        if name in their_attributes and name in said:
            have, after = ours.get(places[name]), said[name]
            value = np.asarray(after, np.float32 if np.asarray(after).dtype.kind == "f" else np.int64)
            if have is None or not same(value, have):
                words = f"{name} of {node.op_type} set from {_said(_plain(have))} to {_said(after)}"
                yield name, SetConstant(words, node.name, places[name], value), _plain(have), _plain(value)
    for name, index in their_places.items():
        if name in attributes and index in theirs:
            after, before = theirs[index].tolist(), read.get(name)
            if before is None or np.asarray(before).tolist() != after:
                words = f"{name} of {node.op_type} set from {_said(before)} to {_said(after)}"
                yield name, SetAttributes(words, node.name, {name: after}), before, after


def _schema(model: onnx.ModelProto, node: onnx.NodeProto) -> Any:
    """The operator as the model's opset has it; None for one that ONNX does not know."""
    opset = max((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), default=0)
    try:
        return onnx.defs.get_schema(node.op_type, opset)
    except onnx.defs.SchemaError:
        return None


def settings_of(node: onnx.NodeProto) -> dict[str, Any]:
    """The node's attributes as plain values, lists as tuples."""
    found = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}


def input_name(node: onnx.NodeProto, index: int) -> str:
    """What ONNX calls that input."""
    try:
        schema = onnx.defs.get_schema(node.op_type)
    except onnx.defs.SchemaError:
        return f"input {index}"
    return str(schema.inputs[index].name) if index < len(schema.inputs) else f"input {index}"


def _plain(value: Any) -> Any:
    if value is None:
        return None
    return value.tolist() if value.size <= 16 else f"{value.size} values"


def _said(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bytes):
        return value.decode()
    return str(list(value) if isinstance(value, tuple) else value)


def _proposal(node: onnx.NodeProto, origin: onnx.NodeProto, settings: list[Setting]) -> Proposal:
    evidence = {
        "operator": node.op_type,
        "settings": [{"name": n, "target": _said(b), "source": _said(a)} for n, _, b, a in settings],
    }
    return Proposal("LH", node.name, origin.name, tuple(edit for _, edit, _, _ in settings), evidence)
