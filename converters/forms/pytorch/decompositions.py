"""Give a PyTorch model an equivalent form, for exporters that go wrong on it as it is. Worker side, torch only.

Operators that exporters get wrong are replaced by functions made of other operators (``elementwise``, ``windows``,
``in_place_writes``), those that an exporter does not know by PyTorch's own decompositions, and the
model is exported again. What exporters get right stays as it is.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch._decomp import decomposition_table

from ....runtimes.pytorch.exporter import examples
from ...hop_function import Shapes
from . import elementwise, in_place_writes, windows
from .exported_program import bare, by_argument, writes

REWRITES = elementwise.REWRITES | windows.REWRITES | in_place_writes.REWRITES
VALUES_ONLY = elementwise.VALUES_ONLY | windows.VALUES_ONLY
# Not among those that torch.export decomposes by default.
MORE = ("aten::grid_sampler_2d",)


def decomposed(model: Any, shapes: Shapes, unknown: frozenset[str] = frozenset()) -> Any:
    """Return the model as a program of operators that exporters get right, equal to it within float rounding.

    ``model`` is an exported program or a module; ``shapes`` are its input shapes, batch first, None where the batch is
    free, and it stays free. ``unknown`` are names of ATen operators, as "aten::hypot", to be decomposed as well.
    Raises TypeError for a TorchScript module, which torch.export does not take.
    """
    if isinstance(model, torch.jit.ScriptModule):
        raise TypeError("a TorchScript module has no equivalent form: torch.export takes modules of Python code")
    program = model if isinstance(model, torch.export.ExportedProgram) else _exported(model, examples(shapes), shapes)
    inputs = examples(shapes, program)
    if any(writes(node) for node in program.graph.nodes):
        program = program.run_decompositions({})  # writing into tensors as values
    module = bare(program)
    rewrites = _decompositions(unknown)
    for node in module.graph.nodes:
        if (rewrite := _rewrite(node)) is not None:
            node.args = (node.target, *node.args)
            node.target = rewrite
        elif node.op == "call_function":
            node.target = rewrites.get(node.target, node.target)
    module.recompile()
    program = _exported(module, inputs, shapes)
    # torch.export keeps a composite operator whole even inside its own decomposition.
    if any(node.target in rewrites for node in program.graph.nodes):
        program = program.run_decompositions(rewrites)
    return program


def decomposable(name: str) -> bool:
    """Is there another way to say the operator of that name, as "aten::hypot"?"""
    return any(_name(op) == name for op in REWRITES) or bool(_decompositions(frozenset({name})))


def _exported(module: Any, inputs: tuple[Any, ...], shapes: Shapes) -> Any:
    free = tuple({0: torch.export.Dim.DYNAMIC} if shape[0] is None else {} for shape in shapes.values())
    return torch.export.export(module, inputs, dynamic_shapes=by_argument(module, free))


def _rewrite(node: Any) -> Any:
    """Return what to call instead of the node's operator; None where exporters get it right."""
    first_only = all(user.target is operator.getitem and user.args[1] == 0 for user in node.users)
    if first_only and node.target in VALUES_ONLY:
        return VALUES_ONLY[node.target]
    return REWRITES.get(node.target)


def _decompositions(names: frozenset[str]) -> dict[Any, Any]:
    """Return PyTorch's decompositions of the operators of those names, of all their overloads."""
    if not names:
        return {}
    more = {op: function for op, function in decomposition_table.items() if _name(op) in MORE}
    tables = more | dict(torch.export.default_decompositions().items())
    return {op: _as_function(op, function) for op, function in tables.items() if _name(op) in names}


def _as_function(op: Any, decomposition: Any) -> Any:
    """Give a decomposition a name of its own: generated code calls it by that, and some have none."""

    def call(*arguments: Any, **settings: Any) -> Any:
        return decomposition(*arguments, **settings)

    call.__name__ = call.__qualname__ = "decomposed_" + str(op.name()).replace("::", "_").replace(".", "_")
    return call


def _name(op: Any) -> str:
    return str(op.name()).split(".")[0]
