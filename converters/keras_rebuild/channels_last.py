"""Make the Keras model that onnx2keras writes shippable: channels-last, free of Lambda, loadable anywhere.

onnx2keras with `change_ordering=False` keeps ONNX's NCHW semantics, but in layers that TensorFlow cannot run
on a CPU and in closures that `keras.saving.load_model` refuses. The graph is walked once and built anew.
Every tensor may be held in several physical axis orders ("forms"); a transposition is built only when some
consumer needs a form that does not exist yet, and a transposition in the Source itself merely renames forms.
Worker side.
"""

from __future__ import annotations

from functools import reduce
from typing import Any

import keras
import numpy as np

from .emitter import Emitter, Order, UnsupportedOperation, Value, identity, last
from .lambda_replay import replay

__all__ = ["UnsupportedOperation", "channels_last"]

ANY_ORDER_ACTIVATIONS = {
    "linear", "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "swish", "mish",
    "softplus", "softsign", "sigmoid", "hard_sigmoid", "hard_silu", "hard_swish", "log_sigmoid", "tanh",
    "hard_tanh", "exponential", "soft_shrink", "hard_shrink", "tanh_shrink",
}  # fmt: skip
ELEMENTWISE = (
    keras.layers.ReLU,
    keras.layers.LeakyReLU,
    keras.layers.ELU,
    keras.layers.Dropout,
    keras.layers.Identity,
)
NORMALISATIONS = (
    keras.layers.BatchNormalization,
    keras.layers.GroupNormalization,
    keras.layers.LayerNormalization,
)
MERGES: dict[type[Any], Any] = {
    keras.layers.Add: keras.ops.add,
    keras.layers.Subtract: keras.ops.subtract,
    keras.layers.Multiply: keras.ops.multiply,
    keras.layers.Maximum: keras.ops.maximum,
    keras.layers.Minimum: keras.ops.minimum,
    keras.layers.Average: keras.ops.add,
}


def channels_last(model: Any, *, input_layouts: dict[str, str] | None = None) -> Any:
    """Return an equivalent Functional model whose layers run channels-last and which holds no Lambda.

    Inputs and outputs keep their names, order, shapes and values. An input that
    `input_layouts` calls "nhwc" becomes channels-last and feeds the graph directly; "nchw" and "keep" do not.
    Weights are copied bit for bit. Raises `UnsupportedOperation` for a Lambda that cannot be replayed and
    `ValueError` for an input layout that cannot be given.
    """
    layouts = dict(input_layouts or {})
    emitter = Emitter()
    inputs, values = [], []
    for source in model.inputs:
        name, shape = source._keras_history.operation.name, tuple(source.shape)
        layout = layouts.pop(name, "keep")
        if layout not in ("keep", "nchw", "nhwc") or (layout == "nhwc" and len(shape) < 3):
            raise ValueError(f"input {name!r} of shape {shape} cannot have the layout {layout!r}")
        order = last(len(shape)) if layout == "nhwc" else identity(len(shape))
        tensor = keras.Input(
            batch_shape=tuple(shape[axis] for axis in order),
            dtype=source.dtype,
            name=emitter.unique(name),
        )
        inputs.append(tensor)
        values.append(Value(name, {order: tensor}))
    if layouts:
        raise ValueError(f"the model has no input named {', '.join(map(repr, layouts))}")
    outputs = []
    for value in _run(model, values, _Rebuilder(emitter)):
        if isinstance(value, np.ndarray):
            raise UnsupportedOperation("Const", "a model output that depends on no input")
        outputs.append(emitter.form(value, identity(value.rank)))
    return keras.Model(
        inputs=inputs if len(inputs) > 1 else inputs[0],
        outputs=outputs if len(outputs) > 1 else outputs[0],
        name=model.name,
    )


def _run(model: Any, values: list[Any], rebuild: _Rebuilder) -> list[Any]:
    """Send `values` through the graph of a Functional model, `rebuild` standing in for every operation."""
    functional = getattr(model, "_functional", None) or model
    result = functional._run_through_graph(values, operation_fn=lambda operation: operation, call_fn=rebuild)
    return list(keras.tree.flatten(result))


