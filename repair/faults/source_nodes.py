"""Build nodes of the Source as nodes of the Target, reading each aligned tensor in its layout. Worker side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx

from ...runtimes.tensor_layout import TensorLayout
from ..alignment.walk import Walk
from .proposal import Array


def build(
    walk: Walk, nodes: Sequence[onnx.NodeProto], tensor: str, layout: TensorLayout
) -> tuple[list[onnx.NodeProto], dict[str, Array], str] | None:
    """Copy the Source's nodes that compute ``tensor`` for the Target, reading what is aligned with their inputs.

    Returns the nodes, their constants and the name of the result, laid out by ``layout``; None where the Target holds
    an input of theirs nowhere, or a node has a subgraph.
    """
    prefix = f"repair/{len(walk.failed)}.{walk.runs}"
    added: list[onnx.NodeProto] = []
    constants: dict[str, Array] = {}
    names: dict[str, str] = {}
    computed = {name for node in nodes for name in node.output}
    read = [name for node in nodes for name in walk.source.read(node) if name not in computed]
    for name in dict.fromkeys(read if tensor in computed else (*read, tensor)):
        if name in walk.source.constants:
            names[name] = f"{prefix}/{name}"
            constants[names[name]] = walk.source.constants[name]
        elif (aligned_tensor := _in_source_layout(walk, name, prefix, added, constants)) is not None:
            names[name] = aligned_tensor
        else:
            return None
    for node in nodes:
        if any(a.type == onnx.AttributeProto.GRAPH for a in node.attribute):
            return None
        names.update((name, f"{prefix}/{name}") for name in node.output if name)
        added.append(_copy(node, f"{prefix}/{node.name}", names))
    shape = walk.contents.tensors[tensor].shape
    return added, constants, add_layout_nodes(names[tensor], shape, layout, f"{prefix}/laid", added, constants)


def _copy(node: onnx.NodeProto, name: str, names: dict[str, str]) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.name = name
    copy.input[:] = [names[n] if n else "" for n in node.input]
    copy.output[:] = [names[n] if n else "" for n in node.output]
    return copy


def _in_source_layout(
    walk: Walk, name: str, prefix: str, added: list[onnx.NodeProto], constants: dict[str, Array]
) -> str | None:
    """Bring what the Target holds of the Source's tensor into the Source's layout; None where it holds nothing."""
    for tensor, matches in walk.aligned.items():
        match = next((m for m in matches if m.name == name), None)
        if match is None:
            continue
        shape, layout = walk.contents.tensors[name].shape, match.arrangement
        permuted = tuple(shape[axis] for axis in layout.perm)
        current, base = tensor, f"{prefix}/{name}/restored"
        if permuted[1:] != layout.shape:
            current = _node("Reshape", [current, _ints(constants, f"{base}/sizes", [-1, *permuted[1:]])], base, added)
        if not layout.plain:
            inverse = [int(i) for i in np.argsort(layout.perm)]
            current = _node("Transpose", [current], f"{base}/turned", added, perm=inverse)
        return current
    return None


def add_layout_nodes(
    tensor: str,
    shape: Sequence[int],
    layout: TensorLayout,
    base: str,
    added: list[onnx.NodeProto],
    constants: dict[str, Array],
) -> str:
    """Add the nodes that bring a tensor of ``shape`` into a layout, and return the name of the result."""
    current = tensor
    if not layout.plain:
        current = _node("Transpose", [current], f"{base}/turned", added, perm=list(layout.perm))
    if tuple(shape[axis] for axis in layout.perm)[1:] != layout.shape:
        sizes = _ints(constants, f"{base}/sizes", [-1, *layout.shape])
        current = _node("Reshape", [current, sizes], f"{base}/shaped", added)
    if current == tensor:
        current = _node("Identity", [current], f"{base}/same", added)
    return current


def _ints(constants: dict[str, Array], name: str, values: Sequence[int]) -> str:
    constants[name] = np.asarray(values, np.int64)
    return name


def _node(kind: str, inputs: Sequence[str], name: str, added: list[onnx.NodeProto], **attributes: Any) -> str:
    added.append(onnx.helper.make_node(kind, list(inputs), [name], name, **attributes))
    return name
