"""Every intermediate tensor and every parameter of a PyTorch model, in a child process.

An exported program is interpreted node by node, and so is a module that can be exported; of any other module, and of
TorchScript, the operators are listened to while it runs.
"""

from __future__ import annotations

import copy
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
from ..trace_store import Array, Record, Store, Trail, all_known, checked, in_batches
from . import model as pytorch_model

SIZES = ("aten.sym_size", "aten.sym_numel", "aten.sym_stride", "aten.size")


def trace(path: str, arrays: Arrays, store: str) -> list[Record]:
    """Run the model on ``arrays`` (input name -> array, batch first) and keep what it computes in ``store``.

    Gives a record for each floating-point tensor of rank 1 or more that depends on the inputs, in execution order, the
    inputs first: "tensor" (unique name), "node" (the graph's name for it), "layer" (path of the innermost
    ``torch.nn.Module``, or ""), "operator" (as ``aten.conv2d.default``; "input"), "inputs" (names of the tensors it is
    computed from), "shape" and "key" (member of ``store``, float32). Sizes read from a tensor are no reading of it.
    """
    model = pytorch_model.loaded(path)
    program, module = model.native
    names = [described["name"] for described in model.inputs]

    def one(part: Arrays, target: str) -> list[Record]:
        # copies, for a model may write into its inputs
        given = [torch.from_numpy(np.array(part[name], order="C")) for name in names]
        graph = module if program is not None else _exported(module, given)
        with Store(target) as kept, torch.no_grad():
            if graph is not None:
                _Interpreter(graph, kept, names).run(*given, enable_io_processing=False)
            else:
                with _Listener(module, kept, dict(zip(names, given, strict=True))):
                    module(*given)
            return kept.records

    return in_batches(model, arrays, store, one)


def _exported(module: Any, given: list[Any]) -> Any:
    """The module's graph for these inputs; None where torch.export does not take the module."""
    if isinstance(module, torch.jit.ScriptModule):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.export(module, tuple(given), strict=False)
            return program.module(check_guards=False)
    except Exception:  # noqa: BLE001 - any Python code may stand in a module, and anything may come of exporting it
        return None


