"""A model file as the object of its own framework, for the person's process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..formats import KERAS, ONNX, TF, TORCH, ModelFile
from ..models.detect import detect
from .frameworks import for_result


def load(path: Path) -> Any:
    """Return the model: a ``torch.nn.Module``, a Keras model, a loaded SavedModel, a ``ModelProto`` or TFLite bytes.

    Imports that model's framework and no other. The module has the Source's parameters and can be trained on.
    """
    file = detect(path)
    loaders = {TORCH: _torch_module, KERAS: _keras_model, TF: _saved_model, ONNX: _onnx_model}
    return loaders[file.format](file) if file.format in loaders else path.read_bytes()


def _torch_module(file: ModelFile) -> Any:
    torch = for_result("torch")
    if file.flavour == "module":
        return torch.load(file.path, map_location="cpu", weights_only=False)
    program = torch.export.load(file.path)
    try:
        return torch.export.unflatten(program)  # has modules by name, and train() and eval()
    except Exception:  # noqa: BLE001 - programs that it does not take run flat all the same
        return program.module()


def _keras_model(file: ModelFile) -> Any:
    return for_result("keras").saving.load_model(file.path, compile=False)


def _saved_model(file: ModelFile) -> Any:
    return for_result("tensorflow").saved_model.load(str(file.path))


def _onnx_model(file: ModelFile) -> Any:
    return for_result("onnx").load(str(file.path))
