"""Make an exported program a module that can be traced. Worker side, torch only.

Tracing runs a model on example inputs, so that every size read from a tensor must stay a traced value to keep the
batch free. A program's own module cannot be traced where a size is free: it checks its inputs against symbols ("JIT
Tracing of SymInts isn't supported"), and it reads sizes and calls operators through ``torch.ops``, which the tracer
sees only as the numbers of the example. Here sizes are read by ``Tensor.size``, and operators that take one are called
by their Python functions, whose argument parser does record traced sizes.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Sequence
from typing import Any

import torch

ATEN = torch.ops.aten

CHECKS = (
    ATEN._assert_scalar.default,
    ATEN._assert_tensor_metadata.default,
    ATEN.sym_constrain_range.default,
    ATEN.sym_constrain_range_for_size.default,
)
# Without gradients, and where nothing is written into, these give what they are given.
SAME = (ATEN.lift_fresh_copy.default, ATEN.detach.default, ATEN.detach_.default, ATEN.alias.default)
SAME_FUNCTION = {"_unsafe_view": "reshape", "view": "reshape"}  # names without a Python function, or for other strides
ARITHMETIC = (operator.getitem, operator.add, operator.sub, operator.mul, operator.floordiv, operator.neg)


def traceable(program: Any) -> Any:
    """Return a module with the program's arguments and results, which does not check its inputs and traces free sizes.

    Raises NotImplementedError where an operator that takes a free size has no Python function to trace it by.
    """
    module = bare(program)
    for node in module.graph.nodes:
        if node.op != "call_function":
            continue
        if node.target is ATEN.sym_size.int:
            node.op, node.target = "call_method", "size"
        elif any(_is_size(argument) for argument in node.all_input_nodes) and node.target not in ARITHMETIC:
            _call_by_function(node)
    module.recompile()
    return module


def bare(program: Any) -> Any:
    """Return the program as a module without assertions: they hold on every input, and no exporter keeps them."""
    # Guards are strings in the file that would be compiled and run.
    module = program.module(check_guards=False)
    graph = torch.fx.Graph()
    graph.output(graph.graph_copy(module.graph, {}))
    graph._codegen = module.graph._codegen
    for node in list(graph.nodes):
        if node.op == "call_function" and node.target in CHECKS:
            graph.erase_node(node)
    if not any(writes(node) for node in graph.nodes):
        for node in list(graph.nodes):
            if node.op == "call_function" and node.target in SAME:
                node.replace_all_uses_with(node.args[0])
                graph.erase_node(node)
    graph.eliminate_dead_code()
    graph.lint()
    return torch.fx.GraphModule(module, graph)


def writes(node: Any) -> bool:
    """Does the node change one of the tensors that it takes?"""
    schema = getattr(node.target, "_schema", None)
    return schema is not None and schema.is_mutable and node.target not in SAME


def by_argument(module: Any, dynamic: Sequence[Any]) -> Any:
    """Return ``dynamic_shapes`` for a module, one entry an input: exported arguments are matched by position."""
    parameters = list(inspect.signature(module.forward).parameters.values())
    if parameters and parameters[0].kind is inspect.Parameter.VAR_POSITIONAL:
        return (tuple(dynamic),)
    return tuple(dynamic)


def _is_size(node: Any) -> bool:
    return isinstance(node.meta.get("val"), (torch.SymInt, torch.SymFloat, torch.SymBool))


def _call_by_function(node: Any) -> None:
    """Call the operator's Python function or method instead, which takes the same arguments in the same order."""
    name = str(getattr(node.target, "_opname", ""))
    name = SAME_FUNCTION.get(name, name)
    first = node.args[0] if node.args else None
    if node.target is ATEN.slice.Tensor:
        node.target = _slice
    elif isinstance(first, torch.fx.Node) and not _is_size(first) and hasattr(torch.Tensor, name):
        node.op, node.target = "call_method", name
    elif callable(function := getattr(torch, name, None) or getattr(torch.nn.functional, name, None)):
        node.target = function
    else:
        raise NotImplementedError(f"{node.target} takes a free size, which tracing would fix to the example's")


def _slice(tensor: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Any:
    return tensor[(slice(None),) * (dim % tensor.dim()) + (slice(start, end, step),)]
