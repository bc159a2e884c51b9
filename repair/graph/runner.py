"""Run an ONNX graph one node at a time, so that a node can get other inputs than its own graph's.

Worker side. Constants are initializers: the graph was brought into that form beforehand (``rewrites``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

Array = np.ndarray[Any, Any]
LAYOUT = frozenset({"Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout", "Cast"})
"""Operators that move values or leave them, and compute nothing."""
SIZES = frozenset({"Shape", "Size", "ConstantOfShape", "Range", "NonZero"})


def computing_nodes(nodes: Sequence[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Select the nodes that compute something, sizes and shapes aside."""
    return [node for node in nodes if node.op_type not in LAYOUT and node.op_type not in SIZES]


def session(model: onnx.ModelProto) -> Any:
    """Open a session without optimisations: it computes what the graph says, node by node."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


class GraphRunner:
    """The nodes of a model in the order in which they run, who makes and who reads each tensor, and the constants."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.nodes: list[onnx.NodeProto] = list(model.graph.node)
        self.constants: dict[str, Array] = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        self.inputs = [i.name for i in model.graph.input if i.name not in self.constants]
        self.outputs = [o.name for o in model.graph.output]
        self.index = {node.name: i for i, node in enumerate(self.nodes)}
        self.maker = {name: node for node in self.nodes for name in node.output if name}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(self.read(node)):
                self.readers.setdefault(name, []).append(node)

    def read(self, node: onnx.NodeProto) -> list[str]:
        """List the tensors that a node reads, also those that only its subgraphs see; absent inputs are left out."""
        return [name for name in (*node.input, *captured(node)) if name]

    def dynamic(self, node: onnx.NodeProto) -> list[str]:
        """List the computed tensors that a node reads."""
        return [name for name in self.read(node) if name not in self.constants]

    def following(self, tensors: Iterable[str], depth: int) -> dict[str, int]:
        """Count in how many nodes each tensor is computed from these, up to ``depth``; layout nodes do not count."""
        counts: dict[str, int] = {}
        front = dict.fromkeys(tensors, 0)
        while front:
            name = min(front, key=lambda tensor: front[tensor])
            steps = front.pop(name)
            for node in self.readers.get(name, ()):
                there = steps + (node.op_type not in LAYOUT)
                for out in node.output:
                    if out and there <= depth and there < counts.get(out, depth + 1):
                        counts[out] = front[out] = there
        return counts

    def between(self, tensor: str, known: Iterable[str]) -> list[onnx.NodeProto]:
        """List the nodes that compute ``tensor`` from known tensors and constants, in order."""
        stop = {*known, *self.constants, *self.inputs}
        pending, names = [tensor], set()
        while pending:
            maker = self.maker.get(pending.pop())
            if maker is not None and maker.name not in names:
                names.add(maker.name)
                pending += [name for name in self.read(maker) if name not in stop]
        return [node for node in self.nodes if node.name in names]

    def run(self, node: onnx.NodeProto, values: Mapping[str, Array]) -> list[Array]:
        """Compute the node's outputs for these values of what it reads. Whatever the runtime raises goes through."""
        return run_nodes([node], self.model, values, self.constants, [name for name in node.output if name])

    def everything(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Compute every tensor of the graph on these inputs, in one run."""
        names = list(dict.fromkeys(name for node in self.nodes for name in node.output if name))
        copy = onnx.ModelProto()
        copy.CopyFrom(self.model)
        del copy.graph.output[:]
        copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
        results = session(copy).run(names, {name: arrays[name] for name in self.inputs})
        values = dict(zip(names, results, strict=True)) | dict(arrays)
        return {name: value for name, value in values.items() if isinstance(value, np.ndarray)}


def captured(node: onnx.NodeProto) -> list[str]:
    """List the tensors of the outer graph that a node's subgraphs read."""
    names: list[str] = []
    for attribute in node.attribute:
        if attribute.type != onnx.AttributeProto.GRAPH:
            continue
        inner = {*(i.name for i in attribute.g.input), *(t.name for t in attribute.g.initializer)}
        for inner_node in attribute.g.node:
            names += [name for name in (*inner_node.input, *captured(inner_node)) if name and name not in inner]
            inner.update(inner_node.output)
        names += [o.name for o in attribute.g.output if o.name not in inner]
    return names


def run_nodes(
    nodes: Sequence[onnx.NodeProto],
    model: onnx.ModelProto,
    values: Mapping[str, Array],
    constants: Mapping[str, Array],
    wanted: Sequence[str],
) -> list[Array]:
    """Run some nodes of a model alone: what they read comes from ``values`` and ``constants``."""
    step = alone(nodes, model, values, constants, wanted)
    return list(session(step).run(list(wanted), {value.name: values[value.name] for value in step.graph.input}))


def alone(
    nodes: Sequence[onnx.NodeProto],
    model: onnx.ModelProto,
    values: Mapping[str, Array],
    constants: Mapping[str, Array],
    wanted: Sequence[str],
) -> onnx.ModelProto:
    """Make a model of some nodes alone, which takes what they read of ``values`` and gives ``wanted``."""
    computed = {name for node in nodes for name in node.output}
    names = [name for node in nodes for name in (*node.input, *captured(node)) if name and name not in computed]
    read = dict.fromkeys(names)
    inputs = {name: values[name] for name in read if name not in constants}
    graph = onnx.helper.make_graph(
        list(nodes),
        "step",
        [
            onnx.helper.make_tensor_value_info(n, onnx.helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for n, a in inputs.items()
        ],
        [onnx.ValueInfoProto(name=name) for name in wanted],
        [numpy_helper.from_array(constants[name], name) for name in read if name in constants],
    )
    return onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
