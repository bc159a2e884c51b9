"""Single nodes of an ONNX graph as models of their own, with the activations that reach them. Child side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime

from .. import rewrites
from .node_replay import take_apart

Array = np.ndarray[Any, Any]
FEW = 8  # values of a constant that are written out


def write(
    path: str,
    shapes: Mapping[str, list[int]],
    rows: Sequence[Mapping[str, Array]],
    cases: Sequence[Mapping[str, str]],
    largest_model: int,
    largest_rows: int,
) -> list[dict[str, Any]]:
    """Write each case's ``node`` to its ``target`` (ONNX) and what reaches it in ``rows`` to its ``store`` (``.npz``).

    ``shapes`` are those of the graph's floating-point tensors; ``rows`` whole inputs of the graph. Gives one answer a
    case: ``text`` (the node, its attributes and shapes), ``inputs`` and ``outputs`` (shapes by name), ``rows`` (how
    many are stored; 0 where one is larger than ``largest_rows`` bytes: no file then), ``batched`` (are first axes the
    batch?); or ``refused``, why there is no model.
    """
    model = rewrites.named(onnx.load(path))
    pieces = [_piece(model, shapes, case["node"]) for case in cases]
    values = _values(model, {tensor for _, read in pieces for tensor in read.values()}, rows)
    return [
        _written(piece, read, values, case, largest_model, largest_rows)
        for (piece, read), case in zip(pieces, cases, strict=True)
    ]


def _piece(
    model: onnx.ModelProto, shapes: Mapping[str, list[int]], node: str
) -> tuple[onnx.ModelProto, dict[str, str]]:
    """The node alone, with plain names for what goes in and out, and which tensor each input is."""
    piece, made = take_apart(model, dict(shapes), [node])
    outputs = [output["name"] for output in made["outputs"]]
    used = {name for n in piece.graph.node for name in (*n.input, *n.output)} | {
        t.name for t in piece.graph.initializer
    }
    new = _plain("x", list(made["inputs"]), used) | _plain("y", outputs, used)
    for n in piece.graph.node:
        n.input[:] = [new.get(name, name) for name in n.input]
        n.output[:] = [new.get(name, name) for name in n.output]
    for value in (*piece.graph.input, *piece.graph.output):
        value.name = new[value.name]
    return piece, {new[name]: tensor for name, tensor in made["inputs"].items()}


def _plain(letter: str, names: Sequence[str], used: set[str]) -> dict[str, str]:
    if len(names) == 1 and letter not in used:
        return {names[0]: letter}
    free = (f"{letter}{i}" for i in range(len(used) + len(names)) if f"{letter}{i}" not in used)
    return dict(zip(names, free, strict=False))


def _values(model: onnx.ModelProto, tensors: set[str], rows: Sequence[Mapping[str, Array]]) -> dict[str, list[Array]]:
    """What these tensors hold, row by row."""
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    given = {value.name for value in whole.graph.input}
    wanted = sorted(tensors - given)
    del whole.graph.output[:]
    whole.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
    found: dict[str, list[Array]] = {name: [] for name in tensors}
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = None
    if wanted:
        session = onnxruntime.InferenceSession(whole.SerializeToString(), options, providers=["CPUExecutionProvider"])
    for row in rows:
        results = [] if session is None else session.run(wanted, dict(row))
        for name, value in (*zip(wanted, results, strict=True), *row.items()):
            if name in found:
                found[name].append(np.asarray(value))
    return found


def _written(
    piece: onnx.ModelProto,
    read: Mapping[str, str],
    values: Mapping[str, list[Array]],
    case: Mapping[str, str],
    largest_model: int,
    largest_rows: int,
) -> dict[str, Any]:
    if piece.ByteSize() > largest_model:
        return {"refused": f"the node's weights take {piece.ByteSize() >> 20} MiB"}
    try:
        onnx.checker.check_model(piece)
    except onnx.checker.ValidationError as error:  # such as a node that reads integers which others compute
        return {"refused": f"the node cannot stand alone: {error}"}
    onnx.save(piece, case["target"])
    inputs = {value.name: _sizes(value) for value in piece.graph.input}
    outputs = {value.name: _sizes(value) for value in piece.graph.output}
    arrays = {name: values[tensor] for name, tensor in read.items()}
    first = {shape[0] for shape in (*inputs.values(), *outputs.values()) if shape}
    batched = len(first) == 1 and all((*inputs.values(), *outputs.values()))
    size = sum(column[0].nbytes for column in arrays.values())
    count = min(len(next(iter(arrays.values()), [])), largest_rows // max(size, 1))
    if not batched:
        count = min(count, 1)
    if count:
        stored: dict[str, Any] = {name: np.concatenate(column[:count]) for name, column in arrays.items()}
        np.savez_compressed(case["store"], **stored)
    return {"text": described(piece), "inputs": inputs, "outputs": outputs, "rows": count, "batched": batched}


def _sizes(value: onnx.ValueInfoProto) -> list[int]:
    return [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]


def described(model: onnx.ModelProto) -> str:
    """The graph in words: a line for the opset and one a node, with attributes, shapes and small constants."""
    graph = model.graph
    shown = {v.name: f"{v.name}: float32{_sizes(v)}" for v in (*graph.input, *graph.output)}
    for tensor in graph.initializer:
        array = onnx.numpy_helper.to_array(tensor)
        values = f" = {array.tolist()}" if array.size <= FEW else ""
        shown[tensor.name] = f"{tensor.name}: {array.dtype}{list(array.shape)}{values}"
    lines = ["opset " + ", ".join(f"{one.domain or 'ai.onnx'} {one.version}" for one in model.opset_import)]
    for node in graph.node:
        attributes = "".join(f" {a.name}={_attribute(a)}" for a in sorted(node.attribute, key=lambda a: a.name))
        given = ", ".join(shown.get(name, name or "-") for name in node.input)
        gives = ", ".join(shown.get(name, name or "-") for name in node.output)
        lines.append(f"{gives} = {node.op_type}({given}){attributes}")
    return "\n".join(lines)


def _attribute(attribute: onnx.AttributeProto) -> str:
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, onnx.TensorProto):
        array = onnx.numpy_helper.to_array(value)
        return str(array.tolist()) if array.size <= FEW else f"{array.dtype}{list(array.shape)}"
    if isinstance(value, (int, float, str)):
        return str(value)
    return str(list(value)) if not isinstance(value, onnx.GraphProto) else "a graph"
