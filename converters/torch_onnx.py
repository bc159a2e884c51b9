"""torch -> onnx, by ``torch.onnx``: the exporter over ``torch.export`` (dynamo), and the tracing one (legacy).

Child side. The batch stays free where the Source's is. ``shapes`` are the input shapes of this run
(name -> shape, batch first, ``None`` where the batch is free).
"""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import torch

from ..native import torch_model
from .torch_traced import traceable

Shapes = dict[str, list[int | None]]


def dynamo(path: str, target: str, *, shapes: Shapes, opset: int | None = None) -> None:
    """Export through ``torch.export``; without ``opset``, the exporter's own choice."""
    loaded = torch_model.loaded(path)
    program, module = loaded.native
    arguments: dict[str, Any] = {"dynamo": True, "verbose": False, "external_data": False}
    if opset is not None:
        arguments["opset_version"] = opset
    if program is not None:
        torch.onnx.export(program, (), target, **arguments)
        return
    free = [shape[0] is None for shape in shapes.values()]
    if any(free):
        # The exported function's arguments are matched by position.
        arguments["dynamic_shapes"] = _by_argument(module, [{0: torch.export.Dim.DYNAMIC} if f else {} for f in free])
    torch.onnx.export(module, examples(shapes), target, input_names=list(shapes), **arguments)


def legacy(path: str, target: str, *, shapes: Shapes, opset: int | None = None) -> None:
    """Export by tracing (TorchScript), which keeps to older opsets that more converters read."""
    loaded = torch_model.loaded(path)
    program, module = loaded.native
    if program is not None:
        module = traceable(program)
    outputs = [f"output_{i}" for i in range(len(loaded.outputs) or 1)]
    names = [name if name not in outputs else f"{name}_input" for name in shapes]
    axes = {name: {0: "batch"} for name, shape in zip(names, shapes.values(), strict=True) if shape[0] is None}
    if axes:
        axes |= {name: {0: "batch"} for name in outputs}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            examples(shapes),
            target,
            dynamo=False,
            opset_version=opset,
            input_names=names,
            output_names=outputs,
            dynamic_axes=axes or None,
        )


def examples(shapes: Shapes) -> tuple[torch.Tensor, ...]:
    """Seeded inputs of those shapes; a free batch is 2, because exporters take a batch of 1 for a constant."""
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn([2 if d is None else d for d in shape], generator=generator) for shape in shapes.values())


def _by_argument(module: Any, dynamic: list[Any]) -> Any:
    parameters = list(inspect.signature(module.forward).parameters.values())
    if parameters and parameters[0].kind is inspect.Parameter.VAR_POSITIONAL:
        return (tuple(dynamic),)
    return tuple(dynamic)
