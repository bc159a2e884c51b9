"""PyTorch models: exported programs, TorchScript, pickled modules and state dicts."""

from __future__ import annotations

from pathlib import Path

from ..workers.runtime import PYTORCH
from .format import Format
from .torch_archive import is_legacy_torch, torch_flavour


def detect_flavour(path: Path, head: bytes) -> str | None:
    """Tell a zip archive of PyTorch's, or a pickle as ``torch.save`` wrote it before version 1.6."""
    if head.startswith(b"PK\x03\x04") or is_legacy_torch(head):
        return torch_flavour(path) or None
    return None


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
    requires=("torch",),
    default_preprocess="torch",
    default_layout="nchw",
    part="module",
    layer_naming="module scopes",
    is_named_by_layer=True,
)
