"""The trained arrays of an ONNX file: initializers and constants, read into a store. Runs in a worker."""

from __future__ import annotations

import onnx
from onnx import numpy_helper

from ..trace_store import ParameterRecord, Store


def read_parameters(path: str, store: str) -> list[ParameterRecord]:
    """Write every floating-point initializer and constant of rank 1 or more into ``store``.

    The layer of an array is the node that reads it first.
    """
    graph = onnx.load(path).graph
    readers = {name: node.name for node in reversed(graph.node) for name in node.input}
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            arrays[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    records: list[ParameterRecord] = []
    with Store(store) as parameter_store:
        for name, array in arrays.items():
            if array.dtype.kind == "f" and array.ndim:
                facts = (name, readers.get(name, ""), array.shape, array.dtype.name, False)
                records.append(ParameterRecord(*facts, parameter_store.write(array)))
    return records
