"""Export a torch module anew and save it as an exported program (``.pt2``). Runs in a worker; needs torch alone."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ...records import TensorSpec
from . import model as pytorch_model

Shapes = dict[str, list[int | None]]
"""Sizes by input name, batch first; None where the size is free."""


def examples(shapes: Shapes, program: Any = None) -> tuple[torch.Tensor, ...]:
    """Seeded inputs of those shapes, of the program's types (float32 without one).

    A free batch is 2, because exporters take a batch of 1 for a constant.
    """
    generator = torch.Generator().manual_seed(0)
    nodes = () if program is None else program.graph.find_nodes(op="placeholder")
    types = {node.name: node.meta["val"].dtype for node in nodes if hasattr(node.meta.get("val"), "dtype")}
    inputs = []
    for name, shape in shapes.items():
        normal = torch.randn([2 if d is None else d for d in shape], generator=generator)
        kind = types.get(name, torch.float32)
        inputs.append(normal.to(kind) if kind.is_floating_point else (normal.abs() * 9).to(kind))
    return tuple(inputs)


def typed(inputs: tuple[torch.Tensor, ...], kinds: Sequence[Any] | None) -> tuple[torch.Tensor, ...]:
    """Inputs of the graph's own types: whole numbers are zeros, which are positions in any table."""
    if kinds is None:
        return inputs
    types = [torch.from_numpy(np.zeros(1, kind)).dtype for kind in kinds]
    pairs = zip(inputs, types, strict=True)
    return tuple(x.to(t) if t.is_floating_point else torch.zeros_like(x, dtype=t) for x, t in pairs)


def export(module: torch.nn.Module, shapes: Shapes, kinds: Sequence[Any] | None = None) -> Any:
    """The module as an exported program, for inputs of these NumPy types (float32 where none are given).

    Where the graph fixes the batch after all, it is fixed at 1.
    """
    free = [shape[0] is None for shape in shapes.values()]
    dynamic = tuple({0: torch.export.Dim.AUTO} if f else {} for f in free)
    program = torch.export.export(module, typed(examples(shapes), kinds), dynamic_shapes=dynamic, strict=False)
    if any(free) and any(i.shape and i.shape[0] for i in pytorch_model.program_inputs(program)):
        single: Shapes = {name: [1 if d is None else d for d in shape] for name, shape in shapes.items()}
        program = torch.export.export(module, typed(examples(single), kinds), strict=False)
    return program


def save_module(module: Any, target: str, inputs: Sequence[TensorSpec]) -> str:
    """Export the module for inputs like these and write it at ``target``; return the file's flavour.

    A module that torch.export does not take is pickled. Raises ValueError where an input's shape is not known.
    """
    if unknown := [described.name for described in inputs if described.shape is None]:
        raise ValueError(f"the shape of input {unknown[0]!r} is not known")
    shapes: Shapes = {described.name: list(described.shape or ()) for described in inputs}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            program = export(module, shapes)
        except Exception:  # noqa: BLE001 - as in _exported
            torch.save(module, target)
            return "module"
        for node in program.graph.nodes:
            node.meta.pop("stack_trace", None)  # paths of this machine
        torch.export.save(program, target)
    return "pt2"
