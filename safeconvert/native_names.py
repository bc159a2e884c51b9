"""What a person knows a view's node by: the layer, module or tensor of the model in its own format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Metadata that exporters leave on ONNX nodes: PyTorch notes the module path and the exported program's own node.
MODULES = "pkg.torch.onnx.name_scopes"
FX = "pkg.torch.onnx.fx_node"


def native_name(format: str, found: Mapping[str, Any]) -> str:
    """The native name of a located node, or the view's own where the exporter left no trace of it."""
    name = str(found["target_node"])
    if format == "tflite":
        return str(found["target_tensor"]) or name
    return name
