"""Load a person's model in its own runtime, and find out the shapes of its inputs.

Nothing is guessed: what the file leaves open and no option says is an error that names the option.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ..errors import BadInput, CallRaised, WorkerFailed, refuse
from ..formats import ModelFile
from ..formats.torch_archive import code_in_pt2
from ..inputs.arrays import stored_shapes
from ..inputs.batch_axes import batch_axes
from ..options import Options
from ..records import LoadOptions, Signature, TensorSpec
from ..workers.pool import WorkerPool
from .acts_outside import acts_outside
from .loaded_model import LoadedModel, explain, shorten

Shapes = dict[str, tuple[int | None, ...]]
FLAVOURS_WITHOUT_SHAPES = ("torchscript", "module", "state_dict")
"""Torch files that do not say what their inputs look like."""


def model_of(workers: WorkerPool, name: str, file: ModelFile, options: Options) -> LoadedModel:
    """Return the model in the worker called ``name``, which starts to warm up; nothing is loaded yet.

    Raises :class:`BadInput` for what would run code or cannot work.
    """
    guard(file, options)
    model = LoadedModel(workers, name, file, _load_options(file, options))
    model.start()
    return model


def load(model: LoadedModel) -> None:
    """Load the model. Raises :class:`BadInput` where it cannot be."""
    try:
        model.worker()
    except CallRaised as error:
        raise explain(error, model.file) from error
    except WorkerFailed as error:
        raise BadInput(f"{model.path} cannot be loaded: {shorten(str(error))}") from error


def guard(file: ModelFile, options: Options) -> None:
    """Refuse, before anything is loaded, what would run code from the file or lacks what only a person knows."""
    refuse(list(_mistakes(file, options)))


def _mistakes(file: ModelFile, options: Options) -> Iterator[str]:
    path = file.path
    is_trusted = options.trust_pickle or file.is_live
    if file.flavour == "module" and not is_trusted:
        yield (
            f"{path} is a pickled module: reading it runs code from the file.\n"
            "If you trust where it comes from, pass --trust-pickle; else ask for a .pt2 or a state dict."
        )
    if file.flavour == "state_dict" and not options.model_fn:
        yield (
            f"{path} is a state dict: weights without an architecture.\n"
            "Name the function that makes it: --model-fn torchvision.models:mobilenet_v2"
        )
    if file.flavour == "pt2" and not is_trusted and (code := code_in_pt2(path)):
        yield (
            f"{path} would run code when it is read: {code}.\nIf you trust where it comes from, pass --trust-pickle."
        )
    if not is_trusted and (part := acts_outside(file)):
        yield (
            f"{path} holds {part}, which acts outside the model when it runs.\n"
            "If you trust where it comes from, pass --trust-pickle."
        )
    if file.flavour in FLAVOURS_WITHOUT_SHAPES and not given_shapes(options):
        yield (
            f"{path} does not say what its input looks like ({file.flavour}).\n"
            "Pass --input-shape 1,3,224,224 (with the model's own size), or arrays with --inputs."
        )


def _load_options(file: ModelFile, options: Options) -> LoadOptions:
    """What the person's options say of this model that its file leaves open."""
    return LoadOptions(
        given_shapes(options) if file.flavour in FLAVOURS_WITHOUT_SHAPES else {},
        options.model_fn,
        str(Path.cwd()),
        options.trust_pickle or file.is_live,
        options.signature,
    )


def given_shapes(options: Options) -> dict[str, list[int]]:
    """Return input shapes by name ("" for the only input) from --input-shape, else from the arrays of --inputs."""
    shapes = {name: list(shape) for name, shape in options.input_shape.items()}
    if shapes or options.inputs is None:
        return shapes
    arrays = {name: list(shape) for name, shape in stored_shapes(options.inputs).items()}
    return {"": next(iter(arrays.values()))} if len(arrays) == 1 else arrays


def source_batch_axes(signature: Signature, options: Options) -> dict[str, int | None]:
    """The batch axis of each of the model's inputs in this run. Raises :class:`BadInput`."""
    stored = {}
    if options.inputs is not None and not options.inputs.is_dir():
        stored = stored_shapes(options.inputs)
        if len(stored) == 1 and len(signature.inputs) == 1:
            stored = {signature.inputs[0].name: next(iter(stored.values()))}
    return batch_axes(signature.inputs, options.batch_axis, stored)


def resolve_shapes(path: Path, signature: Signature, options: Options) -> Shapes:
    """Return the shapes of the model's inputs in this run, in which only the batch may be open.

    Raises :class:`BadInput` where a size is open and no option says it.
    """
    asked = {name: list(shape) for name, shape in options.input_shape.items()}
    names = [spec.name for spec in signature.inputs]
    if "" in asked:
        if len(names) != 1:
            raise BadInput(f"--input-shape needs a name, as the model has {len(names)} inputs: {', '.join(names)}.")
        asked = {names[0]: asked[""]}
    if unknown := sorted(set(asked) - set(names)):
        raise BadInput(f"--input-shape names {unknown[0]!r}; the model's inputs are {', '.join(names)}.")
    stored = {} if asked else given_shapes(options)
    if "" in stored and len(names) == 1:
        stored = {names[0]: stored[""]}
    axes = source_batch_axes(signature, options)
    shapes = {
        spec.name: _asked_shape(spec, asked[spec.name])
        if spec.name in asked
        else _shape_of_input(path, spec, stored.get(spec.name))
        for spec in signature.inputs
    }
    for spec in signature.inputs:
        if axes[spec.name] is None and spec.shape and spec.shape[0] is None:  # no batch: its first size is known too
            sizes = asked.get(spec.name) or list(stored.get(spec.name, ()))[-len(spec.shape) :]
            shapes[spec.name] = (sizes[0] if sizes else None, *shapes[spec.name][1:])
    return shapes


def _fits(spec: TensorSpec, sizes: Sequence[int]) -> bool:
    """Does the model take these sizes, the batch aside?"""
    return spec.shape is None or (
        len(sizes) == len(spec.shape)
        and all(have in (None, size) for have, size in zip(spec.shape[1:], sizes[1:], strict=True))
    )


def _asked_shape(spec: TensorSpec, sizes: Sequence[int]) -> tuple[int | None, ...]:
    if not _fits(spec, sizes):
        raise BadInput(f"--input-shape {','.join(map(str, sizes))} does not fit the model's input {spec}.")
    return (spec.shape[0] if spec.shape else None, *sizes[1:])


def _shape_of_input(path: Path, spec: TensorSpec, stored: Sequence[int] | None) -> tuple[int | None, ...]:
    if spec.shape is not None and all(size is not None for size in spec.shape[1:]):
        return spec.shape
    if stored is not None and spec.shape is not None and len(stored) == len(spec.shape) + 1:
        stored = stored[1:]  # each row is a whole input
    if stored is not None and _fits(spec, stored):
        return (spec.shape[0] if spec.shape else None, *stored[1:])
    example = "1,3,224,224"
    if spec.shape is not None:
        example = ",".join(str(size or (1 if axis == 0 else 224)) for axis, size in enumerate(spec.shape))
    raise BadInput(
        f"input {spec} of {path} has open sizes.\nPass --input-shape {spec.name}:{example} (with the sizes you use)."
    )


def specs(signature: Signature, shapes: Mapping[str, tuple[int | None, ...]]) -> list[TensorSpec]:
    """Return the model's inputs with the shapes of this run."""
    return [TensorSpec(s.name, shapes[s.name], s.dtype) for s in signature.inputs]
