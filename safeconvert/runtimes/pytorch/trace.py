"""Every intermediate tensor of a PyTorch model. Runs in a worker.

An exported program is interpreted node by node, and so is a module that can be exported; of any other module, and of
TorchScript, the operators are listened to while it runs.
"""

from __future__ import annotations

import itertools
import operator
import re
import warnings
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakIdKeyDictionary

from ..registry import Arrays
from ..trace_store import Array, Store, TraceRecord, Trail, in_batches
from . import model as pytorch_model

SIZES = ("aten.sym_size", "aten.sym_numel", "aten.sym_stride", "aten.size")


def trace(path: str, arrays: Arrays, store: str, *, with_integers: bool = False) -> list[TraceRecord]:
    """Run the model on ``arrays`` (input name -> array, batch first) and keep what it computes in ``store``.

    Returns a record for each floating-point tensor of rank 1 or more that depends on the inputs, in execution order,
    the inputs first. A record's node is the graph's name for it, its layer the path of the innermost
    ``torch.nn.Module``. A tensor of which only the size is read does not count as read.
    ``with_integers`` keeps whole numbers and truth values that are computed from the inputs' values too.
    """
    model = pytorch_model.loaded(path)
    program, module = model.native
    names = [described.name for described in model.inputs]

    def trace_batch(part: Arrays, target: str) -> list[TraceRecord]:
        # copies, for a model may write into its inputs
        tensors = [torch.from_numpy(np.array(part[name], order="C")) for name in names]
        graph = module if program is not None else _exported(module, tensors)
        with Store(target) as trace_store, torch.no_grad():
            if graph is not None:
                _Interpreter(graph, trace_store, names, with_integers).run(*tensors, enable_io_processing=False)
            else:
                with _Listener(module, trace_store, dict(zip(names, tensors, strict=True)), with_integers):
                    module(*tensors)
            return trace_store.records

    return in_batches(model, arrays, store, trace_batch)


def _exported(module: Any, tensors: list[Any]) -> Any:
    """The module's graph for these inputs; None where torch.export does not take the module."""
    if isinstance(module, torch.jit.ScriptModule):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.export(module, tuple(tensors), strict=False)
            return program.module(check_guards=False)
    except Exception:  # noqa: BLE001 - any Python code may stand in a module, and anything may come of exporting it
        return None


def _is_kept(value: Any, with_integers: bool) -> bool:
    if not isinstance(value, torch.Tensor) or value.dim() == 0 or value.numel() == 0 or value.is_complex():
        return False
    return with_integers or value.is_floating_point()


def as_float32(tensor: Any) -> Array:
    array: Array = tensor.detach().float().numpy()
    return array


class _Interpreter(torch.fx.Interpreter):  # type: ignore[misc, unused-ignore]
    """Runs a graph and keeps its tensors; what no later node reads is freed."""

    def __init__(self, graph: Any, store: Store, names: list[str], with_integers: bool) -> None:
        super().__init__(graph)
        self.store, self.trail, self.names, self.with_integers = store, Trail(), iter(names), with_integers

    def run_node(self, n: Any) -> Any:
        result = super().run_node(n)
        read = n.all_input_nodes
        if n.op == "placeholder":
            self._keep(n, result, next(self.names, n.name), "input", [])
        elif n.op in ("call_function", "call_method", "call_module") and self.trail.live(read):
            maker = n
            while maker.target is operator.getitem:  # one of several results
                maker = maker.args[0]
            sources = self.trail.sources(read)
            if _is_kept(result, self.with_integers and bool(sources)):
                self._keep(n, result, n.name, str(maker.target), sources)
            else:
                self.trail.passed(n, read, size=str(n.target).startswith(SIZES))
        return result

    def _keep(self, node: Any, result: Any, name: str, kind: str, inputs: list[str]) -> None:
        if not _is_kept(result, self.with_integers):
            self.trail.start(node)
            return
        self.trail.keep(node, name)
        self.store.add(
            as_float32(result), tensor=name, node=node.name, layer=_layer(node), operator=kind, inputs=inputs
        )


def _layer(node: Any) -> str:
    while node.target is operator.getitem:
        node = node.args[0]
    stack = [str(path) for path, _ in (node.meta.get("nn_module_stack") or {}).values()]
    if stack and stack[-1]:
        return re.sub(r"@\d+", "", stack[-1])
    parameters = [str(read.target) for read in node.all_input_nodes if read.op == "get_attr"]
    return parameters[0].rpartition(".")[0] if parameters else ""


class _Listener(TorchDispatchMode):  # type: ignore[misc, unused-ignore]
    """Keeps the results of the operators that run; the layer is known of those that read a parameter."""

    def __init__(self, module: Any, store: Store, inputs: dict[str, Any], with_integers: bool) -> None:
        super().__init__()
        self.store, self.trail, self.with_integers = store, Trail(), with_integers
        self.numbers, self.calls = itertools.count(), dict[str, int]()
        self.values = WeakIdKeyDictionary()  # tensor -> number, a new one each time that it is written into
        self.layers = WeakIdKeyDictionary()
        for name, parameter in (*module.named_parameters(), *module.named_buffers()):
            self.layers[parameter] = name.rpartition(".")[0]
        for name, tensor in inputs.items():
            self.trail.start(self._number(tensor))
            if _is_kept(tensor, with_integers):
                self._keep(tensor, name, "", "input", [])

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        read = [t for t in torch.utils._pytree.tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        numbers = [self.values[t] for t in read if t in self.values]
        layer = next((self.layers[t] for t in read if t in self.layers), "")
        for tensor in pytorch_model.leaves(result):
            if not self.trail.live(numbers):  # a parameter in another form
                self.layers[tensor] = layer
            elif _is_kept(tensor, self.with_integers and bool(self.trail.sources(numbers))):
                self._keep(tensor, self._name(func), layer, str(func), self.trail.sources(numbers))
            else:
                self.trail.passed(self._number(tensor), numbers)
        return result

    def _number(self, tensor: Any) -> int:
        number = self.values[tensor] = next(self.numbers)
        return number

    def _name(self, func: Any) -> str:
        """As torch.fx names nodes: conv2d, conv2d_1, ..."""
        name = str(func).split(".")[1]
        self.calls[name] = self.calls.get(name, -1) + 1
        return f"{name}_{self.calls[name]}" if self.calls[name] else name

    def _keep(self, tensor: Any, name: str, layer: str, kind: str, inputs: list[str]) -> None:
        self.trail.keep(self._number(tensor), name)
        self.store.add(as_float32(tensor), tensor=name, node=name, layer=layer, operator=kind, inputs=inputs)
