"""The settings of one operator of a TFLite file. Runs in a worker."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...records import Settings
from .flatbuffer import packed, unpacked

# What ONNX and the frameworks have as one list, height first, schema.fbs has as two fields.
PAIRS = {
    "strides": ("strideH", "strideW"),
    "dilations": ("dilationHFactor", "dilationWFactor"),
    "kernel_shape": ("filterHeight", "filterWidth"),
}
PADDING = ("same", "valid")  # schema.fbs, enum Padding
SINGLE = ("alpha", "axis")  # options of schema.fbs that are one number


def read_settings(path: str, place: str) -> Settings:
    """The settings of the operator that gives the tensor ``place``. Raises ValueError where there is none."""
    options = _options(unpacked(Path(path).read_bytes()), place)
    settings: Settings = {
        name: [getattr(options, part) for part in pair] for name, pair in PAIRS.items() if hasattr(options, pair[0])
    }
    settings |= {name: getattr(options, name) for name in SINGLE if hasattr(options, name)}
    if hasattr(options, "padding"):
        settings["padding"] = PADDING[options.padding]
    if hasattr(options, "fusedActivationFunction"):
        settings["fused_activation"] = _activations()[options.fusedActivationFunction]
    return settings


def change_settings(path: str, target: str, place: str, values: Settings) -> str:
    """Write the file at ``target`` with other settings of that operator; gives the flavour."""
    model = unpacked(Path(path).read_bytes())
    options = _options(model, place)
    for name, value in values.items():
        if name == "padding":
            options.padding = PADDING.index(str(value))
        if name in PAIRS:
            assert isinstance(value, Sequence)
            for part, number in zip(PAIRS[name], value, strict=True):
                setattr(options, part, number)
        if name == "fused_activation":
            options.fusedActivationFunction = _activations().index(str(value))
        if name in SINGLE:
            setattr(options, name, value)
    Path(target).write_bytes(packed(model))
    return "tflite"


def _activations() -> list[str]:
    """What schema.fbs calls the activations that an operator may have at its end, by number, in small letters."""
    from ai_edge_litert import schema_py_generated as schema

    names = {value: name.lower() for name, value in vars(schema.ActivationFunctionType).items() if name.isupper()}
    return [names[number] for number in sorted(names)]


def _options(model: Any, place: str) -> Any:
    graph = model.subgraphs[0]
    for operator in graph.operators:
        if any(graph.tensors[index].name == place.encode() for index in operator.outputs):
            return operator.builtinOptions
    raise ValueError(f"no operator gives {place!r}")
