"""Inputs that Python code holds (arrays, tensors, loaders) as arrays by input name."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import BadInput
from .frameworks import is_instance

Array = np.ndarray[Any, Any]
MAX_LOADER_INPUTS = 512
"""How many inputs are drawn from a DataLoader or a tf.data set, which may be endless."""


@dataclass(frozen=True)
class LiveInputs:
    """Arrays with the batch first. ``names`` are the model's input names, empty where only their order is known."""

    arrays: tuple[Array, ...]
    names: tuple[str, ...] = ()

    def named(self, input_names: Sequence[str]) -> dict[str, Array]:
        """Return the arrays by name, positions by the model's order; ``input_names`` is empty where it is unknown.

        Raises :class:`BadInput` where several arrays cannot be told apart.
        """
        names = self.names or tuple(input_names[: len(self.arrays)])
        if len(self.arrays) == 1 and not names:
            names = ("input",)  # the only array is for the only input, whatever its name
        if len(names) != len(self.arrays):
            raise BadInput(
                f"inputs= holds {len(self.arrays)} arrays, and the order of the model's inputs is not known here.\n"
                "Give a dict of arrays by input name."
            )
        return dict(zip(names, self.arrays, strict=True))


def read(inputs: object, input_count: int | None) -> LiveInputs:
    """Return the arrays of ``inputs``: an array, a tensor, a dict or tuple of these, or a loader of batches of them.

    ``input_count`` is how many inputs the model takes, None where that is not known: what a loader's batches hold
    beyond them are labels. Raises :class:`BadInput` for anything else.
    """
    if _is_loader(inputs):
        return _of_loader(inputs, input_count or 1)  # type: ignore[arg-type]
    return _of_batch(inputs)


def check_live(inputs: object) -> None:
    """Raise :class:`BadInput` for inputs that no model could take; a loader is left alone: it may be read once only."""
    if not _is_loader(inputs):
        _of_batch(inputs)


def _is_loader(inputs: object) -> bool:
    return isinstance(inputs, Iterable) and not isinstance(inputs, Mapping | tuple | list) and not _is_array(inputs)


def _is_array(value: object) -> bool:
    return hasattr(value, "__array__") or isinstance(value, np.generic)


def _of_batch(batch: object) -> LiveInputs:
    """The arrays of one batch: by name where it is a mapping, else in their order."""
    if isinstance(batch, Mapping):
        if not batch:
            raise BadInput("inputs= is an empty dict. Give arrays by input name.")
        return LiveInputs(tuple(as_array(value) for value in batch.values()), tuple(map(str, batch)))
    if isinstance(batch, tuple | list) and batch and all(_is_array(part) for part in batch):
        return LiveInputs(tuple(as_array(part) for part in batch))
    return LiveInputs((as_array(batch),))


def _of_loader(loader: Iterable[object], input_count: int) -> LiveInputs:
    """The first inputs of a loader, at most ``MAX_LOADER_INPUTS``."""
    batches = list(_first_batches(loader, input_count))
    if not batches:
        raise BadInput("inputs= is a loader without any batch. Give one that holds inputs.")
    columns = zip(*[batch.arrays for batch in batches], strict=True)
    return LiveInputs(tuple(np.concatenate(column)[:MAX_LOADER_INPUTS] for column in columns), batches[0].names)


def _first_batches(loader: Iterable[object], input_count: int) -> Iterator[LiveInputs]:
    count = 0
    for batch in loader:
        read_batch = _of_batch(batch)
        if not read_batch.names:
            read_batch = LiveInputs(tuple(itertools.islice(read_batch.arrays, input_count)))
        yield read_batch
        count += len(read_batch.arrays[0]) if read_batch.arrays[0].ndim else 1
        if count >= MAX_LOADER_INPUTS:
            return


def as_array(value: object) -> Array:
    """Return a tensor of any framework as an array. Raises :class:`BadInput` for what is none."""
    if is_instance(value, "torch", "Tensor"):
        tensor: Any = value
        tensor = tensor.detach().cpu()
        value = (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise BadInput(_no_input(value)) from error
    if array.dtype.kind not in "fiub":
        raise BadInput(_no_input(value))
    if array.size == 0:
        raise BadInput(f"inputs= holds an array of shape {array.shape}: there is nothing in it.")
    return array


def _no_input(value: object) -> str:
    dtype = f" of {value.dtype}" if isinstance(value, np.ndarray) else ""
    return (
        f"inputs= holds a {type(value).__name__}{dtype}, which is no array of numbers.\n"
        "Give an array, a tensor, a dict or tuple of them, a DataLoader, a tf.data set, or the path of an .npz file."
    )
