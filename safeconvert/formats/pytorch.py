"""PyTorch models: exported programs, TorchScript, pickled modules and state dicts."""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path
from typing import Any

from ..workers.runtime import PYTORCH
from .format import Format, ModelFile
from .torch_archive import is_legacy_torch, torch_flavour


def detect_flavour(path: Path, head: bytes) -> str | None:
    """Tell a zip archive of PyTorch's, or a pickle as ``torch.save`` wrote it before version 1.6."""
    if head.startswith(b"PK\x03\x04") or is_legacy_torch(head):
        return torch_flavour(path) or None
    return None


def load_object(file: ModelFile) -> Any:
    """Return a ``torch.nn.Module`` with the parameters of the file, which can be trained."""
    torch = importlib.import_module("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if file.flavour == "module":
            return torch.load(file.path, map_location="cpu", weights_only=False)
        program = torch.export.load(file.path)
        try:
            return torch.export.unflatten(program)  # has modules by name, and train() and eval()
        except Exception:  # noqa: BLE001 - programs that it does not take run flat all the same
            return program.module()


SNIPPET = """\
import numpy, torch
test = numpy.load(TEST)
model = torch.export.load(MODEL).module()
with torch.no_grad():
    outputs = model(torch.from_numpy(test["input"]))
outputs = [o.numpy() for o in (outputs if isinstance(outputs, (list, tuple)) else [outputs])]
"""
TORCH = Format(
    name="torch",
    article="a",
    display_name="PyTorch",
    suffix=".pt2",
    flavour="pt2",
    known_suffixes=(".pt2", ".pt", ".pth"),
    example="model.pt2",
    runtime=PYTORCH,
    detect_flavour=detect_flavour,
    load_object=load_object,
    requires=("torch",),
    default_preprocess="torch",
    default_layout="nchw",
    part="module",
    layer_naming="module scopes",
    is_named_by_layer=True,
    snippet=SNIPPET,
)