def _is_kept(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point() and value.dim() > 0 and value.numel() > 0


def _numpy(tensor: Any) -> Array:
    array: Array = tensor.detach().float().numpy()
    return array


class _Interpreter(torch.fx.Interpreter):  # type: ignore[misc, unused-ignore]
    """Runs a graph and keeps its tensors; what no later node reads is freed."""

    def __init__(self, graph: Any, kept: Store, names: list[str]) -> None:
        super().__init__(graph)
        self.kept, self.trail, self.names = kept, Trail(), iter(names)

    def run_node(self, n: Any) -> Any:
        result = super().run_node(n)
        read = n.all_input_nodes
        if n.op == "placeholder":
            self._keep(n, result, next(self.names, n.name), "input", [])
        elif n.op in ("call_function", "call_method", "call_module") and self.trail.live(read):
            maker = n
            while maker.target is operator.getitem:  # one of several results
                maker = maker.args[0]
            if _is_kept(result):
                self._keep(n, result, n.name, str(maker.target), self.trail.sources(read))
            else:
                self.trail.passed(n, read, size=str(n.target).startswith(SIZES))
        return result

    def _keep(self, node: Any, result: Any, name: str, kind: str, inputs: list[str]) -> None:
        if not _is_kept(result):
            self.trail.start(node)
            return
        self.trail.keep(node, name)
        self.kept.add(_numpy(result), tensor=name, node=node.name, layer=_layer(node), operator=kind, inputs=inputs)


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

    def __init__(self, module: Any, kept: Store, inputs: dict[str, Any]) -> None:
        super().__init__()
        self.kept, self.trail = kept, Trail()
        self.numbers, self.calls = itertools.count(), dict[str, int]()
        self.values = WeakIdKeyDictionary()  # tensor -> number, a new one each time that it is written into
        self.layers = WeakIdKeyDictionary()
        for name, parameter in (*module.named_parameters(), *module.named_buffers()):
            self.layers[parameter] = name.rpartition(".")[0]
        for name, tensor in inputs.items():
            self.trail.start(self._number(tensor))
            if _is_kept(tensor):
                self._keep(tensor, name, "", "input", [])

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        read = [t for t in torch.utils._pytree.tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        numbers = [self.values[t] for t in read if t in self.values]
        layer = next((self.layers[t] for t in read if t in self.layers), "")
        for tensor in pytorch_model.leaves(result):
            if not self.trail.live(numbers):  # a parameter in another form
                self.layers[tensor] = layer
            elif _is_kept(tensor):
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
        self.kept.add(_numpy(tensor), tensor=name, node=name, layer=layer, operator=kind, inputs=inputs)


def parameters(path: str, store: str) -> list[Record]:
    """Keep every floating-point parameter, buffer and tensor constant of the model in ``store``, as float32.

    Gives for each "name" (as in the state dict), "layer", "shape", "dtype" (torch's), "quantized" and "key".
    """
    with Store(store) as kept:
        for name, tensor in _tensors(*pytorch_model.loaded(path).native).items():
            dtype = str(tensor.dtype).removeprefix("torch.")
            kept.add(_numpy(tensor), name=name, layer=name.rpartition(".")[0], dtype=dtype, quantized=False)
        return kept.records


def _tensors(program: Any, module: Any) -> dict[str, Any]:
    if program is not None:
        found = {**program.state_dict, **program.constants}
    else:
        named = module.named_parameters(remove_duplicate=False), module.named_buffers(remove_duplicate=False)
        found = {name: tensor for part in named for name, tensor in part}
    return {n: t for n, t in found.items() if isinstance(t, torch.Tensor) and t.is_floating_point()}


def _are_one(one: Any, other: Any) -> bool:
    """Are they the same weights under two names? After loading they are two tensors over the same memory."""
    places = [(tensor.data_ptr(), tensor.shape, tensor.stride()) for tensor in (one, other)]
    return one.numel() > 0 and places[0] == places[1]


def replaced(path: str, target: str, values: dict[str, Array]) -> str:
    """Write the model at ``target`` with the parameters in ``values`` (name -> array of the same shape) replaced.

    A parameter of several names is replaced under all of them. Gives the flavour of the file: ``torchscript`` for a
    TorchScript module, ``pt2`` for all others, with a free batch where the model has one, but ``module`` where
    torch.export does not take it. Raises ValueError for an unknown name, another shape, or unknown input shapes.
    """
    model = pytorch_model.loaded(path)
    program, module = model.native
    old = _tensors(program, module)
    all_known(values, old)
    new = dict(old)
    for name, value in values.items():
        tensor = torch.from_numpy(np.array(checked(name, value, old[name].shape), order="C")).to(old[name].dtype)
        for alias in old:
            if alias == name or (alias not in values and _are_one(old[alias], old[name])):
                new[alias] = tensor
    if program is not None:
        _save_program(program, target, old, new)
        return "pt2"
    changed = copy.deepcopy(module)
    with torch.no_grad():
        for name, tensor in _tensors(None, changed).items():
            if new[name] is not old[name]:
                tensor.copy_(new[name])
    if isinstance(module, torch.jit.ScriptModule):
        torch.jit.save(changed, target)
        return "torchscript"
    return save_module(changed, target, model.inputs)


def _save_program(program: Any, target: str, old: dict[str, Any], new: dict[str, Any]) -> None:
    """Save with the new tensors in place of the old ones, which stand there again afterwards."""
    changed = [name for name in old if new[name] is not old[name]]
    try:
        for name in changed:
            held = program.state_dict if name in program.state_dict else program.constants
            is_parameter = isinstance(old[name], torch.nn.Parameter)
            held[name] = torch.nn.Parameter(new[name], old[name].requires_grad) if is_parameter else new[name]
        torch.export.save(program, target)
    finally:
        for name in changed:
            held = program.state_dict if name in program.state_dict else program.constants
            held[name] = old[name]


def save_module(module: Any, target: str, inputs: list[dict[str, Any]]) -> str:
    from ...converters.onnx_torch import export

    shapes = {described["name"]: described["shape"] for described in inputs}
    if unknown := [name for name, shape in shapes.items() if shape is None]:
        raise ValueError(f"the shape of input {unknown[0]!r} is not known")
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
