"""The formats of models, as one list of values: ``FORMATS``. What differs between formats is a field of these.

To add a format, write one :class:`Format` and put it on the list; ``workers/runtime.py`` has the functions of the
framework that runs it, and ``converters/__init__.py`` the hops that lead to it and from it.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from .workers.runtime import LITERT, ONNXRUNTIME, PYTORCH, TENSORFLOW, TENSORFLOW_INTERPRETER, Runtime

Layout = Literal["nchw", "nhwc"]
LayerNaming = Literal["module scopes", "layer scopes", "graph scopes", "tensor", "node"]


@dataclass(frozen=True)
class Format:
    """One format of models, and everything about it that safeconvert needs to know.

    ``name`` is what commands, options and reports call it; ``display_name`` and ``article`` are for messages.
    ``suffix`` ends the files that hops write (empty: a folder), ``flavour`` is their kind; ``known_suffixes`` are all
    that such files usually have, and ``example`` is a path for help texts. ``runtime`` has the functions of the
    framework that runs it; ``second_runtime`` is another one that people deploy it in. ``requires`` are the modules
    that must be importable.

    ``default_preprocess`` is the preset where a person names none: both sides get the same tensors, so that agreement
    is well tested with any sensible one. ``default_layout`` decides where sizes do not tell the layout.

    ``part`` is what a named place in such a model is called. ``layer_naming`` says what an exporter leaves in an ONNX
    node's name of the layer it came from, and ``is_named_by_layer`` whether people know such a model by its layers
    rather than by operators or tensors.
    ``is_view``: graphs are compared and rewritten in this format, so that a model of it needs no conversion for that.
    ``has_external_data``: weights may lie in files beside the model's own. ``can_resize_batch``: its runtime runs other
    batches than a file declares.
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
    default_preprocess: str
    default_layout: Layout
    part: str
    layer_naming: LayerNaming
    is_named_by_layer: bool
    second_runtime: Runtime | None = None
    is_view: bool = False
    has_external_data: bool = False
    can_resize_batch: bool = False

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
    """

    path: Path
    format: Format
    flavour: str


TORCH = Format(
    name="torch",
    article="a",
    display_name="PyTorch",
    suffix=".pt2",
    flavour="pt2",
    known_suffixes=(".pt2", ".pt", ".pth"),
    example="model.pt2",
    runtime=PYTORCH,
    requires=("torch",),
    default_preprocess="torch",
    default_layout="nchw",
    part="module",
    layer_naming="module scopes",
    is_named_by_layer=True,
)
KERAS = Format(
    name="keras",
    article="a",
    display_name="Keras",
    suffix=".keras",
    flavour="keras",
    known_suffixes=(".keras", ".h5", ".hdf5"),
    example="model.keras",
    runtime=TENSORFLOW,
    requires=("tensorflow", "keras"),
    default_preprocess="keras",
    default_layout="nhwc",
    part="Keras layer",
    layer_naming="layer scopes",
    is_named_by_layer=True,
)
TF = Format(
    name="tf",
    article="a",
    display_name="SavedModel",
    suffix="",
    flavour="savedmodel",
    known_suffixes=(),
    example="saved_model/",
    # A SavedModel is a traced graph: it has no layers whose settings or sizes could be changed.
    runtime=replace(TENSORFLOW, read_settings=None, change_settings=None, change_input_shapes=None),
    requires=("tensorflow",),
    default_preprocess="keras",
    default_layout="nhwc",
    part="TensorFlow operation",
    layer_naming="graph scopes",
    is_named_by_layer=False,
)
TFLITE = Format(
    name="tflite",
    article="a",
    display_name="TFLite",
    suffix=".tflite",
    flavour="tflite",
    known_suffixes=(".tflite",),
    example="model.tflite",
    runtime=LITERT,
    second_runtime=TENSORFLOW_INTERPRETER,
    can_resize_batch=True,
    requires=("ai_edge_litert",),
    default_preprocess="keras",
    default_layout="nhwc",
    part="TFLite tensor",
    layer_naming="tensor",
    is_named_by_layer=False,
)
ONNX = Format(
    name="onnx",
    article="an",
    display_name="ONNX",
    suffix=".onnx",
    flavour="onnx",
    known_suffixes=(".onnx",),
    example="model.onnx",
    runtime=ONNXRUNTIME,
    requires=("onnx", "onnxruntime"),
    default_preprocess="torch",
    default_layout="nchw",
    part="node",
    layer_naming="node",
    is_named_by_layer=False,
    is_view=True,
    has_external_data=True,
)
FORMATS = (TORCH, KERAS, TF, TFLITE, ONNX)
FORMAT_NAMES = tuple(format.name for format in FORMATS)


def format_named(name: str) -> Format:
    """The format of that name. Raises KeyError for any other name."""
    for format in FORMATS:
        if format.name == name:
            return format
    raise KeyError(f"{name!r} is no format. Known: {', '.join(FORMAT_NAMES)}")


def format_of_suffix(suffix: str) -> Format | None:
    """The format whose files usually end so, such as ``.pth``; None for other endings."""
    return next((format for format in FORMATS if suffix.lower() in format.known_suffixes), None)


def extra_with(module: str) -> str | None:
    """Return the extra of safeconvert that installs the module of a runtime; None for other modules."""
    return next((format.extra for format in FORMATS if module in format.requires), None)


def has_second_runtime(format: Format) -> bool:
    """Can models of this format be run in a second runtime on this machine?"""
    second = format.second_runtime
    return second is not None and importlib.util.find_spec(second.module) is not None
