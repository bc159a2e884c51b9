"""What a format is: one value with everything that safeconvert needs to know about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..workers.runtime import Runtime

Layout = Literal["nchw", "nhwc"]
LayerNaming = Literal["module scopes", "layer scopes", "graph scopes", "tensor", "node"]
DetectFlavour = Callable[[Path, bytes], str | None]
"""Takes a path and its first 4,096 bytes (none for a folder); returns the flavour of the model there, None where it is
no model of this format. Only reads bytes. Raises :class:`BadInput` for a damaged model of this format."""
LoadObject = Callable[["ModelFile"], Any]
"""Returns the model as an object of its own framework, in the process of a person who asked for it: that framework is
imported, and no other."""


@dataclass(frozen=True)
class Format:
    """One format of models, and everything about it that safeconvert needs to know.

    ``name`` is what commands, options and reports call it; ``display_name`` and ``article`` are for messages.
    ``suffix`` ends the files that hops write (empty: a folder), ``flavour`` is their kind; ``known_suffixes`` are all
    that such files usually have, and ``example`` is a path for help texts. ``runtime`` has the functions of the
    framework that runs it; ``second_runtime`` is another one that people deploy it in. ``requires`` are the modules
    that must be importable. ``detect_flavour`` tells a model of this format by its bytes; ``load_object`` is for people
    who call safeconvert from Python.

    ``default_preprocess`` is the preset where a person names none: both sides get the same tensors, so that agreement
    is well tested with any sensible one. ``default_layout`` decides where sizes do not tell the layout.

    ``part`` is what a named place in such a model is called. ``layer_naming`` says what an exporter leaves in an ONNX
    node's name of the layer it came from, and ``is_named_by_layer`` whether people know such a model by its layers
    rather than by operators or tensors.
    ``is_view``: graphs are compared and rewritten in this format, so that a model of it needs no conversion for that.
    ``has_external_data``: weights may lie in files beside the model's own. ``can_resize_batch``: its runtime runs other
    batches than a file declares.

    ``snippet`` is Python that runs such a model on its runtime alone: it leaves ``outputs``, a list of arrays; MODEL,
    TEST and INPUT in it stand for texts, and OUTPUTS for a list of them (see ``reporting/input_contract``).
    """

    name: str
    article: str
    display_name: str
    suffix: str
    flavour: str
    known_suffixes: tuple[str, ...]
    example: str
    runtime: Runtime
    requires: tuple[str, ...]
    detect_flavour: DetectFlavour
    load_object: LoadObject
    default_preprocess: str
    default_layout: Layout
    part: str
    layer_naming: LayerNaming
    is_named_by_layer: bool
    second_runtime: Runtime | None = None
    is_view: bool = False
    has_external_data: bool = False
    can_resize_batch: bool = False
    snippet: str = ""

    def __str__(self) -> str:
        return self.name

    @property
    def worker(self) -> str:
        """The kind of worker that runs models of this format."""
        return self.runtime.worker

    @property
    def extra(self) -> str:
        """The extra of safeconvert that installs what the format requires."""
        return self.runtime.extra

    @property
    def is_folder(self) -> bool:
        return not self.suffix

    @property
    def description(self) -> str:
        """With its article, for messages: ``a PyTorch``."""
        return f"{self.article} {self.display_name}"

    def written_at(self, path: Path) -> ModelFile:
        """The model that a hop or a repair wrote at ``path``."""
        return ModelFile(path, self, self.flavour)


@dataclass(frozen=True)
class ModelFile:
    """A model on disk: what its bytes say that it is.

    Flavours: torch ``pt2``, ``torchscript``, ``module`` (a pickled nn.Module), ``state_dict``; keras ``keras``,
    ``h5``; tf ``savedmodel``; tflite ``tflite``; onnx ``onnx``.

    ``origin`` is what the file was written from where Python code gave the model itself, such as
    ``torch.nn.Module ResNet``; such a file holds the person's own code, and is read as one. Empty for a person's file.
    """

    path: Path
    format: Format
    flavour: str
    origin: str = ""

    @property
    def is_live(self) -> bool:
        """Was it written from a model that Python code gave?"""
        return bool(self.origin)
