"""The models that a worker holds, and running them on batches of any size.

Runs in a worker. A model is registered under its file's path, so that a hop works on what is
loaded already. Arrays have the batch first; a run gives one array an output, in the model's own order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..records import Signature, TensorSpec
from .rows import as_array, run_rows

Arrays = dict[str, np.ndarray[Any, Any]]
Run = Callable[[Arrays], list[np.ndarray[Any, Any]]]


@dataclass
class Loaded:
    """A model in its own framework: ``native`` is the framework's object, ``run`` passes one batch through it.

    ``quantized_outputs`` says of each output whether quantised tensors lead to it; empty where that is not known.
    ``single_threaded`` returns a ``run`` that computes with one thread; None where the runtime cannot be told to.
    ``changing_operators`` returns its random operators and those in training mode; None where they cannot be read.
    ``single``: it runs one input at a time. ``unbatched``: indices of outputs whose first axis is not the batch.
    ``capacities``: the padded length of outputs of varying length, by index.
    """

    native: Any
    run: Run
    inputs: list[TensorSpec]
    outputs: list[TensorSpec]
    quantized: bool = False
    notes: list[str] = field(default_factory=list)
    single: bool = False
    quantized_outputs: tuple[bool, ...] = ()
    single_threaded: Callable[[], Run] | None = None
    changing_operators: Callable[[], list[str]] | None = None
    unbatched: set[int] = field(default_factory=set)
    capacities: dict[int, int] = field(default_factory=dict)

    def signature(self) -> Signature:
        return Signature(
            tuple(self.inputs), tuple(self.outputs), self.quantized, tuple(self.notes), self.quantized_outputs
        )


@dataclass(frozen=True)
class RunResult:
    """What a model gave for rows of inputs: ``outputs`` (rows first) and their ``names`` in the model's order.

    ``notes`` are what a person should know of how it ran, such as "runs one input at a time". ``unbatched`` are the
    indices of outputs without a batch axis, ``varying`` of those that were padded, as their length varies.
    """

    outputs: list[np.ndarray[Any, Any]]
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()
    unbatched: frozenset[int] = frozenset()
    varying: frozenset[int] = frozenset()


MODELS: dict[str, Loaded] = {}


def register(path: str, model: Loaded) -> Signature:
    """Keep the model under its path and return its signature."""
    MODELS[path] = model
    return model.signature()


def forget(path: str) -> None:
    MODELS.pop(path, None)


def run(path: str, arrays: Arrays) -> RunResult:
    """Pass ``arrays`` (input name -> array, rows first) through the model: see ``rows``. Outputs have rows first."""
    model = MODELS[path]
    return _result(model, run_rows(model, arrays))


def run_at(path: str, arrays: Arrays, size: int) -> list[RunResult]:
    """Pass ``arrays`` (rows first) through the model in calls of exactly ``size`` rows, whatever its outputs are.

    Returns one result a call. Rows that do not fill a last call are left out. Raises
    whatever the framework raises where the model does not take such a batch.
    """
    model, count = MODELS[path], len(next(iter(arrays.values())))
    starts = range(0, count - size + 1, size)
    calls = [{name: array[start : start + size] for name, array in arrays.items()} for start in starts]
    names = output_names(model)
    return [RunResult([as_array(output) for output in model.run(call)], names) for call in calls]


def run_once(path: str, arrays: Arrays) -> RunResult:
    """Pass ``arrays`` through the model as they are, whatever its outputs' first axes mean."""
    model = MODELS[path]
    return RunResult([as_array(output) for output in model.run(arrays)], output_names(model))


def run_single_threaded(path: str, arrays: Arrays) -> RunResult | None:
    """As :func:`run`, computed with one thread; None where the runtime cannot be told to."""
    model = MODELS[path]
    if model.single_threaded is None:
        return None
    other = replace(model, run=model.single_threaded(), single_threaded=None, notes=[])
    return _result(other, run_rows(other, arrays))


def _result(model: Loaded, outputs: list[np.ndarray[Any, Any]]) -> RunResult:
    notes, unbatched, varying = tuple(model.notes), frozenset(model.unbatched), frozenset(model.capacities)
    return RunResult(outputs, output_names(model), notes, unbatched, varying)


def changing_operators(path: str) -> tuple[str, ...]:
    """Return the operators of a model that answer otherwise from call to call or by the other inputs of a batch.

    Random operators, and dropout and batch normalisation in training mode, each by the name of its operator.
    """
    find = MODELS[path].changing_operators
    return () if find is None else tuple(sorted(set(find())))


def output_names(model: Loaded) -> tuple[str, ...]:
    return tuple(spec.name for spec in model.outputs)


def spec(name: str, shape: Any, dtype: Any) -> TensorSpec:
    """Describe a tensor; any size that is not a positive whole number is dynamic."""
    sizes = None
    if shape is not None:
        sizes = tuple(int(d) if isinstance(d, (int, np.integer)) and d > 0 else None for d in shape)
    return TensorSpec(str(name), sizes, str(dtype))
