"""Correct a deployment's preprocessing by nodes at the Target's input (fault type PP).

Worker side: works on the Target's ONNX view.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx

from .edits import Rewire, applied, fresh

Array = np.ndarray[Any, Any]


def write(
    path: str,
    target: str,
    *,
    input_name: str,
    channel_axis: int,
    reverse_channels: bool,
    factor: Sequence[float],
    offset: Sequence[float],
) -> None:
    """Write the model at ``path`` to ``target`` with ``value * factor + offset`` computed of an input before its use.

    ``reverse_channels`` reverses the order of the channels first. ``factor`` and ``offset`` have one number for each
    channel, in the order in which the model takes the channels. Nodes that would change nothing are left out.
    """
    model = onnx.load(path)
    graph = model.graph
    declared = next(value for value in graph.input if value.name == input_name)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(declared.type.tensor_type.elem_type)
    rank = len(declared.type.tensor_type.shape.dim)
    across = [len(factor) if i == channel_axis else 1 for i in range(rank)]
    nodes: list[onnx.NodeProto] = []
    constants = {}
    current = input_name

    def add(kind: str, constant: Array, **attributes: int) -> None:
        nonlocal current
        tensor = fresh(model, f"prepared/{kind.lower()}")
        constants[f"{tensor}/constant"] = constant
        nodes.append(onnx.helper.make_node(kind, [current, f"{tensor}/constant"], [tensor], tensor, **attributes))
        current = tensor

    if reverse_channels:
        add("Gather", np.arange(len(factor) - 1, -1, -1, dtype=np.int64), axis=channel_axis)
    if any(number != 1 for number in factor):
        add("Mul", np.asarray(factor, dtype).reshape(across))
    if any(number != 0 for number in offset):
        add("Add", np.asarray(offset, dtype).reshape(across))
    edits = [Rewire("prepared at the input", input_name, current, None, nodes, constants)] if nodes else []
    onnx.save(applied(model, edits), target)
