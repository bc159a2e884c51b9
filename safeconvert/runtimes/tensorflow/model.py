"""Keras models and SavedModels in their own runtime, in a worker."""

from __future__ import annotations

import re
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ...records import NO_LOAD_OPTIONS, LoadOptions, Signature
from ..registry import MODELS, Loaded, register, spec

SERVING = "serving_default"
RANDOM_OPERATORS = re.compile(
    r"(Stateful|Stateless)?(Random(?!.*Get(Alg|Key))|TruncatedNormal|Uniform(?!Quant|Deq|Req)|Multinomial)|NonDeterministic"
)


def load(path: str, flavour: str, options: LoadOptions = NO_LOAD_OPTIONS) -> Signature:
    """Load a ``.keras`` or ``.h5`` file or a SavedModel, register it and return its signature.

    Keras's safe mode stays on unless the file is trusted. Without ``options.signature``, a SavedModel's
    ``serving_default`` is used, or its only signature.
    """
    if flavour == "savedmodel":
        return register(path, _saved_model(path, options.signature))
    return register(path, keras_model(keras.saving.load_model(path, compile=False, safe_mode=not options.is_trusted)))


def keras_model(model: Any) -> Loaded:
    """A Keras model as a :class:`Loaded`. A Sequential one that was never built has no signature: ValueError."""
    if not getattr(model, "inputs", None):
        raise ValueError("the Keras model has no input shape: build it, or save it with an Input layer")
    inputs = [spec(t.name, t.shape, keras.backend.standardize_dtype(t.dtype)) for t in model.inputs]
    outputs = [
        spec(name, t.shape, keras.backend.standardize_dtype(t.dtype))
        for name, t in zip(_output_names(model), model.outputs, strict=True)
    ]
    tensors = [tf.TensorSpec(t.shape, t.dtype) for t in model.inputs]

    @tf.function(input_signature=tensors)  # type: ignore[untyped-decorator, unused-ignore]
    def forward(*tensors: Any) -> Any:
        return tf.nest.flatten(model(packed(model, list(tensors)), training=False))

    names = [described.name for described in inputs]

    def run(arrays: dict[str, np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        return [t.numpy() for t in forward(*[tf.constant(arrays[name]) for name in names])]

    return Loaded(
        model, run, inputs, outputs, changing_operators=lambda: changing_operators(forward.get_concrete_function())
    )


def changing_operators(function: Any) -> list[str]:
    """Return the operators of a concrete function, and of those that it calls, that are random or in training mode."""
    graph = function.graph.as_graph_def()
    operators = []
    for node in [*graph.node, *(node for inner in graph.library.function for node in inner.node_def)]:
        if RANDOM_OPERATORS.match(node.op):
            operators.append(node.op)
        elif node.op.startswith("FusedBatchNorm") and node.attr["is_training"].b:
            operators.append(f"{node.op} in training mode")
    return operators


def packed(model: Any, tensors: list[Any]) -> Any:
    """The tensors as the model's call takes them: nested as it was built; a Sequential model takes its one tensor."""
    if hasattr(model, "_inputs_struct"):
        return tf.nest.pack_sequence_as(model._inputs_struct, tensors)
    return tensors[0] if len(tensors) == 1 else tensors


def _output_names(model: Any) -> list[str]:
    names = list(getattr(model, "output_names", []))
    if len(names) != len(model.outputs) or len(set(names)) != len(names):
        names = [f"output_{i}" for i in range(len(model.outputs))]
    return names


def _saved_model(path: str, chosen: str | None) -> Loaded:
    model = tf.saved_model.load(path)
    available = list(model.signatures)
    if chosen is None:
        chosen = SERVING if SERVING in available else available[0] if len(available) == 1 else None
    if chosen is None or chosen not in available:
        raise KeyError(f"no signature {chosen or SERVING!r}: the SavedModel has {available or 'none'}; use --signature")
    function = model.signatures[chosen]
    arguments = function.structured_input_signature[1]
    inputs = [spec(name, t.shape if t.shape.rank is not None else None, t.dtype.name) for name, t in arguments.items()]
    order = sorted(function.structured_outputs, key=natural)
    outputs = [
        spec(name, t.shape if t.shape.rank is not None else None, t.dtype.name)
        for name, t in ((name, function.structured_outputs[name]) for name in order)
    ]

    def run(arrays: dict[str, np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        results = function(**{name: tf.constant(array) for name, array in arrays.items()})
        return [results[name].numpy() for name in order]

    return Loaded((model, chosen), run, inputs, outputs, changing_operators=lambda: changing_operators(function))


def natural(name: str) -> list[Any]:
    """Sort key in which ``output_10`` comes after ``output_9``."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def loaded(path: str, flavour: str) -> Loaded:
    """The registered model, loaded where it is not (an earlier hop wrote it)."""
    if path not in MODELS:
        load(path, flavour)
    return MODELS[path]


def layer_names(path: str) -> list[str]:
    """The names of all layers of a registered Keras model, nested ones included."""
    return [layer.name for layer in loaded(path, "keras").native._flatten_layers(include_self=False)]
