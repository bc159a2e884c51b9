"""What Python code gives a run, live or by path, as the files and options that a run takes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..formats import ModelFile
from ..inputs.presets import load_preprocess
from ..models.detect import detect
from ..models.loader import FLAVOURS_WITHOUT_SHAPES
from ..options import Options
from ..workers.pool import WorkerPool
from . import arrays
from .arrays import LiveInputs
from .model_file import ModelWithExample, WrittenModel, input_count, is_path, name_of, write
from .transforms import preprocess_of_object


class Preparation:
    """Models and options of one run. What is live is written in the run's scratch folder."""

    def __init__(self, workers: WorkerPool, models: Sequence[Any], keywords: Mapping[str, Any]) -> None:
        """Check the keywords, then write the models and inputs. Raises :class:`BadInput` and TypeError."""
        self.workers, self._keywords = workers, dict(keywords)
        for name in ("preprocess", "target_preprocess"):
            self._write_preprocess(name)
        live_inputs = self._keywords.get("inputs")
        if live_inputs is None or is_path(live_inputs):
            live_inputs = None
        else:
            self._keywords["inputs"] = None
        self.options = Options.of(self._keywords)
        inputs = None if live_inputs is None else arrays.read(live_inputs, input_count(_model(models[0])))
        written = [self._written(model, inputs) for model in models]
        self.files: tuple[ModelFile, ...] = tuple(model.file for model in written)
        if inputs is not None:
            self._write_inputs(inputs.named(written[0].input_names))
        elif (size := self._image_size()) is not None and self._lacks_shape():
            self.options = replace(self.options, input_shape={"": (1, 3, *size)})

    def _write_preprocess(self, name: str) -> None:
        """Write the preprocessing of an object as a JSON file, which the keyword then names in its place."""
        value = self._keywords.get(name)
        if value is None or is_path(value):
            return
        path = self.workers.scratch(f"{name}.json")
        path.write_text(json.dumps(preprocess_of_object(value).to_json()), encoding="utf-8")
        self._keywords[name] = str(path)

    def _write_inputs(self, named: Mapping[str, Any]) -> None:
        path = self.workers.scratch("inputs.npz")
        np.savez(path, **named)
        self.options = Options.of({**self._keywords, "inputs": path})

    def _written(self, model: Any, inputs: LiveInputs | None) -> WrittenModel:
        if is_path(model):
            return WrittenModel(detect(Path(model)))
        if isinstance(model, ModelWithExample):
            model, example = model.model, model.example
            inputs = inputs if example is None else arrays.read(example, None)
        path = self.workers.scratch(name_of(model))
        return write(model, path, inputs or self._example(), self.options.batch_axis)

    def _example(self) -> LiveInputs | None:
        """Return a few inputs from the options, or zeros of the sizes that they state; None where they state none."""
        shapes: Mapping[str, Sequence[int]] = self.options.input_shape
        if not shapes and self.options.inputs is not None and self.options.inputs.suffix == ".npz":
            with np.load(self.options.inputs, allow_pickle=False) as stored:
                return arrays.read({name: stored[name][:2] for name in stored.files}, None)
        if not shapes and (size := self._image_size()) is not None:
            shapes = {"": (1, 3, *size)}
        if not shapes:
            return None
        zeros = tuple(np.zeros(shape, np.float32) for shape in shapes.values())
        return LiveInputs(zeros, () if "" in shapes else tuple(shapes))

    def _image_size(self) -> tuple[int, int] | None:
        """Return the height and width that the preprocessing gives, where it fixes them."""
        name = self.options.preprocess
        return None if name is None else load_preprocess(name).crop_size

    def _lacks_shape(self) -> bool:
        return not self.options.input_shape and any(file.flavour in FLAVOURS_WITHOUT_SHAPES for file in self.files)


def _model(model: Any) -> Any:
    return model.model if isinstance(model, ModelWithExample) else model
