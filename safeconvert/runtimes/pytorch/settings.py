"""The settings of one operator of an exported program: its arguments that are no tensors. Runs in a worker."""

from __future__ import annotations

import copy
from typing import Any

import torch

from ...records import Settings
from ..trace_store import is_setting
from . import model as pytorch_model
from .exporter import save_module


def read_settings(path: str, place: str) -> Settings:
    """The settings of the operator ``place`` (a node of the program), by argument, defaults included.

    Raises ValueError where the model is no exported program, or has no such operator.
    """
    node = _node(_graph(path), place)
    return {
        argument.name: value
        for index, argument in enumerate(node.target._schema.arguments)
        if is_setting(value := _value_of(node, index, argument))
    }


def change_settings(path: str, target: str, place: str, values: Settings) -> str:
    """Write the program at ``target``, exported anew with other settings of that operator; gives the flavour."""
    module = copy.deepcopy(_graph(path))
    node = _node(module, place)
    described = node.target._schema.arguments
    values_in_order = [_value_of(node, index, argument) for index, argument in enumerate(described)]
    for index, argument in enumerate(described):
        values_in_order[index] = values.get(argument.name, values_in_order[index])
    node.args = tuple(
        value for value, argument in zip(values_in_order, described, strict=True) if not argument.kwarg_only
    )
    node.kwargs = {
        argument.name: value for value, argument in zip(values_in_order, described, strict=True) if argument.kwarg_only
    }
    module.recompile()
    return save_module(module, target, pytorch_model.loaded(path).inputs)


def _graph(path: str) -> Any:
    program, module = pytorch_model.loaded(path).native
    if program is None:
        raise ValueError("not an exported program: its operators are code")
    return module


def _node(module: Any, place: str) -> Any:
    for node in module.graph.nodes:
        if node.name == place and isinstance(node.target, torch._ops.OpOverload):
            return node
    raise ValueError(f"no operator {place!r}")


def _value_of(node: Any, index: int, described: Any) -> Any:
    if index < len(node.args):
        return node.args[index]
    return node.kwargs.get(described.name, described.default_value)
