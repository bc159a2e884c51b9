"""The operators of a TFLite file, each in a file of its own with what it is fed and what it gives. Child side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .. import onnx_tflite
from ..registry import Arrays
from ..trace_store import unique
from .flatbuffer import packed, unpacked
from .trace import observed


def apart(path: str, arrays: Arrays, folder: str) -> list[dict[str, Any]]:
    """Run the file on one input (``arrays``: name -> array, batch of 1) without delegates, and take it apart.

    Writes to ``folder`` a TFLite file for each operator that computes on activations. Gives, in execution order,
    records of "tensor" (its first output, as ``light_layers.trace`` names it), "operator" (as ``CONV_2D``), "window"
    (has it strides or padding?), "path" (the file), "taken" and "given" (arrays in and out, in the file's order).
    Operators that call other graphs of the file are left out.
    """
    from ai_edge_litert import schema_py_generated as schema

    interpreter = observed(path)
    onnx_tflite.interpreted(interpreter).run(arrays)
    details = {detail["index"]: detail for detail in interpreter.get_tensor_details()}
    names = dict(zip(details, unique(detail["name"] for detail in details.values()), strict=True))
    words = [step["op_name"] for step in interpreter._get_ops_details()]
    model = unpacked(Path(path).read_bytes())
    graph, buffers, empty = model.subgraphs[0], model.buffers, schema.BufferT()
    model.subgraphs, model.signatureDefs = [graph], []
    found = []
    for number, (operator, word) in enumerate(zip(list(graph.operators), words, strict=False)):
        read = [int(index) for index in operator.inputs if index >= 0]
        taken = list(dict.fromkeys(i for i in read if not _constant(buffers, graph.tensors[i])))
        made = [int(index) for index in operator.outputs]
        if not taken or any(_graphs_named(operator.builtinOptions)):
            continue
        used = {graph.tensors[index].buffer for index in (*read, *made)}
        graph.operators, graph.inputs, graph.outputs = [operator], taken, made
        model.buffers = [buffer if i in used else empty for i, buffer in enumerate(buffers)]
        alone = Path(folder) / f"{number}.tflite"
        alone.write_bytes(packed(model))
        found.append(
            {
                "tensor": names[made[0]],
                "operator": word,
                "window": any(hasattr(operator.builtinOptions, name) for name in ("strideH", "padding")),
                "path": str(alone),
                "taken": [np.array(interpreter.get_tensor(index)) for index in taken],
                "given": [np.array(interpreter.get_tensor(index)) for index in made],
            }
        )
    return found


def _constant(buffers: Any, tensor: Any) -> bool:
    data = buffers[tensor.buffer].data
    return data is not None and len(data) > 0


def _graphs_named(options: Any) -> list[str]:
    """The fields of an operator's options that name another graph of the file (IF, WHILE, CALL_ONCE and kin)."""
    fields = [] if options is None else list(vars(options))
    return [field for field in fields if field.lower().endswith("subgraphindex")]
