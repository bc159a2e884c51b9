"""Write single nodes of an ONNX graph as models of their own, with the activations that reach them. Worker side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from .. import rewrites
from ..graph.runner import session as runtime_session
from .node_replay import take_apart
from .single_node import SingleNode, SingleNodeFiles, UnwritableNode

Array = np.ndarray[Any, Any]
MAX_VALUES_WRITTEN_OUT = 8  # of a constant


def write_single_nodes(
    path: str,
    shapes: Mapping[str, list[int]],
    rows: Sequence[Mapping[str, Array]],
    nodes: Sequence[SingleNodeFiles],
    *,
    max_model_bytes: int,
    max_input_bytes: int,
) -> tuple[SingleNode | UnwritableNode, ...]:
    """Write nodes of the graph at ``path`` as models of their own, with the activations that reach them.

    ``shapes`` are those of the graph's floating-point tensors, ``rows`` whole inputs of the graph. Returns one answer
    for each of ``nodes``. A model larger than ``max_model_bytes`` is not written, nor are more rows of inputs than fit
    into ``max_input_bytes``.
    """
    model = rewrites.named(onnx.load(path))
    pieces = [_piece(model, shapes, files.node) for files in nodes]
    values = _values(model, {tensor for _, read in pieces for tensor in read.values()}, rows)
    return tuple(
        _written(piece, read, values, files, max_model_bytes, max_input_bytes)
        for (piece, read), files in zip(pieces, nodes, strict=True)
    )


def _piece(
    model: onnx.ModelProto, shapes: Mapping[str, list[int]], node: str
) -> tuple[onnx.ModelProto, dict[str, str]]:
    """The node alone, with plain names for what goes in and out, and which tensor each input is."""
    piece, cut = take_apart(model, dict(shapes), [node])
    outputs = [output.name for output in cut.outputs]
    used = {name for n in piece.graph.node for name in (*n.input, *n.output)} | {
        t.name for t in piece.graph.initializer
    }
    new = _plain("x", list(cut.inputs), used) | _plain("y", outputs, used)
    for n in piece.graph.node:
        n.input[:] = [new.get(name, name) for name in n.input]
        n.output[:] = [new.get(name, name) for name in n.output]
    for value in (*piece.graph.input, *piece.graph.output):
        value.name = new[value.name]
    return piece, {new[name]: tensor for name, tensor in cut.inputs.items()}


def _plain(letter: str, names: Sequence[str], used: set[str]) -> dict[str, str]:
    if len(names) == 1 and letter not in used:
        return {names[0]: letter}
    free = (f"{letter}{i}" for i in range(len(used) + len(names)) if f"{letter}{i}" not in used)
    return dict(zip(names, free, strict=False))


def _values(model: onnx.ModelProto, tensors: set[str], rows: Sequence[Mapping[str, Array]]) -> dict[str, list[Array]]:
    """Compute these tensors, row by row."""
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    inputs = {value.name for value in whole.graph.input}
    computed = sorted(tensors - inputs)
    del whole.graph.output[:]
    whole.graph.output.extend(onnx.ValueInfoProto(name=name) for name in computed)
    session = runtime_session(whole) if computed else None
    values: dict[str, list[Array]] = {name: [] for name in tensors}
    for row in rows:
        results = [] if session is None else session.run(computed, dict(row))
        for name, value in (*zip(computed, results, strict=True), *row.items()):
            if name in values:
                values[name].append(np.asarray(value))
    return values


def _written(
    piece: onnx.ModelProto,
    read: Mapping[str, str],
    values: Mapping[str, list[Array]],
    files: SingleNodeFiles,
    max_model_bytes: int,
    max_input_bytes: int,
) -> SingleNode | UnwritableNode:
    if piece.ByteSize() > max_model_bytes:
        return UnwritableNode(f"the node's weights take {piece.ByteSize() >> 20} MiB")
    try:
        onnx.checker.check_model(piece)
    except onnx.checker.ValidationError as error:  # such as a node that reads integers which others compute
        return UnwritableNode(f"the node cannot stand alone: {error}")
    onnx.save(piece, files.model)
    inputs = {value.name: _sizes(value) for value in piece.graph.input}
    outputs = {value.name: _sizes(value) for value in piece.graph.output}
    arrays = {name: values[tensor] for name, tensor in read.items()}
    first_sizes = {shape[0] for shape in (*inputs.values(), *outputs.values()) if shape}
    has_batch_axis = len(first_sizes) == 1 and all((*inputs.values(), *outputs.values()))
    row_bytes = sum(column[0].nbytes for column in arrays.values())
    count = min(len(next(iter(arrays.values()), [])), max_input_bytes // max(row_bytes, 1))
    if not has_batch_axis:
        count = min(count, 1)
    if count:
        stored: dict[str, Any] = {  # integers as the piece reads them, which casts them back
            name: np.concatenate(column[:count]).astype(np.float32, copy=False) for name, column in arrays.items()
        }
        np.savez_compressed(files.inputs, **stored)
    return SingleNode(described(piece), inputs, outputs, count, has_batch_axis)


def _sizes(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    return tuple(dimension.dim_value for dimension in value.type.tensor_type.shape.dim)


def described(model: onnx.ModelProto) -> str:
    """Describe the graph: a line for the opset and one for each node, with attributes, shapes and small constants."""
    graph = model.graph
    shown = {v.name: f"{v.name}: float32{list(_sizes(v))}" for v in (*graph.input, *graph.output)}
    for tensor in graph.initializer:
        array = onnx.numpy_helper.to_array(tensor)
        values = f" = {array.tolist()}" if array.size <= MAX_VALUES_WRITTEN_OUT else ""
        shown[tensor.name] = f"{tensor.name}: {array.dtype}{list(array.shape)}{values}"
    lines = ["opset " + ", ".join(f"{entry.domain or 'ai.onnx'} {entry.version}" for entry in model.opset_import)]
    for node in graph.node:
        attributes = "".join(f" {a.name}={_attribute(a)}" for a in sorted(node.attribute, key=lambda a: a.name))
        inputs = ", ".join(shown.get(name, name or "-") for name in node.input)
        outputs = ", ".join(shown.get(name, name or "-") for name in node.output)
        lines.append(f"{outputs} = {node.op_type}({inputs}){attributes}")
    return "\n".join(lines)


def _attribute(attribute: onnx.AttributeProto) -> str:
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, onnx.TensorProto):
        array = onnx.numpy_helper.to_array(value)
        return str(array.tolist()) if array.size <= MAX_VALUES_WRITTEN_OUT else f"{array.dtype}{list(array.shape)}"
    if isinstance(value, (int, float, str)):
        return str(value)
    return str(list(value)) if not isinstance(value, onnx.GraphProto) else "a graph"
