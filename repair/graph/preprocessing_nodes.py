"""PP, preprocessing: what a deployment prepares otherwise than the Source, put right by nodes at the Target's input.

Child side: works on the Target's ONNX view.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx

from .edits import Rewire, applied, fresh

Array = np.ndarray[Any, Any]


def write(
    path: str, target: str, *, name: str, axis: int, turn: bool, factor: Sequence[float], offset: Sequence[float]
) -> None:
    """Write the model with ``value * factor + offset`` at its input ``name``, on channels that are turned round first.

    ``axis`` is that of the channels; ``factor`` and ``offset`` have one number a channel, in the order in which the
    model takes the channels. What would change nothing is left out.
    """
    model = onnx.load(path)
    graph = model.graph
    declared = next(one for one in graph.input if one.name == name)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(declared.type.tensor_type.elem_type)
    rank = len(declared.type.tensor_type.shape.dim)
    across = [len(factor) if i == axis else 1 for i in range(rank)]
    nodes: list[onnx.NodeProto] = []
    constants = {}
    current = name

    def add(kind: str, constant: Array, **attributes: int) -> None:
        nonlocal current
        made = fresh(model, f"prepared/{kind.lower()}")
        constants[f"{made}/constant"] = constant
        nodes.append(onnx.helper.make_node(kind, [current, f"{made}/constant"], [made], made, **attributes))
        current = made

    if turn:
        add("Gather", np.arange(len(factor) - 1, -1, -1, dtype=np.int64), axis=axis)
    if any(one != 1 for one in factor):
        add("Mul", np.asarray(factor, dtype).reshape(across))
    if any(one != 0 for one in offset):
        add("Add", np.asarray(offset, dtype).reshape(across))
    edits = [Rewire("prepared at the input", name, current, None, nodes, constants)] if nodes else []
    onnx.save(applied(model, edits), target)
