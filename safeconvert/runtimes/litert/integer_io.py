"""Give a TFLite file with int8 inputs and outputs uint8 ones, by QUANTIZE operators. Runs in a worker."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

UINT8, INT8 = 3, 9  # schema.fbs, enum TensorType
QUANTIZE = 114  # schema.fbs, enum BuiltinOperator
SHIFT = 128  # int8 -> uint8 with the same scale


def with_uint8(model: Any) -> Any:
    """Return the model (``ModelT``) with uint8 in place of int8 at the inputs and outputs of its first graph."""
    graph = model.subgraphs[0]
    code = _quantize_code(model)
    inputs, outputs = {}, {}
    for index in [int(i) for i in graph.inputs]:
        if graph.tensors[index].type == INT8:
            inputs[index] = _uint8_tensor(graph, index)
    for index in [int(i) for i in graph.outputs]:
        if graph.tensors[index].type == INT8:
            outputs[index] = _uint8_tensor(graph, index)
    before = [_quantize(code, new, old) for old, new in inputs.items()]
    after = [_quantize(code, old, new) for old, new in outputs.items()]
    graph.operators = [*before, *graph.operators, *after]
    graph.inputs = np.array([inputs.get(int(i), int(i)) for i in graph.inputs], np.int32)
    graph.outputs = np.array([outputs.get(int(i), int(i)) for i in graph.outputs], np.int32)
    for signature in model.signatureDefs or ():
        for entries, changed in ((signature.inputs, inputs), (signature.outputs, outputs)):
            for entry in entries or ():
                entry.tensorIndex = changed.get(int(entry.tensorIndex), int(entry.tensorIndex))
    return model


def _uint8_tensor(graph: Any, index: int) -> int:
    """Add a tensor like that one in uint8, and return its index."""
    tensor = copy.deepcopy(graph.tensors[index])
    tensor.name = bytes(tensor.name or b"") + b"_uint8"
    tensor.type, tensor.buffer = UINT8, 0
    tensor.quantization.zeroPoint = np.asarray(tensor.quantization.zeroPoint, np.int64) + SHIFT
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def _quantize(code: int, source: int, target: int) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    operator = schema.OperatorT()
    operator.opcodeIndex = code
    operator.inputs, operator.outputs = np.array([source], np.int32), np.array([target], np.int32)
    return operator


def _quantize_code(model: Any) -> int:
    """The index of QUANTIZE among the operator codes, which is added where it lacks."""
    from ai_edge_litert import schema_py_generated as schema

    for index, code in enumerate(model.operatorCodes):
        if max(code.builtinCode, code.deprecatedBuiltinCode) == QUANTIZE:
            return index
    code = schema.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = QUANTIZE, QUANTIZE, 2
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1
