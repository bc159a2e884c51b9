"""PyTorch models in their own runtime, in a worker: exported programs, TorchScript, modules."""

from __future__ import annotations

import importlib
import sys
import types
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ...records import NO_LOAD_OPTIONS, LoadOptions, Signature, TensorSpec
from ..registry import MODELS, Loaded, Run, register, spec
from .changing_operators import program_operators, script_operators

torch.set_grad_enabled(False)


def declare_torchvision_operators() -> None:
    """Declare the two operators that ``import torchvision`` registers fakes for, where its library is missing.

    A torchvision built for another build of torch cannot load its compiled part; its models need none of it.
    """
    if hasattr(torch.ops.torchvision, "nms"):
        return
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    LIBRARIES.append(library)  # a library that is collected takes its declarations along


LIBRARIES: list[Any] = []


def import_torchvision() -> None:
    """Import torchvision if it is installed, with or without its compiled part."""
    if "torchvision" in sys.modules:
        return
    try:
        importlib.import_module("torchvision.extension")
    except (ImportError, RuntimeError):
        for name in [n for n in sys.modules if n.startswith("torchvision")]:
            del sys.modules[name]
        declare_torchvision_operators()


def load(path: str, flavour: str, options: LoadOptions = NO_LOAD_OPTIONS) -> Signature:
    """Load the model at ``path``, register it and return its signature.

    ``options.input_shapes`` are for the flavours whose files do not say: all but ``pt2``. A pickled module is read only
    where it is trusted, since reading it runs its code.
    """
    if flavour == "pt2":
        return register(path, _program(torch.export.load(path)))
    if flavour == "torchscript":
        return register(path, _module(torch.jit.load(path, map_location="cpu").eval(), options.input_shapes))
    if flavour == "state_dict":
        state = torch.load(path, map_location="cpu", weights_only=True)
        built = _build(options.model_fn or "", options.import_folder)
        return register(path, _module(_with_state(built, state), options.input_shapes))
    if not options.is_trusted:
        raise PermissionError("a pickled module runs code when it is read")
    import_torchvision()
    if options.import_folder:
        sys.path.insert(0, options.import_folder)
    module = torch.load(path, map_location="cpu", weights_only=False)
    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"the file holds a {type(module).__name__}, not a torch.nn.Module")
    return register(path, _module(module.eval(), options.input_shapes))


def _build(model_fn: str, import_folder: str | None) -> torch.nn.Module:
    """Call ``package.module:function`` without arguments."""
    import_torchvision()
    if import_folder:
        sys.path.insert(0, import_folder)
    module_name, _, function = model_fn.partition(":")
    try:
        built: Any = importlib.import_module(module_name)
        for part in function.split("."):
            built = getattr(built, part)
        built = built()
    except Exception as error:
        raise ValueError(f"--model-fn {model_fn} failed: {type(error).__name__}: {error}") from error
    if not isinstance(built, torch.nn.Module):
        raise TypeError(f"--model-fn {model_fn} gave a {type(built).__name__}, not a torch.nn.Module")
    return built


def _with_state(module: torch.nn.Module, state: Any) -> torch.nn.Module:
    """The module with the weights of a state dict or of a checkpoint that holds one; every name must fit."""
    for key in ("state_dict", "model_state_dict", "model", "net"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict):
        raise TypeError(f"the file holds a {type(state).__name__}, not a state dict")
    state = {str(name).removeprefix("module."): value for name, value in state.items()}
    module.load_state_dict(state, strict=True)
    return module.eval()


