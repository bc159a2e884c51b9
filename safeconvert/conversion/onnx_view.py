"""The ONNX view of a model, made by the real converters and believed only where it agrees with the model itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..checking.evaluation_set import Sample
from ..converters.hop_function import Shapes
from ..models.input_mapping import InputMapping, Mismatch, map_inputs
from ..models.loaded_model import LoadedModel
from ..records import Attempt
from ..workers.pool import WorkerPool
from .hop_runner import HopRunner
from .route_search import RouteSearch
from .routes import routes
from .stage import ConversionOptions, ConvertedModel

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class View:
    """``path`` is an ONNX file; ``mapping`` say how the model's inputs become the view's; ``outputs`` are its own."""

    path: Path
    mapping: tuple[InputMapping, ...]
    outputs: tuple[str, ...]
    batch: int | None
    attempts: tuple[Attempt, ...] = ()


@dataclass(frozen=True)
class Pair:
    """Hold what a layer ranking compares: Source and Target, each with the ONNX view of it.

    ``source_mapping`` and ``target_mapping`` turn the inputs of the run into those of the two models. ``order`` lists
    the Source view's outputs in the Target's order. ``row`` holds the first of the run's inputs that were compared.
    """

    source: LoadedModel
    target: LoadedModel
    source_view: View
    target_view: View
    source_mapping: tuple[InputMapping, ...]
    target_mapping: tuple[InputMapping, ...]
    order: tuple[str, ...]
    row: Mapping[str, Array]
    is_unquantized: bool


def ordered(view: View, names: Sequence[str], target: Sequence[str]) -> list[str]:
    """The outputs of a Source's view in the order in which the Target gives them; ``names`` are the Source's own,
    ``target`` the Target's."""
    outputs_of_view = list(view.outputs)
    if set(outputs_of_view) != set(names) or len(outputs_of_view) != len(names):
        by_name = dict(zip(names, outputs_of_view, strict=False))
    else:
        by_name = {name: name for name in names}
    if set(target) == set(names) and len(target) == len(names):
        return [by_name[name] for name in target]
    return [by_name[name] for name in names if name in by_name]


def view(
    workers: WorkerPool,
    model: LoadedModel,
    shapes: Shapes,
    sample: Sample,
    settings: ConversionOptions,
    say: Callable[[str], None],
) -> View | None:
    """The model as ONNX; None where no converter gives one that agrees with it on the sample.

    ``sample`` holds inputs by the model's own names and the model's own outputs.
    """
    stage: ConvertedModel | None
    attempts: tuple[Attempt, ...] = ()
    if model.format.is_view:
        mapping = map_inputs(model.signature, shapes, model.signature)
        assert not isinstance(mapping, Mismatch)
        stage = ConvertedModel(model, mapping)
    else:
        stage, attempts = convert_verified(workers, model, "onnx", shapes, sample, settings, say)
    if stage is None:
        return None
    signature = stage.model.signature
    batch = next((spec.shape[0] for spec in signature.inputs if spec.shape and spec.shape[0]), None)
    return View(
        Path(stage.model.location), stage.mapping, tuple(spec.name for spec in signature.outputs), batch, attempts
    )


def convert_verified(
    workers: WorkerPool,
    model: LoadedModel,
    to: str,
    shapes: Mapping[str, Sequence[int | None]],
    sample: Sample,
    settings: ConversionOptions,
    say: Callable[[str], None],
) -> tuple[ConvertedModel | None, tuple[Attempt, ...]]:
    """Convert a model by any route; return the result only where it agrees with the sample's outputs."""
    plain = replace(settings, input_layout="keep", quantize="none", opset=None)
    hop_runner = HopRunner(workers, model, shapes, lambda mapping: {}, plain, before=lambda hop: None)
    search = RouteSearch(hop_runner, lambda: sample, after=lambda hop: None, say=say)
    stage = search.find(routes(model.format.name, to))
    if stage is not None and stage.comparison is not None and not search.attempt_runner.agrees(stage):
        stage = None
    return stage, tuple(search.attempts)
