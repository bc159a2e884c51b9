"""Every intermediate tensor of a Keras model or SavedModel. Runs in a worker.

What runs is the frozen graph of the model's own call: variables are constants in it, and calls are inlined.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from ..registry import MODELS, Arrays, Loaded
from ..trace_store import Array, Store, TraceRecord, Trail, in_batches
from . import model as tensorflow_model

FETCHED_AT_ONCE = 16  # tensors; each run computes again what leads to them
SIZES = ("Shape", "ShapeN", "Size", "Rank")
WRAPPERS = re.compile(r"^((Stateful)?PartitionedCall(_\d+)?/)+")


def trace(path: str, arrays: Arrays, store: str, *, with_integers: bool = False) -> list[TraceRecord]:
    """Run the model on ``arrays`` (input name -> array, batch first) and keep what it computes in ``store``.

    Returns a record for each floating-point tensor of rank 1 or more that depends on the inputs, in execution order,
    the inputs first. A record's node is the operation's name, as ``functional_1/conv_2/convolution``, its layer the
    Keras layer's name, ``outer/inner`` where models are nested, or a SavedModel's name scope. A tensor of which only
    the size is read does not count as read. Left out are Identity operations other than the model's outputs, tensors
    that nothing reads, what loops and branches compute inside, and what a run cannot give.
    ``with_integers`` keeps whole numbers and truth values that are computed from the inputs' values too.
    """
    model = loaded_by_path(path)
    concrete, names, layer_of = _call(model)
    frozen = convert_variables_to_constants_v2(concrete, lower_control_flow=False)
    input_names = dict(zip((tensor.name for tensor in frozen.inputs), names, strict=True))
    results = [tensor.name for tensor in frozen.outputs]
    live = _live(frozen.graph, list(input_names))
    valued = _from_values(live, list(input_names)) if with_integers else set()
    kept_names = [t.name for t in live if _is_kept(t, results, valued)]

    def trace_batch(part: Arrays, target: str) -> list[TraceRecord]:
        feeds = {tensor: part[name] for tensor, name in input_names.items()}
        with Store(target) as trace_store:
            for name, array in _fetched(frozen.graph, kept_names, results, feeds):
                op = frozen.graph.get_tensor_by_name(name).op
                node, kind = (
                    input_names.get(name) or WRAPPERS.sub("", op.name),
                    "input" if name in input_names else op.type,
                )
                layer = "" if name in input_names else layer_of(op.name)
                trace_store.add(array, tensor=name, node=node, layer=layer, operator=kind, inputs=[])
            return _connected(live, trace_store.records, set(input_names))

    return in_batches(model, arrays, store, trace_batch)


def loaded_by_path(path: str) -> Loaded:
    if path not in MODELS:
        tensorflow_model.load(path, "savedmodel" if Path(path).is_dir() else "keras")
    return MODELS[path]


def _call(model: Loaded) -> tuple[Any, list[str], Callable[[str], str]]:
    """The model's call as a concrete function, the names of its inputs in order, and a layer's name by operation."""
    if isinstance(model.native, tuple):
        loaded, chosen = model.native
        concrete = loaded.signatures[chosen]
        names = [t.name for t in tf.nest.flatten(concrete.structured_input_signature) if isinstance(t, tf.TensorSpec)]
        return concrete, names, lambda op: WRAPPERS.sub("", op).rpartition("/")[0]
    call_paths: dict[str, str] = {}
    specs = [tf.TensorSpec(t.shape, t.dtype) for t in model.native.inputs]

    @tf.function(input_signature=specs, autograph=False)  # type: ignore[untyped-decorator, unused-ignore]
    def forward(*tensors: Any) -> Any:
        with _watched(model.native, call_paths):
            arguments = tensorflow_model.packed(model.native, list(tensors))
            return tf.nest.flatten(model.native(arguments, training=False))

    def layer_of(op: str) -> str:
        while op and op not in call_paths:  # what was inlined has the name of the call before its own
            op = op.rpartition("/")[0]
        return call_paths.get(op, "")

    return forward.get_concrete_function(), [described.name for described in model.inputs], layer_of


def named_layers(model: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    """The layers of a model and their paths, ``outer/inner``, the outer ones first."""
    for layer in model._flatten_layers(include_self=False, recursive=False):
        yield f"{above}{layer.name}", layer
        yield from named_layers(layer, f"{above}{layer.name}/")


@contextlib.contextmanager
def _watched(model: Any, call_paths: dict[str, str]) -> Iterator[None]:
    """Write into ``call_paths`` which layer's call makes which operation: name scopes are numbered and do not say."""
    layers = {id(layer): (path, layer) for path, layer in reversed(list(named_layers(model)))}
    original_calls = {key: layer.__dict__.get("call") for key, (_, layer) in layers.items()}
    graph = tf.compat.v1.get_default_graph()

    def watch(path: str, call: Any) -> Any:
        def watched(*arguments: Any, **settings: Any) -> Any:
            before = len(graph.get_operations())
            result = call(*arguments, **settings)
            for op in graph.get_operations()[before:]:
                call_paths.setdefault(op.name, path)  # an inner layer has said so already
            return result

        return watched

    try:
        for path, layer in layers.values():
            object.__setattr__(layer, "call", watch(path, layer.call))
        yield
    finally:
        for key, (_, layer) in layers.items():
            layer.__dict__.pop("call", None)
            if original_calls[key] is not None:
                object.__setattr__(layer, "call", original_calls[key])


