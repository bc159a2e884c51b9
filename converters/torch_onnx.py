"""torch -> onnx, by ``torch.onnx``: the exporter over ``torch.export`` (dynamo), and the tracing one (legacy).

Worker side. The batch stays free where the Source's is. ``shapes`` are the input shapes of this run
(name -> shape, batch first, ``None`` where the batch is free). With ``form`` "decomposed" the exporter is fed that
equivalent of the model (``forms/pytorch/decompositions``).
"""

from __future__ import annotations

import re
import warnings
from typing import Any

import torch

from ..runtimes.pytorch import model as pytorch_model
from ..runtimes.pytorch.exporter import examples
from .forms.pytorch.decompositions import decomposable, decomposed
from .forms.pytorch.exported_program import by_argument, traceable
from .hop_function import HopAnswer, Shapes


def dynamo(path: str, target: str, *, shapes: Shapes, opset: int | None = None, form: str = "") -> HopAnswer:
    """Export through ``torch.export``; without ``opset``, the exporter chooses it."""
    program, module = pytorch_model.loaded(path).native
    arguments: dict[str, Any] = {"dynamo": True, "verbose": False, "external_data": False}
    if opset is not None:
        arguments["opset_version"] = opset
    if form:
        program = decomposed(program or module, shapes)
    if program is not None:
        torch.onnx.export(program, (), target, **arguments)
        return HopAnswer.WRITTEN
    free = [shape[0] is None for shape in shapes.values()]
    if any(free):
        arguments["dynamic_shapes"] = by_argument(module, [{0: torch.export.Dim.DYNAMIC} if f else {} for f in free])
    torch.onnx.export(module, examples(shapes), target, input_names=list(shapes), **arguments)
    return HopAnswer.WRITTEN


def legacy(path: str, target: str, *, shapes: Shapes, opset: int | None = None, form: str = "") -> HopAnswer:
    """Export by tracing (TorchScript), which keeps to older opsets that more converters read."""
    loaded = pytorch_model.loaded(path)
    program, module = loaded.native
    count = len(loaded.outputs) or 1
    if not form:
        inputs = examples(shapes, program)
        _trace(module if program is None else traceable(program), inputs, target, shapes, opset, count)
        return HopAnswer.WRITTEN
    program, unknown = decomposed(program or module, shapes), set[str]()
    inputs = examples(shapes, program)
    while True:
        try:
            _trace(traceable(program), inputs, target, shapes, opset, count)
            return HopAnswer.WRITTEN
        except torch.onnx.errors.UnsupportedOperatorError as error:
            # The exporter says what it does not know one operator at a time; which they are depends on the opset.
            name = re.search(r"aten::\w+", str(error))
            if name is None or name[0] in unknown or not decomposable(name[0]):
                raise
            unknown.add(name[0])
            program = decomposed(program, shapes, frozenset(unknown))


def _trace(module: Any, inputs: tuple[Any, ...], target: str, shapes: Shapes, opset: int | None, count: int) -> None:
    outputs = [f"output_{i}" for i in range(count)]
    names = [name if name not in outputs else f"{name}_input" for name in shapes]
    axes = {name: {0: "batch"} for name, shape in zip(names, shapes.values(), strict=True) if shape[0] is None}
    if axes:
        axes |= {name: {0: "batch"} for name in outputs}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            inputs,
            target,
            dynamo=False,
            opset_version=opset,
            input_names=names,
            output_names=outputs,
            dynamic_axes=axes or None,
        )
