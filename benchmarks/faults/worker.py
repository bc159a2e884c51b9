"""A process for one format: seeds faults and runs models natively, asked over a pipe."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from benchmarks.faults.seeding import Draw, NoPlace, Seeded

ENVIRONMENT = {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1"}


class Refused(Exception):
    """The worker could not do what it was asked; the message is its error."""


class Worker:
    """A warm child process of one format; a context manager. It is started again where it died."""

    def __init__(self, format: str) -> None:
        self.format = format
        self._process: Any = None
        self._pipe: Connection | None = None

    def call(self, function: str, *arguments: Any, seconds: float = 600) -> Any:
        """Raises :class:`Refused` where the child raised, died or took longer than ``seconds``."""
        if self._process is None or not self._process.is_alive():
            self._start()
        assert self._pipe is not None
        try:
            self._pipe.send((function, arguments))
            if not self._pipe.poll(seconds):
                self.stop()
                raise Refused(f"no answer to {function} within {seconds:g} s")
            good, value = self._pipe.recv()
        except (EOFError, OSError) as error:
            self.stop()
            raise Refused(f"the {self.format} worker died in {function}") from error
        if not good:
            raise Refused(value)
        return value

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, child_pipe = context.Pipe()
        self._process = context.Process(target=serve, args=(child_pipe, self.format), daemon=True)
        self._process.start()
        child_pipe.close()

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
        self._process = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def serve(pipe: Connection, format: str) -> None:
    os.environ.update(ENVIRONMENT)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):  # frameworks chatter from C too
        os.dup2(nowhere, descriptor)
    while True:
        try:
            function, arguments = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send((True, FUNCTIONS[function](format, *arguments)))
        except Exception as error:  # noqa: BLE001 - a process border: it becomes the answer
            why = f"{type(error).__name__}: {error}"
            if not isinstance(error, NoPlace):
                why += "\n" + traceback.format_exc()[-1500:]
            pipe.send((False, why))


def injector(format: str) -> Any:
    return importlib.import_module(f"benchmarks.faults.in_{format}")


def inject(format: str, path: str, out: str, wanted: Sequence[tuple[str, float]], seed: int) -> list[dict[str, Any]]:
    """Seed faults of these (type, strength) into a copy of the model, and write it; gives what was seeded."""
    module = injector(format)
    model = module.read(path)
    used_nodes: set[str] = set()
    seeded = []
    for index, (type_, strength) in enumerate(wanted):
        random = np.random.default_rng((seed, index))
        model, fault = _one(module, model, type_, random, strength, used_nodes)
        names = {fault.node, *fault.also}
        if names & used_nodes:
            raise NoPlace("two faults touch each other: one could undo or hide the other")
        used_nodes |= names
        seeded.append(asdict(fault))
    module.write(model, out)
    return seeded


def _one(
    module: Any, model: Any, type_: str, random: np.random.Generator, strength: float, used_nodes: set[str]
) -> tuple[Any, Seeded]:
    kinds = module.KINDS.get(type_, {})
    for name in Draw(random, strength).order(kinds):
        try:
            model, fault = kinds[name](model, Draw(random, strength, used_nodes))
        except NoPlace:
            continue
        return model, replace(fault, type=type_, kind=name)
    raise NoPlace(f"no {type_} fault has a place in this model")


def kinds(format: str) -> dict[str, list[str]]:
    return {type_: list(injectors) for type_, injectors in injector(format).KINDS.items()}


def only(format: str, path: str, out: str, type_: str, kind: str, strength: float, seed: int) -> dict[str, Any]:
    """Seed one fault of exactly this kind. Raises :class:`NoPlace`."""
    module = injector(format)
    model, fault = module.KINDS[type_][kind](module.read(path), Draw(np.random.default_rng((seed, 0)), strength))
    module.write(model, out)
    return asdict(replace(fault, type=type_, kind=kind))


def run(format: str, path: str, image: np.ndarray[Any, Any]) -> tuple[list[str], list[np.ndarray[Any, Any]]]:
    """Names and outputs for a batch of NHWC images in the model's own runtime; turned and resized as its input asks."""
    from safeconvert.runtimes import registry

    _load(format, path)
    inputs = registry.MODELS[path].inputs
    try:
        result = registry.run(path, {inputs[0].name: fitted(image, inputs[0].shape or (), format)})
    finally:
        registry.forget(path)
    return list(result.names), result.outputs


def fitted(image: np.ndarray[Any, Any], shape: Sequence[int | None], format: str) -> np.ndarray[Any, Any]:
    """NHWC images in the layout and size that an input declares."""
    wanted = [size or 0 for size in shape[1:]]
    first = wanted[0] == image.shape[3] if wanted[0] != wanted[2] else format in ("torch", "onnx")
    height, width = (wanted[1:] if first else wanted[:2]) if len(wanted) == 3 else image.shape[1:3]
    for axis, size in ((1, height), (2, width)):
        if size and size != image.shape[axis]:
            image = image.take((np.arange(size) * image.shape[axis]) // size, axis=axis)
    return np.ascontiguousarray(image.transpose(0, 3, 1, 2) if first else image)


def export(format: str, source: str, out: str, model_fn: str | None, shape: Sequence[int]) -> None:
    """A torch state dict as an exported program with an open batch: the right Target of a torch Source in torch."""
    import torch

    from safeconvert.records import LoadOptions
    from safeconvert.runtimes import registry
    from safeconvert.runtimes.pytorch import model as pytorch_model

    options = LoadOptions({"": list(shape)}, model_fn=model_fn)
    pytorch_model.load(source, "state_dict", options)
    module = registry.MODELS[source].native[1]
    example = (torch.zeros(2, *shape[1:]),)
    program = torch.export.export(module.eval(), example, dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.export.save(program, out)
    registry.forget(source)


def small(format: str, name: str, out: str) -> None:
    """Make one of the small networks (see ``small_nets``) in this worker's framework."""
    module = importlib.import_module("benchmarks.faults.small_nets")
    module.make(name, Path(out))


def _load(format: str, path: str) -> None:
    if format == "onnx":
        from safeconvert.runtimes.onnxruntime import model as onnxruntime_model

        onnxruntime_model.load(path, format)
    elif format == "tflite":
        from safeconvert.runtimes.litert import model as litert_model

        litert_model.load(path, format)
    elif format == "keras":
        from safeconvert.runtimes.tensorflow import model as tensorflow_model

        tensorflow_model.load(path, "keras")
    else:
        from safeconvert.runtimes.pytorch import model as pytorch_model

        pytorch_model.load(path, "pt2")


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "inject": inject,
    "kinds": kinds,
    "only": only,
    "run": run,
    "export": export,
    "small": small,
}
