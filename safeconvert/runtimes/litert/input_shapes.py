"""A TFLite file with other sizes at its inputs; the interpreter works out all others. Runs in a worker."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .flatbuffer import packed, unpacked
from .model import load_tflite


def change_input_shapes(path: str, target: str, shapes: dict[str, list[int | None]]) -> str:
    """Write the file at ``target`` with these shapes (input name -> sizes, batch first, None for free) declared.

    Gives the flavour, ``tflite``. What an operator needs in a constant, such as a Reshape's sizes, stays as it is.
    """
    model = unpacked(Path(path).read_bytes())
    described = load_tflite(path).inputs
    for graph in model.subgraphs[:1]:
        for spec, index in zip(described, graph.inputs, strict=True):
            if spec.name in shapes:
                sizes, tensor = shapes[spec.name], graph.tensors[index]
                tensor.shape = np.array([1 if size is None else size for size in sizes], np.int32)
                if tensor.shapeSignature is not None:
                    tensor.shapeSignature = np.array([-1 if size is None else size for size in sizes], np.int32)
    Path(target).write_bytes(packed(model))
    return "tflite"