def _nothing_fused() -> Any:
    config = tf.compat.v1.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    config.graph_options.optimizer_options.opt_level = -1
    return config


def _live(graph: Any, input_names: list[str]) -> list[Any]:
    """The tensors that depend on the inputs, these first."""
    inputs = [graph.get_tensor_by_name(name) for name in input_names]
    tensors, names = list(inputs), set(input_names)
    for op in graph.get_operations():
        if any(tensor.name in names for tensor in op.inputs):
            tensors += op.outputs
            names.update(tensor.name for tensor in op.outputs)
    return tensors


def _from_values(live: list[Any], input_names: list[str]) -> set[str]:
    """Name the tensors that are computed from the inputs' values, and not from their sizes alone."""
    names = set(input_names)
    for tensor in live:
        if tensor.op.type not in SIZES and any(read.name in names for read in tensor.op.inputs):
            names.add(tensor.name)
    return names


def _is_kept(tensor: Any, results: list[str], valued: set[str]) -> bool:
    """``valued`` are the tensors that count though their values are whole numbers or truth values."""
    is_number = tensor.dtype.is_floating or (
        tensor.name in valued and (tensor.dtype.is_integer or tensor.dtype.is_bool)
    )
    fetchable = tensor.graph.is_fetchable(tensor.op) and is_number and tensor.shape.rank != 0
    return fetchable and (tensor.name in results or bool(tensor.op.type != "Identity" and tensor.consumers()))


def _fetched(graph: Any, names: list[str], results: list[str], feeds: dict[str, Array]) -> Iterator[tuple[str, Array]]:
    """The tensors' values, of rank 1 or more. Some cannot be given: those on the side of a switch not taken."""
    for start in range(0, len(names), FETCHED_AT_ONCE):
        values: dict[str, Array] = {}
        part = names[start : start + FETCHED_AT_ONCE]
        # A session keeps a copy of the constants for each set of tensors that it ever gave.
        with tf.compat.v1.Session(graph=graph, config=_nothing_fused()) as session:
            try:
                values = dict(zip(part, session.run(part, feeds), strict=True))
            except tf.errors.InvalidArgumentError:
                session.run(results, feeds)  # raises where it is the model itself that cannot run
                for name in part:
                    with contextlib.suppress(tf.errors.InvalidArgumentError):
                        values[name] = session.run(name, feeds)
        while values:
            name = next(iter(values))
            value = values.pop(name)
            if value.ndim:
                yield name, value


def _connected(live: list[Any], records: list[TraceRecord], input_names: set[str]) -> list[TraceRecord]:
    """The records with the tensors that each was computed from."""
    names, inputs, trail = {record.tensor for record in records}, dict[str, list[str]](), Trail()
    for tensor in live:
        read = [] if tensor.name in input_names else [t.name for t in tensor.op.inputs]
        if tensor.name in names:
            inputs[tensor.name] = trail.sources(read)
            trail.keep(tensor.name, tensor.name)
        elif tensor.name in input_names:
            trail.start(tensor.name)
        else:
            trail.passed(tensor.name, read, size=tensor.op.type in SIZES)
    return [replace(record, inputs=tuple(inputs.get(record.tensor, ()))) for record in records]
