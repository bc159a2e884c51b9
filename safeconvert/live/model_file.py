"""A model that Python code holds, written to a file by the framework that the person has imported already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import BadInput
from ..formats import ModelFile
from ..models.detect import detect
from . import pytorch_file, tensorflow_file
from .arrays import LiveInputs
from .frameworks import imported, is_instance

MAX_PROTOBUF_BYTES = 2**31 - 1  # a larger ONNX model has its weights in a file of their own


@dataclass(frozen=True)
class WrittenModel:
    """``file`` is what was written; ``input_names`` are in the model's order, empty where they are not known."""

    file: ModelFile
    input_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelWithExample:
    """A live model, with inputs that only show what it takes; ``example`` is None where nothing is known of them."""

    model: Any
    example: Any


def require_model(model: object) -> None:
    """Raise :class:`BadInput` for what is neither a path nor a model that can be written to a file."""
    is_live = (
        pytorch_file.is_torch_model(model)
        or tensorflow_file.is_keras_model(model)
        or is_instance(model, "onnx", "ModelProto")
        or isinstance(model, bytes | bytearray | memoryview | ModelWithExample)
        or tensorflow_file.is_tensorflow_model(model)
    )
    if not (is_live or is_path(model)):
        raise BadInput(
            f"{_shown_type(model)} is no model that can be converted.\nGive a torch.nn.Module, an ExportedProgram, "
            "a Keras model, a tf.Module or tf.function, an onnx.ModelProto, TFLite bytes, or a path."
        )


def _shown_type(model: object) -> str:
    if model is None:
        return "None"
    return f"the class {model.__name__} (not an instance of it)" if isinstance(model, type) else type(model).__name__


def is_path(model: object) -> bool:
    return isinstance(model, str | Path)


def input_count(model: object) -> int | None:
    """Return how many inputs a live model takes; None for a path, and where that cannot be told."""
    if pytorch_file.is_torch_model(model):
        return pytorch_file.input_count(model)
    if tensorflow_file.is_keras_model(model):
        return len(tensorflow_file.keras_inputs(model)) or None
    if is_instance(model, "onnx", "ModelProto"):
        return len(_onnx_inputs(model))
    return None


def write(model: Any, path: Path, example: LiveInputs | None, batch_axis: Mapping[str, int | None]) -> WrittenModel:
    """Write a live model beside ``path``, a path without suffix in a folder that exists.

    ``example`` are inputs, for models that do not say what these look like. Raises :class:`BadInput` for what is no
    model, and for a model that lacks an example.
    """
    require_model(model)
    path = path.with_name(path.name.replace(".", "_"))
    names: list[str] = []
    if pytorch_file.is_torch_model(model):
        origin = pytorch_file.describe(model)
        written, names = pytorch_file.save(model, path, example, batch_axis)
    elif tensorflow_file.is_keras_model(model):
        origin, names = tensorflow_file.describe(model), tensorflow_file.keras_inputs(model)
        written = tensorflow_file.save_keras(model, path, example)
    elif is_instance(model, "onnx", "ModelProto"):
        origin, written, names = "onnx.ModelProto", _save_onnx(model, path), _onnx_inputs(model)
    elif isinstance(model, bytes | bytearray | memoryview):
        origin, written = "bytes", _save_bytes(bytes(model), path)
    else:
        origin = tensorflow_file.describe(model)
        written = tensorflow_file.save_tensorflow(model, path, example, batch_axis)
    return WrittenModel(replace(detect(written), origin=origin), tuple(names))


def name_of(model: object) -> str:
    """Return a name for the file of a live model: that of its class, or its own."""
    model_name = getattr(model, "name", None) if tensorflow_file.is_keras_model(model) else None
    if isinstance(model, bytes | bytearray | memoryview):
        return "model"
    return model_name if isinstance(model_name, str) and model_name else type(model).__name__.lstrip("_")


def _save_onnx(model: Any, path: Path) -> Path:
    onnx, path = imported("onnx"), path.with_suffix(".onnx")
    if model.ByteSize() <= MAX_PROTOBUF_BYTES:
        onnx.save(model, str(path))
        return path
    copied = onnx.ModelProto()
    copied.CopyFrom(model)  # saving with external data moves the weights out of the model that it is given
    onnx.save(copied, str(path), save_as_external_data=True, location=f"{path.name}.data")
    return path


def _onnx_inputs(model: Any) -> list[str]:
    constants = {tensor.name for tensor in model.graph.initializer}
    return [value.name for value in model.graph.input if value.name not in constants]


def _save_bytes(model: bytes, path: Path) -> Path:
    path = path.with_suffix(".tflite" if model[4:8] == b"TFL3" else ".onnx")
    path.write_bytes(model)
    try:
        detect(path)
    except BadInput as error:
        raise BadInput(
            f"{len(model)} bytes that begin with {model[:8]!r} are neither a TFLite nor an ONNX model."
        ) from error
    return path
