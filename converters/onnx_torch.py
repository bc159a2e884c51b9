"""onnx -> torch, by onnx2torch; the result is written as an exported program (``.pt2``).

Worker side. A ``.pt2`` loads with torch alone: neither onnx2torch nor its layer classes are needed again.
"""

from __future__ import annotations

import warnings
from typing import Any

import onnx
import torch

from ..runtimes.pytorch import model as pytorch_model
from ..runtimes.pytorch.exporter import export
from .hop_function import HopAnswer, Shapes
from .support.constant_arguments import bake
from .support.input_names import with_plain_inputs


def convert(path: str, target: str, *, shapes: Shapes) -> HopAnswer:
    """Convert the ONNX file and export the module, with a free batch where ``shapes`` has one and the graph lets it."""
    pytorch_model.import_torchvision()
    import onnx2torch

    model = with_plain_inputs(without_empty_regions(onnx.load(path)))
    constants = {tensor.name for tensor in model.graph.initializer}
    kinds = [i.type.tensor_type.elem_type for i in model.graph.input if i.name not in constants]
    module = bake(onnx2torch.convert(model).eval())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = export(module, shapes, [onnx.helper.tensor_dtype_to_np_dtype(kind) for kind in kinds])
        for node in program.graph.nodes:
            node.meta.pop("stack_trace", None)  # paths of this machine
        torch.export.save(program, target)
    return HopAnswer.WRITTEN


def without_empty_regions(model: Any) -> Any:
    """Leave out Resize's unused ``roi``: torch.export.save fails on tensors without elements."""
    empty = {t.name for t in model.graph.initializer if 0 in t.dims}
    for node in model.graph.node:
        if node.op_type == "Constant" and any(a.name == "value" and 0 in a.t.dims for a in node.attribute):
            empty.add(node.output[0])
    for node in model.graph.node:
        if node.op_type == "Resize" and len(node.input) > 2 and node.input[1] in empty:
            node.input[1] = ""
    used = {name for node in model.graph.node for name in node.input}
    for tensor in [t for t in model.graph.initializer if t.name in empty - used]:
        model.graph.initializer.remove(tensor)
    for node in [n for n in model.graph.node if n.op_type == "Constant" and n.output[0] in empty - used]:
        model.graph.node.remove(node)
    return model