def _plain(config: Any) -> Any:
    """Return `config` without numpy numbers and arrays (onnx2keras leaves them in), which JSON cannot hold."""
    if isinstance(config, dict):
        return {key: _plain(item) for key, item in config.items()}
    if isinstance(config, list | tuple):
        return type(config)(_plain(item) for item in config)
    return config.tolist() if isinstance(config, np.generic | np.ndarray) else config


class _Rebuilder:
    """Builds, for each operation of the Source graph, its replacement on `Value`s and numpy constants."""

    def __init__(self, emitter: Emitter) -> None:
        self.emitter = emitter
        self.clones: dict[Any, tuple[Any, Any]] = {}  # the Source layer is held too, so its id stays its own

    def __call__(self, operation: Any, *args: Any, **kwargs: Any) -> Any:
        args, kwargs = keras.tree.map_structure(_constant, (args, kwargs))
        tensors = [item for item in keras.tree.flatten((args, kwargs)) if isinstance(item, Value)]
        if isinstance(operation, keras.Model):
            results = _run(operation, list(keras.tree.flatten(args)), self)
            return results if len(results) > 1 else results[0]
        if isinstance(operation, keras.layers.Lambda):
            return replay(self.emitter, operation.name, _lambda_function(operation), args[0])
        if not tensors:
            return keras.tree.map_structure(np.asarray, operation(*args, **kwargs))
        if isinstance(operation, keras.layers.Layer) and len(args) == 1:
            if isinstance(args[0], Value):
                return self.layer(operation, args[0], kwargs)
            if isinstance(args[0], list | tuple) and not kwargs and (merged := self.merge(operation, list(args[0]))):
                return merged
        return self.opaque(operation, args, kwargs)

    def layer(self, layer: Any, x: Value, kwargs: dict[str, Any]) -> Any:
        """Replace a layer of one input by its twin in the best axis order."""
        config, rank = layer.get_config(), x.rank
        channels_first = config.get("data_format") == "channels_first" and rank > 2
        if isinstance(layer, keras.layers.Flatten):
            # Keras flattens a channels_first tensor in channels-last element order.
            order = last(rank) if channels_first else identity(rank)
            return self.emitter.reshape(layer.name, Value(x.name, {identity(rank): self.emitter.form(x, order)}), [-1])
        if isinstance(layer, keras.layers.Reshape):
            return self.emitter.reshape(layer.name, x, list(layer.target_shape))
        if isinstance(layer, keras.layers.Permute):
            return self.emitter.transpose(x, (0, *layer.dims))
        if channels_first and isinstance(layer, keras.layers.DepthwiseConv2D) and len(set(layer.strides)) > 1:
            return self.depthwise(layer, x, kwargs)
        if channels_first:
            return self.call(layer, x, last(rank), kwargs, data_format="channels_last")
        if isinstance(layer, NORMALISATIONS):
            axes = [axis % rank for axis in np.atleast_1d(config["axis"]).tolist()]
            if axes == [1] and rank > 2:
                return self.call(layer, x, last(rank), kwargs, axis=-1)
        elif isinstance(layer, keras.layers.PReLU):
            order = self.emitter.order_of([x])
            positions = [axis - 1 for axis in order[1:]]
            shared = [order.index(axis) for axis in config["shared_axes"] or []]
            weights = [weight.transpose(positions) for weight in layer.get_weights()]
            return self.call(layer, x, order, kwargs, weights, shared_axes=sorted(shared) or None)
        elif isinstance(layer, keras.layers.Softmax) and isinstance(layer.axis, int):
            order = self.emitter.order_of([x])
            return self.call(layer, x, order, kwargs, axis=order.index(layer.axis % rank))
        elif isinstance(layer, ELEMENTWISE) or (
            isinstance(layer, keras.layers.Activation) and config["activation"] in ANY_ORDER_ACTIVATIONS
        ):
            return self.call(layer, x, self.emitter.order_of([x]), kwargs)
        return self.opaque(layer, (x,), kwargs)

    def depthwise(self, layer: Any, x: Value, kwargs: dict[str, Any]) -> Value:
        """Convolve at stride 1 and keep every n-th row and column: TensorFlow knows no unequal strides here."""
        if layer.padding != "valid":
            raise UnsupportedOperation("DepthwiseConv2D", layer.name, "unequal strides with padding")
        y = self.call(layer, x, last(4), kwargs, data_format="channels_last", strides=(1, 1))
        rows, columns = (slice(None, None, stride) for stride in layer.strides)
        return self.emitter.index(f"{layer.name}_strided", y, [slice(None), slice(None), rows, columns])

    def call(
        self,
        layer: Any,
        x: Value,
        order: Order,
        kwargs: dict[str, Any],
        weights: list[Any] | None = None,
        **overrides: Any,
    ) -> Value:
        """Call the clone of `layer` on `x` in `order`; its result keeps that order (rank permitting)."""
        variant = () if weights is None else order  # other weights, so another twin of a shared layer
        y = self.clone(layer, overrides, [self.emitter.form(x, order)], kwargs, weights, variant)
        return Value(layer.name, {order if len(y.shape) == len(order) else identity(len(y.shape)): y})

    def clone(
        self,
        layer: Any,
        overrides: dict[str, Any],
        args: Any,
        kwargs: dict[str, Any],
        weights: list[Any] | None = None,
        variant: Order = (),
    ) -> Any:
        """Build (or, for a shared layer, reuse) the replacement, call it, and copy the weights."""
        key = (id(layer), repr(sorted(overrides.items())), variant)
        known = key in self.clones
        if not known:
            config = _plain(layer.get_config()) | overrides
            if "name" in config:
                config["name"] = self.emitter.unique(layer.name)
            self.clones[key] = (layer, type(layer).from_config(config))
        twin = self.clones[key][1]
        if "name" not in layer.get_config():
            twin.name = self.emitter.unique(layer.name) if not known else twin.name
        result = twin(*args, **kwargs)
        if not known and isinstance(layer, keras.layers.Layer):
            twin.set_weights(layer.get_weights() if weights is None else weights)
        return result

    def opaque(self, operation: Any, args: Any, kwargs: Any) -> Any:
        """Replay an operation whose axes are not understood on tensors in ONNX order."""
        args, kwargs = keras.tree.map_structure(
            lambda item: self.emitter.form(item, identity(item.rank)) if isinstance(item, Value) else item,
            (args, kwargs),
        )
        result = self.clone(operation, {}, args, kwargs)
        return keras.tree.map_structure(lambda y: Value(operation.name, {identity(len(y.shape)): y}), result)

    def merge(self, layer: Any, operands: list[Any]) -> Value | None:
        """Rebuild Add, Multiply, Concatenate and kin; None where `layer` is none of them."""
        values = [item for item in operands if isinstance(item, Value)]
        rank = max(len(item.shape) for item in operands)
        level = all(len(item.shape) == rank for item in operands)
        order = self.emitter.order_of([item for item in values if item.rank == rank])
        if type(layer) is keras.layers.Concatenate:
            if len(values) < len(operands):
                return self.emitter.concat(layer.name, operands, layer.axis % rank)
            tensors = [self.emitter.form(item, order) for item in values]
            y = self.clone(layer, {"axis": order.index(layer.axis % rank)}, [tensors], {})
        elif type(layer) not in MERGES:
            return None
        elif level and len(values) == len(operands):
            y = self.clone(layer, {}, [[self.emitter.form(item, order) for item in values]], {})
        else:  # a constant operand, or unequal ranks, which Keras (unlike ONNX) pads with 1 after the batch
            operands = [self._raise_rank(layer.name, item, rank) for item in operands]
            name = layer.name

            def pair(left: Any, right: Any) -> Any:
                return self.emitter.elementwise(name, MERGES[type(layer)], left, right)

            total = reduce(pair, operands)
            if isinstance(layer, keras.layers.Average):
                total = self.emitter.elementwise(name, keras.ops.true_divide, total, np.float32(len(operands)))
            return total if isinstance(total, Value) else None
        return Value(layer.name, {order: y})

    def _raise_rank(self, name: str, item: Any, rank: int) -> Any:
        missing = rank - len(item.shape)
        if isinstance(item, Value):
            for _ in range(missing):
                item = self.emitter.expand(name + "_expand", item, 1)
            return item
        return item.reshape(item.shape[:1] + (1,) * missing + item.shape[1:])


def _constant(item: Any) -> Any:
    """Make concrete tensors numpy arrays; everything else stays."""
    return item.numpy() if not isinstance(item, Value) and hasattr(item, "numpy") else item


def _lambda_function(layer: Any) -> Any:
    """Return the function of a Lambda layer as `call` would run it at inference."""
    return lambda inputs: layer.function(inputs, **(layer.arguments or {}))
