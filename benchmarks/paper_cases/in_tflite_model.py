"""Faults of the paper's TFLite Targets. Run in a process of its own: prints what is wrong as JSON.

    python -m benchmarks.paper_cases.in_tflite_model FILE WRONG '[["ID", "other size"], ...]'

Integer weights that the file holds already count as wrong weights (WB) of their layers, each by itself.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from benchmarks.faults import in_tflite
from benchmarks.faults.in_tflite import (
    CONV,
    Model,
    Op,
    Result,
    graph,
    kind_of,
    name_of,
    new_op,
    new_tensor,
    operators,
    parts,
    pick,
    text,
)
from benchmarks.faults.seeding import Array, Draw, Seeded

WEIGHTED = (*CONV, "FULLY_CONNECTED")


def half(model: Model, draw: Draw) -> Result:
    """Weights put behind a DEQUANTIZE node of their own, as float16, with noise on them."""
    op = pick(model, draw, [op for op in operators(model, *WEIGHTED) if _values(model, op) is not None])
    value = _values(model, op)
    assert value is not None
    noisy = value + draw.random.standard_normal(value.shape) * value.std() * draw.strength
    name = text(model, op.inputs[1])
    stored = new_tensor(model, f"{name}/half", list(value.shape), value=noisy.astype(np.float16))
    graph(model).tensors[stored].type = schema.TensorType.FLOAT16
    widened = new_tensor(model, f"{name}/widened", list(value.shape))
    node = new_op(model, "DEQUANTIZE", [stored], widened, "DequantizeOptions")
    op.inputs = [op.inputs[0], widened, *list(op.inputs)[2:]]
    graph(model).operators.insert(graph(model).operators.index(op), node)
    held = [text(model, tensor) for tensor in (stored, widened)]
    return model, _seeded(model, op, f"float16 weights, noise of {draw.strength:g} of their spread", [name, *held])


def _values(model: Model, op: Op) -> Array | None:
    """The layer's constant float32 weights, None where it holds others."""
    value = in_tflite.values(model, op.inputs[1]) if len(op.inputs) > 1 else None
    return None if value is None or value.dtype != np.float32 else value


def _seeded(model: Model, op: Op, detail: str, held: list[str]) -> Seeded:
    names = [part for name in (name_of(model, op), *held) for part in parts(name)]
    return Seeded("", name_of(model, op), "", f"{kind_of(model, op)}: {detail}", tuple(dict.fromkeys(names)))


def integer_weights(model: Model) -> list[Seeded]:
    """The layers whose constant weights are int8, each one a fault."""
    tensors = []
    for op in operators(model, *WEIGHTED):
        tensor = graph(model).tensors[op.inputs[1]]
        data = model.buffers[tensor.buffer].data
        if tensor.type == schema.TensorType.INT8 and data is not None and len(data):
            fault = _seeded(model, op, "int8 weights", [text(model, op.inputs[1])])
            tensors.append(replace(fault, type="WB", kind="int8 weights"))
    return tensors


def inject(path: str, wrong: str, faults: list[tuple[str, str]], seed: int = 0) -> list[dict[str, Any]]:
    model, used_nodes = in_tflite.read(path), set[str]()
    tensors = integer_weights(model)
    for index, (type_, kind) in enumerate(faults):
        make = half if kind == "half" else in_tflite.KINDS[type_][kind]
        model, fault = make(model, Draw(np.random.default_rng((seed, index)), 1.0, used_nodes))
        used_nodes |= {fault.node, *fault.also}
        tensors.append(replace(fault, type=type_, kind=kind))
    in_tflite.write(model, wrong)
    return [asdict(fault) for fault in tensors]


if __name__ == "__main__":
    print(json.dumps(inject(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))))
