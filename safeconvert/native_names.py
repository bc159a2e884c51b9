"""What a person knows a view's node by: the layer, module or tensor of the model in its own format."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Mapping
from typing import Any

from safeconvert.errors import ChildFailed
from safeconvert.sides import Side

SCOPES = "pkg.torch.onnx.name_scopes"
"""Metadata that torch.onnx leaves on a node: the modules around it, from the outermost to itself."""


def layer_names(side: Side) -> frozenset[str]:
    """The names of a Keras model's layers; empty for other formats, whose names need no list."""
    if side.format != "keras":
        return frozenset()
    try:
        return frozenset(side.child().call("native.tensorflow_model", "layer_names", path=side.location))
    except ChildFailed:
        return frozenset()


def native_name(format: str, found: Mapping[str, Any], layers: Collection[str]) -> str:
    """The native name of a located node, or the view's own where the exporter left no trace of it."""
    name = str(found["target_node"])
    if format == "tflite":
        return str(found["target_tensor"]) or name
    if format == "keras":
        return _layer(name, layers) or _layer(str(found["target_tensor"]), layers) or name
    if format == "tf":
        return name.removeprefix("StatefulPartitionedCall/")
    if format == "torch":
        return _module(found.get("metadata", {}).get(SCOPES, "")) or name
    return name


def _layer(name: str, layers: Collection[str]) -> str:
    """The innermost layer in a name like ``model_1/block_1/conv_1/Conv2D``: Keras numbers scopes as it enters them."""
    for part in reversed(name.split("/")):
        for one in (part, re.sub(r"_\d+$", "", part)):
            if one in layers:
                return one
    return ""


def _module(scopes: str) -> str:
    """The innermost module of a list like ``['', 'features', 'features.0', 'conv2d']``, its own node left out."""
    try:
        names = [str(one) for one in ast.literal_eval(scopes)][:-1]
    except (SyntaxError, ValueError):
        return ""
    return names[-1] if names else ""
