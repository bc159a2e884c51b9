"""A torch program with other sizes at its inputs: the same modules, exported anew on them. Runs in a worker."""

from __future__ import annotations

import copy
from dataclasses import replace

from . import model as pytorch_model
from .exporter import save_module


def change_input_shapes(path: str, target: str, shapes: dict[str, list[int | None]]) -> str:
    """Write the model at ``target`` with these shapes (input name -> sizes, batch first, None for free) declared.

    Gives the flavour. Raises what torch raises where the model does not work on these sizes.
    """
    model = pytorch_model.loaded(path)
    inputs = [replace(spec, shape=tuple(shapes[spec.name])) if spec.name in shapes else spec for spec in model.inputs]
    module = copy.deepcopy(model.native[1])
    module._forward_pre_hooks.clear()  # an exported program's, which holds inputs against the sizes it was exported for
    return save_module(module, target, inputs)
