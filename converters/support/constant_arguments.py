"""Bake small constants into an onnx2torch module, so that ``torch.export`` can trace it. Worker side.

onnx2torch keeps the shapes, pads, axes and scales of an ONNX graph as tensors, and its modules read numbers from
them at run time. While it traces, torch.export knows no tensor's values, so it gives up. Here these tensors
become :class:`Known`: what is computed from known tensors alone is computed at once, on real numbers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch._subclasses.fake_tensor import unset_fake_temporarily
from torch.fx.experimental.proxy_tensor import disable_proxy_modes_tracing
from torch.utils import _pytree as pytree

MAX_INTEGERS, MAX_REALS = 1024, 8  # elements of a constant that sets a shape, pads, axes or scales and is no weight
SYMBOLS = (torch.SymInt, torch.SymFloat, torch.SymBool)  # what a trace computes from sizes that are left open


class Known(torch.Tensor):
    """A tensor whose values are known while everything else is being traced."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        arguments = (args, kwargs or {})
        leaves = [leaf for leaf in pytree.tree_leaves(arguments) if isinstance(leaf, (torch.Tensor, *SYMBOLS))]
        alone = all(isinstance(leaf, Known) for leaf in leaves)
        with unset_fake_temporarily(), disable_proxy_modes_tracing(), torch._C.DisableTorchFunctionSubclass():
            plain = pytree.tree_map_only(Known, lambda t: t.as_subclass(torch.Tensor), arguments)
            if alone:
                result = func(*plain[0], **plain[1])
                return pytree.tree_map_only(torch.Tensor, lambda t: t.as_subclass(Known), result)
        # Beside traced tensors a known one is a literal, which the tracer takes for a constant of the program.
        literal = pytree.tree_map_only(Known, _literal, arguments)
        return func(*literal[0], **literal[1])


def _literal(tensor: Known) -> torch.Tensor:
    return torch.tensor(tensor.tolist(), dtype=tensor.dtype)


class Baked(torch.nn.Module):
    """A module some of whose arguments are known, by position or name; called with the others."""

    def __init__(self, inner: torch.nn.Module, known: dict[int | str, torch.Tensor]) -> None:
        super().__init__()
        self.inner = inner
        self.known = {place: tensor.detach().clone().as_subclass(Known) for place, tensor in known.items()}

    def forward(self, *others: Any, **named: Any) -> Any:
        arguments = list(others)
        for place, tensor in self.known.items():  # positions in rising order, so that each lands in its place
            if isinstance(place, int):
                arguments.insert(place, tensor)
            else:
                named[place] = tensor
        return self.inner(*arguments, **named)


def bake(module: Any) -> Any:
    """Make known, in place, the small constants that the submodules of a ``torch.fx.GraphModule`` take."""
    for node in list(module.graph.nodes):
        if node.op != "call_module":
            continue
        places: dict[int | str, Any] = {**dict(enumerate(node.args)), **node.kwargs}
        known = {at: value for at, argument in places.items() if (value := _constant(module, argument)) is not None}
        if not known or len(known) == len(places):
            continue
        name = f"{node.target}_baked".replace(".", "_")
        module.add_submodule(name, Baked(module.get_submodule(node.target), known))
        node.args = tuple(a for i, a in enumerate(node.args) if i not in known)
        node.kwargs = {name: a for name, a in node.kwargs.items() if name not in known}
        node.target = name
    module.graph.eliminate_dead_code()
    module.delete_all_unused_submodules()
    module.recompile()
    return module


def _constant(module: Any, argument: Any) -> torch.Tensor | None:
    if not isinstance(argument, torch.fx.Node) or argument.op != "get_attr":
        return None
    value = module
    for part in str(argument.target).split("."):
        value = getattr(value, part)
    if not isinstance(value, torch.Tensor):
        return None
    limit = MAX_REALS if value.is_floating_point() else MAX_INTEGERS
    return value if value.numel() <= limit else None
