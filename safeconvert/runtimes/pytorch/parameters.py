"""Every parameter of a PyTorch model: read into a store, and replaced in a copy of the file. Runs in a worker."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch

from ..trace_store import Array, ParameterRecord, Store, all_known, checked
from . import model as pytorch_model
from .exporter import save_module
from .trace import as_float32


def read_parameters(path: str, store: str) -> list[ParameterRecord]:
    """Write every floating-point parameter, buffer and tensor constant of the model into ``store``.

    Names are those of the state dict, and dtypes are torch's.
    """
    records: list[ParameterRecord] = []
    with Store(store) as parameter_store:
        for name, tensor in _tensors(*pytorch_model.loaded(path).native).items():
            dtype = str(tensor.dtype).removeprefix("torch.")
            key, shape = parameter_store.write(as_float32(tensor)), tuple(tensor.shape)
            records.append(ParameterRecord(name, name.rpartition(".")[0], shape, dtype, False, key))
    return records


def _tensors(program: Any, module: Any) -> dict[str, Any]:
    if program is not None:
        named_tensors = {**program.state_dict, **program.constants}
    else:
        parts = module.named_parameters(remove_duplicate=False), module.named_buffers(remove_duplicate=False)
        named_tensors = {name: tensor for part in parts for name, tensor in part}
    return {n: t for n, t in named_tensors.items() if isinstance(t, torch.Tensor) and t.is_floating_point()}


def _share_memory(first: Any, second: Any) -> bool:
    """Are they the same weights under two names? After loading they are two tensors over the same memory."""
    places = [(tensor.data_ptr(), tensor.shape, tensor.stride()) for tensor in (first, second)]
    return first.numel() > 0 and places[0] == places[1]


def replace_parameters(path: str, target: str, values: dict[str, Array]) -> str:
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
            if alias == name or (alias not in values and _share_memory(old[alias], old[name])):
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
            tensors = program.state_dict if name in program.state_dict else program.constants
            is_parameter = isinstance(old[name], torch.nn.Parameter)
            tensors[name] = torch.nn.Parameter(new[name], old[name].requires_grad) if is_parameter else new[name]
        torch.export.save(program, target)
    finally:
        for name in changed:
            tensors = program.state_dict if name in program.state_dict else program.constants
            tensors[name] = old[name]
