"""The operators of a TFLite file, each in a file of its own with its inputs and outputs. Runs in a worker."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..registry import Arrays
from ..trace_store import Array, unique
from .flatbuffer import packed, unpacked
from .model import interpreted
from .trace import observed


@dataclass(frozen=True)
class SingleOperator:
    """One operator of a TFLite file, in a file of its own.

    ``tensor`` is its first output, as ``litert/trace.py`` names it, ``operator`` its type, as ``CONV_2D``;
    ``has_window``: it has strides or padding. ``inputs`` are what it read in the whole model and ``outputs`` what it
    gave there, in the order of the file at ``path``.
    """

    tensor: str
    operator: str
    has_window: bool
    path: str
    inputs: list[Array]
    outputs: list[Array]


def split_operators(path: str, arrays: Arrays, folder: str) -> list[SingleOperator]:
    """Run the file on one input (``arrays``: name -> array, batch of 1) without delegates, and take it apart.

    Writes to ``folder`` a TFLite file for each operator that computes on activations, in execution order. Operators
    that call other graphs of the file are left out.
    """
    from ai_edge_litert import schema_py_generated as schema

    interpreter = observed(path)
    interpreted(interpreter).run(arrays)
    details = {detail["index"]: detail for detail in interpreter.get_tensor_details()}
    names = dict(zip(details, unique(detail["name"] for detail in details.values()), strict=True))
    words = [step["op_name"] for step in interpreter._get_ops_details()]
    model = unpacked(Path(path).read_bytes())
    graph, buffers, empty = model.subgraphs[0], model.buffers, schema.BufferT()
    model.subgraphs, model.signatureDefs = [graph], []
    single: list[SingleOperator] = []
    for number, (operator, word) in enumerate(zip(list(graph.operators), words, strict=False)):
        read = [int(index) for index in operator.inputs if index >= 0]
        inputs = list(dict.fromkeys(i for i in read if not _constant(buffers, graph.tensors[i])))
        outputs = [int(index) for index in operator.outputs]
        if not inputs or any(_graphs_named(operator.builtinOptions)):
            continue
        used = {graph.tensors[index].buffer for index in (*read, *outputs)}
        graph.operators, graph.inputs, graph.outputs = [operator], inputs, outputs
        model.buffers = [buffer if i in used else empty for i, buffer in enumerate(buffers)]
        file = Path(folder) / f"{number}.tflite"
        file.write_bytes(packed(model))
        single.append(
            SingleOperator(
                names[outputs[0]],
                word,
                any(hasattr(operator.builtinOptions, name) for name in ("strideH", "padding")),
                str(file),
                [np.array(interpreter.get_tensor(index)) for index in inputs],
                [np.array(interpreter.get_tensor(index)) for index in outputs],
            )
        )
    return single


def _constant(buffers: Any, tensor: Any) -> bool:
    data = buffers[tensor.buffer].data
    return data is not None and len(data) > 0


def _graphs_named(options: Any) -> list[str]:
    """The fields of an operator's options that name another graph of the file (IF, WHILE, CALL_ONCE and kin)."""
    fields = [] if options is None else list(vars(options))
    return [field for field in fields if field.lower().endswith("subgraphindex")]
