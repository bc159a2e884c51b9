"""The trained arrays of an ONNX file, as the other formats' ``runtimes/*/trace.py`` give theirs. Child side."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper


def parameters(path: str, store: str) -> list[dict[str, Any]]:
    """Keep every floating-point initializer and constant of rank 1 or more in ``store`` (``.npz``), as float32.

    Gives for each "name", "layer" (the node that reads it first), "shape" and "key".
    """
    graph = onnx.load(path).graph
    readers = {name: node.name for node in reversed(graph.node) for name in node.input}
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            found[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    kept = {name: array for name, array in found.items() if array.dtype.kind == "f" and array.ndim}
    np.savez(store, *[array.astype(np.float32) for array in kept.values()])
    return [
        {"name": name, "layer": readers.get(name, ""), "shape": list(array.shape), "key": f"arr_{i}"}
        for i, (name, array) in enumerate(kept.items())
    ]
