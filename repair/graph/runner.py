"""An ONNX graph that is run one node at a time, so that a node can be given other inputs than its own graph's.

Child side. Constants are initializers: the graph was settled beforehand (``equivalents``).
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


def core(nodes: Sequence[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """The nodes that compute something, sizes and shapes aside."""
    return [node for node in nodes if node.op_type not in LAYOUT and node.op_type not in SIZES]


def session(model: onnx.ModelProto) -> Any:
    """An unoptimised session: what it computes is what the graph says, node by node."""
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
        """The tensors that a node reads, those that only its subgraphs see included; absent inputs left out."""
        return [name for name in (*node.input, *captured(node)) if name]

    def dynamic(self, node: onnx.NodeProto) -> list[str]:
        """The computed tensors that a node reads."""
        return [name for name in self.read(node) if name not in self.constants]

    def following(self, tensors: Iterable[str], depth: int) -> dict[str, int]:
        """Tensors computed from these in at most ``depth`` nodes -> in how many; moving values about counts nothing."""
        found: dict[str, int] = {}
        front = dict.fromkeys(tensors, 0)
        while front:
            name = min(front, key=lambda one: front[one])
            steps = front.pop(name)
            for node in self.readers.get(name, ()):
                there = steps + (node.op_type not in LAYOUT)
                for out in node.output:
                    if out and there <= depth and there < found.get(out, depth + 1):
                        found[out] = front[out] = there
        return found

    def between(self, tensor: str, known: Iterable[str]) -> list[onnx.NodeProto]:
        """The nodes that compute ``tensor`` from known tensors and constants, in order."""
        stop = {*known, *self.constants, *self.inputs}
        pending, found = [tensor], set()
        while pending:
            maker = self.maker.get(pending.pop())
            if maker is not None and maker.name not in found:
                found.add(maker.name)
                pending += [name for name in self.read(maker) if name not in stop]
        return [node for node in self.nodes if node.name in found]

    def run(self, node: onnx.NodeProto, values: Mapping[str, Array]) -> list[Array]:
        """The node's outputs for these values of what it reads. Whatever the runtime raises goes through."""
        return run_nodes([node], self.model, values, self.constants, [name for name in node.output if name])

    def everything(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Every tensor of the graph on these inputs, in one run."""
        names = list(dict.fromkeys(name for node in self.nodes for name in node.output if name))
        copy = onnx.ModelProto()
        copy.CopyFrom(self.model)
        del copy.graph.output[:]
        copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
        results = session(copy).run(names, {name: arrays[name] for name in self.inputs})
        values = dict(zip(names, results, strict=True)) | dict(arrays)
        return {name: value for name, value in values.items() if isinstance(value, np.ndarray)}


def captured(node: onnx.NodeProto) -> list[str]:
    """Tensors of the outer graph that a node's subgraphs read."""
    found: list[str] = []
    for attribute in node.attribute:
        if attribute.type != onnx.AttributeProto.GRAPH:
            continue
        inner = {*(i.name for i in attribute.g.input), *(t.name for t in attribute.g.initializer)}
        for one in attribute.g.node:
            found += [name for name in (*one.input, *captured(one)) if name and name not in inner]
            inner.update(one.output)
        found += [o.name for o in attribute.g.output if o.name not in inner]
    return found


def run_nodes(
    nodes: Sequence[onnx.NodeProto],
    model: onnx.ModelProto,
    values: Mapping[str, Array],
    constants: Mapping[str, Array],
    wanted: Sequence[str],
) -> list[Array]:
    """Run some nodes of a model alone: what they read comes from ``values`` and ``constants``."""
    step = alone(nodes, model, values, constants, wanted)
    return list(session(step).run(list(wanted), {one.name: values[one.name] for one in step.graph.input}))


def alone(
    nodes: Sequence[onnx.NodeProto],
    model: onnx.ModelProto,
    values: Mapping[str, Array],
    constants: Mapping[str, Array],
    wanted: Sequence[str],
) -> onnx.ModelProto:
    """Some nodes of a model as a model of their own, that takes what they read of ``values`` and gives ``wanted``."""
    made = {name for node in nodes for name in node.output}
    read = dict.fromkeys(name for node in nodes for name in (*node.input, *captured(node)) if name and name not in made)
    given = {name: values[name] for name in read if name not in constants}
    graph = onnx.helper.make_graph(
        list(nodes),
        "step",
        [
            onnx.helper.make_tensor_value_info(n, onnx.helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for n, a in given.items()
        ],
        [onnx.ValueInfoProto(name=name) for name in wanted],
        [numpy_helper.from_array(constants[name], name) for name in read if name in constants],
    )
    return onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