def program_inputs(program: Any) -> list[TensorSpec]:
    """What an exported program takes, symbolic sizes as None."""
    names = [s.arg.name for s in program.graph_signature.input_specs if s.kind.name == "USER_INPUT"]
    placeholders = {node.name: node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"}
    return [
        spec(name, [d if isinstance(d, int) else None for d in placeholders[name].shape], _dtype(placeholders[name]))
        for name in names
    ]


def _program(program: Any) -> Loaded:
    inputs = program_inputs(program)
    names = [described.name for described in inputs]
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    outputs = []
    for index, out in enumerate(s for s in program.graph_signature.output_specs if s.kind.name == "USER_OUTPUT"):
        value = values.get(out.arg.name)
        sizes = None if value is None else [d if isinstance(d, int) else None for d in value.shape]
        outputs.append(spec(f"output_{index}", sizes, "float32" if value is None else _dtype(value)))
    outputs = named_by_keys(outputs, program.call_spec.out_spec)
    # Guards are strings in the file that would be compiled and run; the parent has checked the rest.
    module = program.module(check_guards=False)
    # Exporters call train() and eval(), which a program's module refuses; it has no such modes.
    module.train = types.MethodType(lambda self, mode=True: self, module)
    module.eval = types.MethodType(lambda self: self, module)
    run = _runner(module, names)
    return Loaded(
        (program, module), run, inputs, outputs, single_threaded=lambda: _with_one_thread(run),
        changing_operators=lambda: program_operators(program),
    )  # fmt: skip


def _module(module: Any, input_shapes: Mapping[str, Sequence[int]]) -> Loaded:
    names = _argument_names(module)
    shapes = dict(input_shapes)
    if "" in shapes:
        shapes[names[0]] = shapes.pop("")
    if unknown := sorted(set(shapes) - set(names)):
        raise KeyError(f"--input-shape names {unknown[0]!r}, but the inputs are {names}")
    used_names = [name for name in names if name in shapes] or names[:1]
    inputs = [spec(name, [None, *shapes[name][1:]] if name in shapes else None, "float32") for name in used_names]
    outputs: list[TensorSpec] = []
    run = _runner(module, used_names)
    if shapes:
        # Two probes of different batch: what the outputs look like, and whether the batch is free.
        try:
            results = run({name: np.zeros([2, *shapes[name][1:]], "float32") for name in used_names})
        except RuntimeError as error:
            sizes = "; ".join(f"{name}:{','.join(map(str, shapes[name]))}" for name in used_names)
            reason = str(error).strip().splitlines()[-1]
            raise ValueError(f"the model does not run on --input-shape {sizes} (or --inputs): {reason}") from error
        outputs = [spec(f"output_{i}", [None, *r.shape[1:]], r.dtype) for i, r in enumerate(results)]
    return Loaded(
        (None, module), run, inputs, outputs, single_threaded=lambda: _with_one_thread(run),
        changing_operators=lambda: script_operators(module),
    )  # fmt: skip


def named_by_keys(outputs: list[TensorSpec], structure: Any) -> list[TensorSpec]:
    """Name a program's outputs by the keys of the dictionary that it returns, where it returns one of tensors."""
    keys = structure.context if structure is not None and structure.type in (dict, OrderedDict) else None
    if keys is None or len(keys) != len(outputs) or not all(isinstance(key, str) for key in keys):
        return outputs
    return [replace(output, name=key) for output, key in zip(outputs, keys, strict=True)]


def _with_one_thread(run: Run) -> Run:
    """The same computation by one thread."""

    def single(arrays: dict[str, np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return run(arrays)
        finally:
            torch.set_num_threads(threads)

    return single


def _argument_names(module: Any) -> list[str]:
    if isinstance(module, torch.jit.ScriptModule):
        return [argument.name for argument in module.forward.schema.arguments[1:]]
    import inspect

    return [
        parameter.name
        for parameter in inspect.signature(module.forward).parameters.values()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]


def _runner(module: Any, names: list[str]) -> Any:
    def run(arrays: dict[str, np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        with torch.inference_mode():
            result = module(*[torch.from_numpy(np.ascontiguousarray(arrays[name])) for name in names])
        return [
            tensor.float().numpy() if tensor.dtype == torch.bfloat16 else tensor.numpy() for tensor in leaves(result)
        ]

    return run


def leaves(result: Any) -> list[Any]:
    """The tensors of a model's result, in order: a tensor, a (named) tuple, a list, or a dictionary of these."""
    if isinstance(result, torch.Tensor):
        return [result]
    if isinstance(result, dict):
        return [leaf for value in result.values() for leaf in leaves(value)]
    if isinstance(result, (list, tuple)):
        return [leaf for value in result for leaf in leaves(value)]
    return []


def _dtype(tensor: Any) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def loaded(path: str) -> Loaded:
    """The registered model; an exported program is loaded where it is not (an earlier hop wrote it)."""
    if path not in MODELS:
        load(path, "pt2")
    return MODELS[path]
