"""Local replay of a converter: every node of the ONNX graph it was fed, alone, on the Source's own activations.

The graph is taken apart: wherever a floating-point tensor goes from one node to another it is cut, so that each node
reads a graph input and writes a graph output. The same converter converts all pieces in one go, and one run
on the activations of the whole graph shows which pieces answer otherwise. Errors do not travel: a piece that only
sits behind a faulty one is fed the right values. Worker side.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import onnx
import onnxruntime

from .. import rewrites
from ..alignment.runtime_differences import RuntimeActivations
from .pieces import PieceOutput, Pieces

Array = np.ndarray[Any, Any]


def activations(
    path: str, store: str, arrays: dict[str, Array], only: Collection[str] | None = None, *, has_integers: bool = False
) -> dict[str, list[int]]:
    """Run the model on ``arrays`` and keep every float32 tensor in ``store`` (``.npz``); gives their shapes.

    Tensors of rank 0 are left out: they are settings rather than activations. ``only``: those that these nodes read
    and give. ``has_integers``: integers and booleans that float32 holds exactly are kept too, as float32.
    """
    model = rewrites.named(onnx.load(path))
    del model.graph.output[:]
    near = {
        name for node in model.graph.node if only is None or node.name in only for name in (*node.input, *node.output)
    }
    names = list(dict.fromkeys(name for node in model.graph.node for name in node.output if name in near and name))
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    values = dict(zip(names, session.run(names, arrays), strict=True)) | arrays
    tensors = {name: value for name, value in values.items() if name in near and isinstance(value, np.ndarray)}
    if has_integers:
        tensors = {n: v.astype(np.float32) if _is_exact_in_float32(v) else v for n, v in tensors.items()}
    floats = {name: value for name, value in tensors.items() if value.dtype == np.float32 and value.ndim}
    np.savez(store, *floats.values())
    return {name: list(value.shape) for name, value in floats.items()}


def _is_exact_in_float32(values: Array) -> bool:
    """Are these integers or booleans that float32 holds as they are?"""
    return values.dtype.kind in "iub" and not (values.astype(np.float32).astype(values.dtype) != values).any()


def runtime_activations(
    path: str, store: str, engine_store: str, only: Collection[str] | None = None
) -> tuple[dict[str, list[int]], dict[str, Array]]:
    """Do the same as :func:`activations` with the tensors that another runtime gave, and return their shapes.

    ``engine_store`` is the file that ``runtime_differences.differences`` wrote. Also returns, for the tensors at which
    the two runtimes differ, what onnxruntime gives for the same inputs of the node.
    """
    runtime = RuntimeActivations(engine_store)
    graph = rewrites.named(onnx.load(path)).graph
    constants = {tensor.name for tensor in graph.initializer}
    near = [name for node in graph.node if only is None or node.name in only for name in (*node.input, *node.output)]
    values = {name: runtime.tensors[name] for name in near if name in runtime.tensors and name not in constants}
    floats = {name: value for name, value in values.items() if value.dtype == np.float32 and value.ndim}
    np.savez(store, *floats.values())
    return {name: list(value.shape) for name, value in floats.items()}, dict(runtime.own.tensors)


def kinds(path: str, only: Collection[str] | None = None) -> list[str]:
    """The names of the first node (of ``only`` these) of each kind: operator, settings and number of inputs."""
    first: dict[tuple[Any, ...], str] = {}
    for node in rewrites.named(onnx.load(path)).graph.node:
        settings = sorted(attribute.SerializeToString() for attribute in node.attribute)
        if only is None or node.name in only:
            first.setdefault((node.domain, node.op_type, len(node.input), *settings), node.name)
    return list(first.values())


def write_pieces(path: str, target: str, shapes: dict[str, list[int]], only: Collection[str] | None = None) -> Pieces:
    """Write the model taken apart; see :func:`take_apart`."""
    exploded, pieces = take_apart(rewrites.named(onnx.load(path)), shapes, only)
    onnx.save(exploded, target)
    return pieces


def take_apart(
    model: onnx.ModelProto, shapes: dict[str, list[int]], only: Collection[str] | None = None
) -> tuple[onnx.ModelProto, Pieces]:
    """Take the model apart; ``shapes`` are the tensors to cut at, ``only`` the nodes to keep (None: all).

    Nodes that compute sizes stay attached to what needs them. Every piece reads and gives float32: an integer or
    boolean tensor that is cut is cast to float32 and back.
    """
    graph = model.graph
    constants = {t.name for t in graph.initializer}
    cut = {name: f"in_{i}" for i, name in enumerate(n for n in shapes if n not in constants)}
    makers = {out: node for node in graph.node for out in node.output}
    wanted = {id(node) for node in graph.node if (only is None or node.name in only) and set(node.output) & set(cut)}
    pending = [node for node in graph.node if id(node) in wanted]
    while pending:  # what computes the sizes, axes and constants that a wanted node reads
        for name in pending.pop().input:
            maker = makers.get(name)
            if maker is not None and name not in cut and id(maker) not in wanted:
                wanted.add(id(maker))
                pending.append(maker)
    index = {id(node): i for i, node in enumerate(graph.node)}
    types = _exact_types(model, cut)
    nodes: list[onnx.NodeProto] = []
    outputs, read = [], {}
    for node in (n for n in graph.node if id(n) in wanted):
        piece, casts = onnx.NodeProto(), []
        piece.CopyFrom(node)
        for i, name in enumerate(node.input):
            if name in cut:
                piece.input[i] = cut[name]
                read[cut[name]] = name
                if name in types:
                    piece.input[i] = f"{cut[name]}_exact_{index[id(node)]}_{i}"
                    nodes.append(onnx.helper.make_node("Cast", [cut[name]], [piece.input[i]], to=types[name]))
        for i, name in enumerate(node.output):
            if name in cut:
                output = f"out_{cut[name]}"
                piece.output[i] = f"{output}_exact" if name in types else output
                if name in types:
                    casts.append(onnx.helper.make_node("Cast", [piece.output[i]], [output], to=onnx.TensorProto.FLOAT))
                if only is None or node.name in only:
                    attached = tuple(each.name for each in _attached(node, makers, cut, index))
                    outputs.append(PieceOutput(name, output, node.name, node.op_type, index[id(node)], attached))
        nodes += [piece, *casts]
    used = {name for node in nodes for name in node.input}
    pieces = onnx.helper.make_graph(
        nodes,
        "pieces",
        [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, shapes[t]) for n, t in read.items()],
        [onnx.helper.make_tensor_value_info(o.name, onnx.TensorProto.FLOAT, shapes[o.tensor]) for o in outputs],
        [t for t in graph.initializer if t.name in used],
    )
    exploded = onnx.helper.make_model(pieces, opset_imports=model.opset_import, ir_version=model.ir_version)
    return exploded, Pieces(read, tuple(outputs))


def _exact_types(model: onnx.ModelProto, cut: Collection[str]) -> dict[str, int]:
    """The element types of those tensors to cut at that hold integers or booleans."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    types = {value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.value_info, *graph.output)}
    floats = {onnx.TensorProto.FLOAT, onnx.TensorProto.UNDEFINED}
    return {name: types[name] for name in cut if types.get(name, onnx.TensorProto.FLOAT) not in floats}


def _attached(
    node: onnx.NodeProto, makers: dict[str, onnx.NodeProto], cut: Collection[str], index: dict[int, int]
) -> list[onnx.NodeProto]:
    """The nodes before this one that no tensor to cut at separates from it, in the graph's order."""
    pending, seen = [node], dict[int, onnx.NodeProto]()
    while pending:
        for name in pending.pop().input:
            maker = makers.get(name)
            if maker is not None and name not in cut and id(maker) not in seen:
                seen[id(maker)] = maker
                pending.append(maker)
    return sorted(seen.values(), key=lambda each: index[id(each)])
