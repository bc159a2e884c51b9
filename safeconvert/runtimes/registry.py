"""The models that a child holds, and running them on batches of any size.

Runs in a child process. A model is registered under its file's path, so that a hop works on what is
loaded already. Arrays have the batch first; a run gives one array an output, in the model's own order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..records import Signature, TensorSpec

Arrays = dict[str, np.ndarray[Any, Any]]
Run = Callable[[Arrays], list[np.ndarray[Any, Any]]]


@dataclass
class Loaded:
    """A model in its own framework: ``native`` is the framework's object, ``run`` passes one batch through it.

    ``quantized_outputs`` says of each output whether quantised tensors lead to it; empty where that is not known.
    ``single_threaded`` returns a ``run`` that computes with one thread; None where the runtime cannot be told to.
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

    def signature(self) -> Signature:
        return Signature(
            tuple(self.inputs), tuple(self.outputs), self.quantized, tuple(self.notes), self.quantized_outputs
        )


@dataclass(frozen=True)
class RunResult:
    """What a model gave for one batch: ``outputs`` and their ``names`` in the model's order.

    ``notes`` are what a person should know of how it ran, such as "runs one input at a time".
    """

    outputs: list[np.ndarray[Any, Any]]
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()


MODELS: dict[str, Loaded] = {}


def register(path: str, model: Loaded) -> Signature:
    """Keep the model under its path and return its signature."""
    MODELS[path] = model
    return model.signature()


def forget(path: str) -> None:
    MODELS.pop(path, None)


def run(path: str, arrays: Arrays) -> RunResult:
    """Pass ``arrays`` (input name -> array, batch first) through the model, in batches that it takes.

    Every output has the batch of the inputs. Raises ValueError where an output's first axis is not the batch: rows
    could not be told apart.
    """
    model = MODELS[path]
    count = len(next(iter(arrays.values())))
    outputs = None
    if not model.single:
        fixed = fixed_batch(model.inputs)
        try:
            outputs = run_chunks(model, arrays, count, fixed or count)
        except Exception as error:  # whatever a framework raises may be about the batch
            if fixed is not None or count == 1:
                raise
            model.single = True
            model.notes.append(f"runs one input at a time only ({type(error).__name__} on a batch of {count})")
    if outputs is None:
        outputs = run_chunks(model, arrays, count, 1)
    return RunResult(outputs, output_names(model), tuple(model.notes))


def run_once(path: str, arrays: Arrays) -> RunResult:
    """Pass ``arrays`` through the model as they are, whatever its outputs' first axes mean."""
    model = MODELS[path]
    return RunResult([np.asarray(output) for output in model.run(arrays)], output_names(model))


def run_single_threaded(path: str, arrays: Arrays) -> RunResult | None:
    """As :func:`run`, computed with one thread; None where the runtime cannot be told to."""
    model = MODELS[path]
    if model.single_threaded is None:
        return None
    other = replace(model, run=model.single_threaded(), single_threaded=None, notes=[])
    count = len(next(iter(arrays.values())))
    size = 1 if model.single else fixed_batch(model.inputs) or count
    return RunResult(run_chunks(other, arrays, count, size), output_names(model))


def output_names(model: Loaded) -> tuple[str, ...]:
    return tuple(spec.name for spec in model.outputs)


def fixed_batch(inputs: list[TensorSpec]) -> int | None:
    """The batch size that the signature fixes, or None where it is dynamic or unknown."""
    sizes = [spec.shape[0] for spec in inputs if spec.shape]
    return next((int(size) for size in sizes if size is not None), None)


def run_chunks(model: Loaded, arrays: Arrays, count: int, size: int) -> list[np.ndarray[Any, Any]]:
    """Run in chunks of exactly ``size``; the last one is filled up with its last row, which is cut off again."""
    parts: list[list[np.ndarray[Any, Any]]] = []
    for start in range(0, count, size):
        chunk = {name: array[start : start + size] for name, array in arrays.items()}
        rows = len(next(iter(chunk.values())))
        if rows < size:
            chunk = {
                name: np.concatenate([array, np.repeat(array[-1:], size - rows, axis=0)])
                for name, array in chunk.items()
            }
        results = [np.asarray(result) for result in model.run(chunk)]
        for index, result in enumerate(results):
            if result.ndim == 0 or len(result) != size:
                raise ValueError(f"output {index} has shape {list(result.shape)} for a batch of {size}")
        parts.append([result[:rows] for result in results])
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


def spec(name: str, shape: Any, dtype: Any) -> TensorSpec:
    """Describe a tensor; any size that is not a positive whole number is dynamic."""
    sizes = None
    if shape is not None:
        sizes = tuple(int(d) if isinstance(d, (int, np.integer)) and d > 0 else None for d in shape)
    return TensorSpec(str(name), sizes, str(dtype))
