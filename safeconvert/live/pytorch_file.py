"""PyTorch models of the person's process as files: exported programs, or TorchScript where torch.export cannot."""

from __future__ import annotations

import contextlib
import copy
import inspect
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import BadInput
from .arrays import LiveInputs
from .frameworks import imported, is_instance

POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def is_torch_model(model: object) -> bool:
    return is_instance(model, "torch.nn", "Module") or is_instance(model, "torch.export", "ExportedProgram")


def describe(model: Any) -> str:
    """Return what the model is: ``torch.nn.Module MobileNetV2``."""
    if is_instance(model, "torch.export", "ExportedProgram"):
        return "torch.export.ExportedProgram"
    kind = "torch.jit.ScriptModule" if is_instance(model, "torch.jit", "ScriptModule") else "torch.nn.Module"
    mode = " (in training mode; converted in evaluation mode)" if model.training and "jit" not in kind else ""
    return f"{kind} {type(model).__name__}{mode}"


def input_count(model: Any) -> int | None:
    """Return how many arrays the model's ``forward`` must be given; None where that cannot be told."""
    if is_instance(model, "torch.export", "ExportedProgram"):
        return len(model.graph_signature.user_inputs)
    try:
        parameters = inspect.signature(model.forward).parameters.values()
    except (TypeError, ValueError):
        return None
    if _takes_any_number(model):
        return None
    return (
        sum(parameter.default is parameter.empty and parameter.kind in POSITIONAL for parameter in parameters) or None
    )


def _takes_any_number(model: Any) -> bool:
    parameters = inspect.signature(model.forward).parameters.values()
    return any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters)


def save(
    model: Any, path: Path, example: LiveInputs | None, batch_axis: Mapping[str, int | None]
) -> tuple[Path, list[str]]:
    """Write the model beside ``path`` (which has no suffix); return where, and the names of its inputs if known.

    ``example`` are inputs of a module. Raises :class:`BadInput` where they are needed and not there, and where
    neither torch.export nor torch.jit.trace takes the module.
    """
    torch = imported("torch")
    if is_instance(model, "torch.export", "ExportedProgram"):
        torch.export.save(model, path.with_suffix(".pt2"))
        return path.with_suffix(".pt2"), list(model.graph_signature.user_inputs)
    if is_instance(model, "torch.jit", "ScriptModule"):
        model.save(path.with_suffix(".pt"))
        return path.with_suffix(".pt"), []
    if example is None:
        raise BadInput(
            f"{type(model).__name__} is a torch.nn.Module, which does not say what its input looks like.\n"
            "Pass inputs=x, or input_shape=(1, 3, 224, 224) with the model's own size."
        )
    model = _on_cpu(model)
    with _evaluating(model), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _save_module(model, path, *_arguments(model, example, batch_axis))


def _save_module(model: Any, path: Path, arguments: list[Any], axes: list[int | None]) -> tuple[Path, list[str]]:
    torch = imported("torch")
    try:
        program = _exported(model, arguments, axes)
    except Exception as export_error:  # noqa: BLE001 - exporters raise anything; the message is passed on
        try:
            traced = torch.jit.trace(model, tuple(arguments), check_trace=False)
        except Exception as error:  # noqa: BLE001 - as above
            raise BadInput(
                f"{type(model).__name__} runs on these inputs neither in torch.export nor in torch.jit.trace: "
                f"{' '.join(str(error).split())[:300]}"
            ) from export_error
        traced.save(path.with_suffix(".pt"))
        return path.with_suffix(".pt"), []
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of this machine
    torch.export.save(program, path.with_suffix(".pt2"))
    return path.with_suffix(".pt2"), list(program.graph_signature.user_inputs)


def _exported(model: Any, arguments: list[Any], axes: list[int | None]) -> Any:
    """The module as a program with a free batch; with a batch of 1 where the module fixes it."""
    export = imported("torch").export
    dynamic: tuple[Any, ...] = tuple({} if axis is None else {axis: export.Dim.AUTO} for axis in axes)
    if _takes_any_number(model):
        dynamic = (dynamic,)  # torch.export has them as one argument
    program = export.export(model, tuple(arguments), dynamic_shapes=dynamic, strict=False)
    placeholders = {node.name: node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"}
    inputs = [placeholders[name] for name in program.graph_signature.user_inputs]
    if all(axis is None or not isinstance(x.shape[axis], int) for x, axis in zip(inputs, axes, strict=True)):
        return program
    single = [x if axis is None else x.narrow(axis, 0, 1) for x, axis in zip(arguments, axes, strict=True)]
    return export.export(model, tuple(single), strict=False)


def _arguments(
    model: Any, example: LiveInputs, batch_axis: Mapping[str, int | None]
) -> tuple[list[Any], list[int | None]]:
    """Return two inputs of the example as tensors in the order of ``forward``, and the batch axis of each.

    Two, because torch.export takes a batch of 1 for a constant.
    """
    torch = imported("torch")
    names, arrays = _in_order_of_forward(model, example)
    tensors, axes = [], []
    for name, array in zip(names, arrays, strict=True):
        axis = batch_axis.get(name, batch_axis.get("", 0)) if array.ndim else None
        tensor = torch.from_numpy(array.copy())
        if axis is not None:
            tensor = tensor.narrow(axis, 0, min(2, tensor.shape[axis]))
            tensor = torch.cat([tensor, tensor], axis) if tensor.shape[axis] == 1 else tensor
        tensors.append(tensor)
        axes.append(axis)
    return tensors, axes


def _in_order_of_forward(model: Any, example: LiveInputs) -> tuple[Sequence[str], Sequence[Any]]:
    parameters = list(inspect.signature(model.forward).parameters)
    if not example.names:
        return (parameters + [""] * len(example.arrays))[: len(example.arrays)], example.arrays
    by_name = dict(zip(example.names, example.arrays, strict=True))
    if len(by_name) == 1 and not set(by_name) & set(parameters):
        return parameters[:1], example.arrays  # the only array is for the only input, whatever its name
    names = [name for name in parameters if name in by_name]
    if names != parameters[: len(names)] or not names:
        raise BadInput(
            f"inputs= has the names {', '.join(by_name)}; forward takes {', '.join(parameters)}.\n"
            "Give the first of these by name, without a gap."
        )
    return names, [by_name[name] for name in names]


def _on_cpu(model: Any) -> Any:
    """The module itself where it is on the CPU, a copy otherwise: models are compared on the CPU."""
    tensors = [*model.parameters(), *model.buffers()]
    return model if all(x.device.type == "cpu" for x in tensors) else copy.deepcopy(model).to("cpu")


@contextlib.contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    """Put the module in evaluation mode for the block, and each of its parts back in its own mode after it."""
    training = [part for part in model.modules() if part.training]
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True
