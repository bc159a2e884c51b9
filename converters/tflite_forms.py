"""A TFLite file in an equivalent form, for converters that go wrong on it as it is. Child side."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from ..native.light_file import packed, unpacked


def plain(data: bytes) -> bytearray:
    """The file with each float SOFTMAX's ``beta`` as a MUL before it.

    tf2onnx 1.17 multiplies by beta what the softmax gives, and not what it is given. Raises ValueError where the file
    has no such operator: its plain form would be itself.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = unpacked(data)
    kinds = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    scaled = 0
    for graph in model.subgraphs:
        operators = []
        for operator in graph.operators:
            softmax = kinds[operator.opcodeIndex] == schema.BuiltinOperator.SOFTMAX
            real = softmax and graph.tensors[operator.inputs[0]].type == schema.TensorType.FLOAT32
            if real and operator.builtinOptions.beta != 1:
                operators.append(_scaling(model, graph, operator))
                scaled += 1
            operators.append(operator)
        graph.operators = operators
    if not scaled:
        raise ValueError("the file is as plain as its plain form")
    return packed(model)


def _scaling(model: Any, graph: Any, softmax: Any) -> Any:
    """A MUL that does what the softmax's beta does, which is 1 from now on."""
    from ai_edge_litert import schema_py_generated as schema

    beta, multiply = schema.BufferT(), schema.OperatorCodeT()
    beta.data = np.frombuffer(np.float32(softmax.builtinOptions.beta).tobytes(), np.uint8)
    multiply.builtinCode = multiply.deprecatedBuiltinCode = schema.BuiltinOperator.MUL
    multiply.version = 1
    model.buffers.append(beta)
    model.operatorCodes.append(multiply)
    factor, product = schema.TensorT(), copy.deepcopy(graph.tensors[softmax.inputs[0]])
    number = len(graph.tensors)
    name = graph.tensors[softmax.outputs[0]].name
    factor.name, factor.buffer = name + b"/beta", len(model.buffers) - 1
    factor.type, factor.shape = schema.TensorType.FLOAT32, np.array([], np.int32)
    product.name, product.buffer = name + b"/scaled", 0
    graph.tensors += [factor, product]
    operator = schema.OperatorT()
    operator.opcodeIndex = len(model.operatorCodes) - 1
    operator.inputs, operator.outputs = [softmax.inputs[0], number], [number + 1]
    operator.builtinOptionsType, operator.builtinOptions = schema.BuiltinOptions.MulOptions, schema.MulOptionsT()
    softmax.inputs = [number + 1, *softmax.inputs[1:]]
    softmax.builtinOptions.beta = 1.0
    return operator
