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
from benchmarks.faults.in_tflite import CONV, Model, Op, Result, graph, kind_of, name_of, operators, parts, pick, text
from benchmarks.faults.seeding import Draw, Seeded

WEIGHTED = (*CONV, "FULLY_CONNECTED")


def half(model: Model, draw: Draw) -> Result:
    """Noise on float16 weights that stand behind a DEQUANTIZE node of their own."""
    widened = {op.outputs[0]: op for op in operators(model, "DEQUANTIZE")}
    places = [op for op in operators(model, *WEIGHTED) if len(op.inputs) > 1 and op.inputs[1] in widened]
    op = pick(model, draw, places)
    source = widened[op.inputs[1]]
    tensor = graph(model).tensors[source.inputs[0]]
    buffer = model.buffers[tensor.buffer]
    value = np.frombuffer(np.asarray(buffer.data, np.uint8).tobytes(), np.float16).astype(np.float32)
    noise = draw.random.standard_normal(value.shape) * value.std() * draw.strength
    buffer.data = np.frombuffer((value + noise).astype(np.float16).tobytes(), np.uint8)
    held = [text(model, tensor) for tensor in (source.inputs[0], source.outputs[0])]
    return model, _seeded(model, op, f"float16 weights, noise of {draw.strength:g} of their spread", held)


def _seeded(model: Model, op: Op, detail: str, held: list[str]) -> Seeded:
    names = [part for name in (name_of(model, op), *held) for part in parts(name)]
    return Seeded("", name_of(model, op), "", f"{kind_of(model, op)}: {detail}", tuple(dict.fromkeys(names)))


def integer_weights(model: Model) -> list[Seeded]:
    """The layers whose constant weights are int8, each one a fault."""
    found = []
    for op in operators(model, *WEIGHTED):
        tensor = graph(model).tensors[op.inputs[1]]
        data = model.buffers[tensor.buffer].data
        if tensor.type == schema.TensorType.INT8 and data is not None and len(data):
            fault = _seeded(model, op, "int8 weights", [text(model, op.inputs[1])])
            found.append(replace(fault, type="WB", kind="int8 weights"))
    return found


def inject(path: str, wrong: str, faults: list[tuple[str, str]], seed: int = 0) -> list[dict[str, Any]]:
    model, taken = in_tflite.read(path), set[str]()
    found = integer_weights(model)
    for index, (type_, kind) in enumerate(faults):
        make = half if kind == "half" else in_tflite.KINDS[type_][kind]
        model, fault = make(model, Draw(np.random.default_rng((seed, index)), 1.0, taken))
        taken |= {fault.node, *fault.also}
        found.append(replace(fault, type=type_, kind=kind))
    in_tflite.write(model, wrong)
    return [asdict(fault) for fault in found]


if __name__ == "__main__":
    print(json.dumps(inject(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))))
