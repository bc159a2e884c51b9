"""Give a TFLite file an equivalent form, for converters that go wrong on it as it is. Worker side.

tf2onnx 1.17 multiplies a softmax's output by beta, not its input; and it has no RELU_N1_TO_1, neither as an operator
nor fused into one.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from ...runtimes.litert.flatbuffer import packed, unpacked


def plain(data: bytes) -> bytearray | None:
    """Write each float SOFTMAX's ``beta`` as a MUL before it, and each float RELU_N1_TO_1 as a MINIMUM and a MAXIMUM.

    None where the file has neither: its plain form would be itself.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = unpacked(data)
    kinds = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    limit, real = schema.ActivationFunctionType.RELU_N1_TO_1, schema.TensorType.FLOAT32
    changed = False
    for graph in model.subgraphs:
        written = Written(model, graph)
        for operator in graph.operators:
            kind, options = kinds[operator.opcodeIndex], operator.builtinOptions
            floats = len(operator.outputs) and graph.tensors[operator.outputs[0]].type == real
            if floats and kind == schema.BuiltinOperator.SOFTMAX and getattr(options, "beta", 1.0) != 1:
                name = graph.tensors[operator.outputs[0]].name
                scaled = written.like(operator.inputs[0], name + b"/scaled")
                written.add("MUL", [operator.inputs[0], written.constant(options.beta)], scaled)
                operator.inputs, options.beta = [scaled, *operator.inputs[1:]], 1.0
                written.operators.append(operator)
            elif floats and kind == schema.BuiltinOperator.RELU_N1_TO_1:
                written.limit(operator.inputs[0], operator.outputs[0])
            elif floats and getattr(options, "fusedActivationFunction", None) == limit:
                output = operator.outputs[0]
                inner = written.like(output, graph.tensors[output].name + b"/inner")
                operator.outputs, options.fusedActivationFunction = [inner, *operator.outputs[1:]], 0
                written.operators.append(operator)
                written.limit(inner, output)
            else:
                written.operators.append(operator)
        changed |= len(written.operators) > len(graph.operators)
        graph.operators = written.operators
    return packed(model) if changed else None


class Written:
    """The operators of a graph as they are written anew, with tensors and constants added to its file."""

    def __init__(self, model: Any, graph: Any) -> None:
        self.model, self.graph = model, graph
        self.operators: list[Any] = []

    def constant(self, value: float) -> int:
        """Add a float32 scalar and return its number."""
        from ai_edge_litert import schema_py_generated as schema

        tensor, buffer = schema.TensorT(), schema.BufferT()
        buffer.data = np.frombuffer(np.float32(value).tobytes(), np.uint8)
        self.model.buffers.append(buffer)
        tensor.name, tensor.buffer = b"constant/%d" % len(self.graph.tensors), len(self.model.buffers) - 1
        tensor.type, tensor.shape = schema.TensorType.FLOAT32, np.array([], np.int32)
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def like(self, number: int, name: bytes) -> int:
        """Add a tensor of the same shape and type and return its number."""
        tensor = copy.deepcopy(self.graph.tensors[number])
        tensor.name, tensor.buffer = name, 0
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def limit(self, source: int, output: int) -> None:
        """Add a RELU_N1_TO_1 from one tensor to another."""
        below = self.like(output, self.graph.tensors[output].name + b"/below")
        self.add("MINIMUM", [source, self.constant(1.0)], below)
        self.add("MAXIMUM", [below, self.constant(-1.0)], output)

    def add(self, kind: str, inputs: list[int], output: int) -> None:
        """Add an operator of two inputs, by its name in the schema."""
        from ai_edge_litert import schema_py_generated as schema

        code, operator = schema.OperatorCodeT(), schema.OperatorT()
        code.builtinCode = getattr(schema.BuiltinOperator, kind)
        code.deprecatedBuiltinCode, code.version = code.builtinCode, 1
        self.model.operatorCodes.append(code)
        operator.opcodeIndex = len(self.model.operatorCodes) - 1
        operator.inputs, operator.outputs = inputs, [output]
        options = "Mul" if kind == "MUL" else "MaximumMinimum"
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, f"{options}Options")
        operator.builtinOptions = getattr(schema, f"{options}OptionsT")()
        self.operators.append(operator)
