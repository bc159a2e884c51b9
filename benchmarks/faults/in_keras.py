"""Faults for .keras files: weights in place; everything else by building the functional model again, call by call.

Not here: a fixed batch (it changes no output), count_include_pad and ceil_mode (Keras has neither), moved pads of a
layer whose padding is "same" (seeded as explicit padding on the other side).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers

from benchmarks.faults.seeding import DAMAGES, Draw, Kind, NoPlace, Seeded, damage, input_change, positive

Model = Any
Layer = Any
Result = tuple[Model, Seeded]
Call = Callable[[Layer, Any], Any]
ACTIVATING = (layers.Activation, layers.ReLU, layers.LeakyReLU, layers.PReLU, layers.ELU)
CONV = (layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D, layers.Conv2DTranspose)
POOLS = (layers.MaxPooling2D, layers.AveragePooling2D)


def read(path: str) -> Model:
    model = keras.saving.load_model(path, compile=False)
    return model._functional if isinstance(model, keras.Sequential) else model


def write(model: Model, path: str) -> None:
    model.save(path)


def seeded(layer: Layer, detail: str, *near: str) -> Seeded:
    return Seeded("", layer.name, "", f"{type(layer).__name__}: {detail}", tuple(dict.fromkeys(near)))


def operations(model: Model, *types: Any) -> list[Layer]:
    return [op for op in model.operations if not isinstance(op, layers.InputLayer) and isinstance(op, types or object)]


def shape(op: Layer) -> tuple[Any, ...]:
    output = op.output if hasattr(op, "_inbound_nodes") else None
    return tuple(getattr(output, "shape", ()) or ())


def makers(op: Layer) -> list[str]:
    """Names of what an operation reads from."""
    return [node.operation.name for node in op._inbound_nodes[0].parent_nodes]


def readers(model: Model, op: Layer) -> list[str]:
    return [other.name for other in operations(model) if op.name in makers(other)]


def again(model: Model, *, call: Call | None = None, config: dict[str, dict[str, Any]] | None = None,
          inputs: Any = None, replaced: dict[str, Layer] | None = None) -> Model:  # fmt: skip
    """The model built again on new layers with the same weights. ``call(op, args)`` may run an operation in another
    way (gives NotImplemented where it does not); ``config`` changes layers' settings by name; ``replaced`` are layers
    to put in the place of others."""
    layers_by_name: dict[str, Layer] = {}

    def copied(op: Layer) -> Layer:
        if isinstance(op, layers.InputLayer):
            return op
        if op.name not in layers_by_name:
            settings = {**op.get_config(), **(config or {}).get(op.name, {})}
            layers_by_name[op.name] = (replaced or {}).get(op.name) or type(op).from_config(settings)
        return layers_by_name[op.name]

    def run(op: Layer, *args: Any, **kwargs: Any) -> Any:
        result = NotImplemented if call is None or not args else call(op, args[0])
        return op(*args, **kwargs) if result is NotImplemented else result

    if inputs is None:
        inputs = [keras.Input(batch_shape=t.shape, dtype=t.dtype, name=t.name) for t in model.inputs]
    try:
        arguments = keras.tree.pack_sequence_as(model._inputs_struct, inputs)
        outputs = model._run_through_graph(arguments, operation_fn=copied, call_fn=run)
        new = keras.Model(arguments, outputs, name=model.name)
    except (ValueError, TypeError, RuntimeError) as error:
        raise NoPlace(str(error)[:200]) from error
    for op in operations(model):
        other = layers_by_name.get(op.name)
        if getattr(op, "weights", None) and other is not None and op.name not in (replaced or {}):
            for mine, new_weight in zip(op.weights, other.weights, strict=True):
                if tuple(mine.shape) != tuple(new_weight.shape):
                    raise NoPlace
                new_weight.assign(mine)
    return new


def after(model: Model, op: Layer, *new: Layer) -> Model:
    """Layers put behind an operation; behind the model's input where ``op`` is its InputLayer."""
    cache: dict[int, Any] = {}

    def chained(x: Any) -> Any:
        if id(x) not in cache:
            y = x
            for layer in new:
                y = layer(y)
            cache[id(x)] = (x, y)  # x is kept, so that its id stays its own
        return cache[id(x)][1]

    def call(other: Layer, args: Any) -> Any:
        if isinstance(op, layers.InputLayer):
            turned = [
                chained(x) if isinstance(x._keras_history.operation, layers.InputLayer) else x
                for x in (args if isinstance(args, list | tuple) else [args])
            ]
            return other(turned if isinstance(args, list | tuple) else turned[0])
        return chained(other(args)) if other.name == op.name else NotImplemented

    return again(model, call=call)


def image_input(model: Model) -> Layer:
    input_layers = [op for op in model.operations if isinstance(op, layers.InputLayer)]
    if len(input_layers) != 1 or len(model.inputs[0].shape) != 4:
        raise NoPlace
    return input_layers[0]


def channel_axis(model: Model) -> int:
    sizes = model.inputs[0].shape
    return 1 if sizes[1] in (1, 3) and sizes[3] not in (1, 3) else 3


def _near_input(model: Model) -> list[str]:
    name = image_input(model).name
    return [name, model.inputs[0].name, *readers(model, image_input(model))]


def fresh(model: Model, stem: str) -> str:
    used = {op.name for op in model.operations}
    return next(name for i in range(90, 10000) if (name := f"{stem}_{i}") not in used)


# --- PP


def channels_flipped(model: Model, draw: Draw) -> Result:
    source, axis = image_input(model), channel_axis(model)
    if model.inputs[0].shape[axis] != 3:
        raise NoPlace
    if axis == 3:
        layer: Layer = layers.Conv2D(3, 1, use_bias=False, name=fresh(model, "flip"))
        layer.build(model.inputs[0].shape)
        layer.set_weights([np.eye(3, dtype="float32")[::-1][None, None]])
    else:
        raise NoPlace
    return after(model, source, layer), seeded(layer, "channels of the input reversed", *_near_input(model))


def input_scaled(model: Model, draw: Draw) -> Result:
    source, axis = image_input(model), channel_axis(model)
    channels = model.inputs[0].shape[axis] if axis == 3 else 1
    what, scale, offset = input_change(draw, channels)
    layer = layers.Rescaling(scale.tolist(), offset.tolist(), name=fresh(model, "rescaling"))
    detail = f"input {what}, strength {draw.strength:.3g}"
    return after(model, source, layer), seeded(layer, detail, *_near_input(model))


# --- ID


def _resized(model: Model, sizes: list[Any], before: Layer | None = None) -> Model:
    old = model.inputs[0]
    new_input = keras.Input(batch_shape=[old.shape[0], *sizes], dtype=old.dtype, name=old.name)
    if before is None:
        return again(model, inputs=[new_input])
    inner = again(model, inputs=[before(new_input)])
    return keras.Model(new_input, inner.outputs if len(inner.outputs) > 1 else inner.outputs[0], name=model.name)


def other_size(model: Model, draw: Draw) -> Result:
    image_input(model)
    axis, sizes = channel_axis(model), list(model.inputs[0].shape[1:])
    factor = draw.pick((0.5, 0.75, 1.25, 1.5))
    if None in sizes:
        raise NoPlace
    now = [s if i == axis else round(s * factor) for i, s in enumerate(sizes, 1)]
    name, near = model.inputs[0].name, _near_input(model)
    return _resized(model, now), Seeded("", name, "", f"{sizes} declared as {now}", tuple(near))


def height_and_width_swapped(model: Model, draw: Draw) -> Result:
    source, axis = image_input(model), channel_axis(model)
    a, b = [i for i in range(1, 4) if i != axis]
    sizes = list(model.inputs[0].shape)
    if sizes[a] == sizes[b]:
        raise NoPlace  # nothing is declared otherwise: this would be TSS
    sizes[a], sizes[b] = sizes[b], sizes[a]
    dims = [1, 2, 3]
    dims[a - 1], dims[b - 1] = dims[b - 1], dims[a - 1]
    turn = layers.Permute(dims, name=fresh(model, "permute"))
    near = [turn.name, *_near_input(model)]
    new_input = keras.Input(batch_shape=sizes, dtype=model.inputs[0].dtype, name=model.inputs[0].name)

    def call(op: Layer, args: Any) -> Any:
        if isinstance(args, list | tuple) or not isinstance(args._keras_history.operation, layers.InputLayer):
            return NotImplemented
        return op(turned)

    turned = turn(new_input)
    changed = again(model, call=call, inputs=[new_input])
    return changed, Seeded("", source.name, "", "height and width of the input swapped", tuple(near))


# --- TSS


def _fours(model: Model, same: bool) -> list[tuple[Layer, tuple[int, int]]]:
    places = []
    for op in operations(model):
        size = shape(op)
        if len(size) == 4 and all(size[1:]):
            pairs = ((1, 2), (2, 3), (1, 3)) if same else ((1, 2),)
            places += [
                (op, p) for p in pairs if (size[p[0]] == size[p[1]] or not same) and 1 not in (size[p[0]], size[p[1]])
            ]
    return places


def axes_turned(model: Model, draw: Draw) -> Result:
    op, (a, b) = draw.pick(_fours(model, same=True), lambda place: place[0].name)
    dims = [1, 2, 3]
    dims[a - 1], dims[b - 1] = dims[b - 1], dims[a - 1]
    layer = layers.Permute(dims, name=fresh(model, "permute"))
    near = (op.name, *readers(model, op))
    return after(model, op, layer), seeded(layer, f"axes {a} and {b} turned after {op.name}", *near)


def input_turned(model: Model, draw: Draw) -> Result:
    source, axis = image_input(model), channel_axis(model)
    a, b = [i for i in range(1, 4) if i != axis]
    if model.inputs[0].shape[a] != model.inputs[0].shape[b]:
        raise NoPlace
    dims = [1, 2, 3]
    dims[a - 1], dims[b - 1] = dims[b - 1], dims[a - 1]
    layer = layers.Permute(dims, name=fresh(model, "permute"))
    return after(model, source, layer), seeded(layer, "height and width turned after the input", *_near_input(model))


def before_flatten(model: Model, draw: Draw) -> Result:
    places = [op for op in operations(model, layers.Flatten, layers.Reshape) if len(op.input.shape) == 4]
    op = draw.pick([op for op in places if len(shape(op)) == 2], lambda op: op.name)
    dims = draw.pick(([3, 1, 2], [2, 1, 3], [2, 3, 1]))
    layer = layers.Permute(dims, name=fresh(model, "permute"))

    def call(other: Layer, args: Any) -> Any:
        return other(layer(args)) if other.name == op.name else NotImplemented

    return again(model, call=call), seeded(layer, f"dims {dims} before {op.name}", op.name, *makers(op))


def reread(model: Model, draw: Draw) -> Result:
    op, _ = draw.pick(_fours(model, same=False), lambda place: place[0].name)
    _, height, width, channels = shape(op)
    reshape = layers.Reshape((width, height, channels), name=fresh(model, "reshape"))
    turn = layers.Permute((2, 1, 3), name=fresh(model, "permute"))
    near = (turn.name, op.name, *readers(model, op))
    changed = after(model, op, reshape, turn)
    return changed, seeded(reshape, f"read as {[width, height, channels]} after {op.name}", *near)


# --- WB


def _weighted(model: Model, draw: Draw, types: Any, parts: tuple[str, ...], how: tuple[str, ...] = DAMAGES) -> Result:
    places = [
        (op, weight)
        for op in operations(model, *types)
        for weight in getattr(op, "weights", ())
        if weight.name in parts
    ]
    op, weight = draw.pick(places, lambda place: place[0].name)
    value = np.asarray(weight.numpy())
    if weight.name == "moving_variance":
        value, detail = positive(value, draw)
    else:
        axis = value.ndim - (2 if isinstance(op, layers.DepthwiseConv2D) and value.ndim == 4 else 1)
        value, detail = damage(value, draw, axis, how)
    weight.assign(value)
    return model, seeded(op, f"{weight.name} {detail}")


def weights(model: Model, draw: Draw) -> Result:
    kernels = ("kernel", "depthwise_kernel", "pointwise_kernel")
    return _weighted(model, draw, (*CONV, layers.Dense), kernels)


def bias(model: Model, draw: Draw) -> Result:
    return _weighted(model, draw, (*CONV, layers.Dense), ("bias",), (*DAMAGES, "moved"))


def slope(model: Model, draw: Draw) -> Result:
    return _weighted(model, draw, (layers.PReLU,), ("alpha",), (*DAMAGES, "moved"))


def normalisation(model: Model, draw: Draw) -> Result:
    part = draw.pick(("gamma", "beta", "moving_mean", "moving_variance"))
    return _weighted(model, draw, (layers.BatchNormalization,), (part,), (*DAMAGES, "moved"))


# --- LH


def pads_moved(model: Model, draw: Draw) -> Result:
    places = [
        op
        for op in operations(model, layers.ZeroPadding2D)
        if any(side[0] != side[1] for side in op.padding) or np.ravel(op.padding).max() > 0
    ]
    op = draw.pick(places, lambda op: op.name)
    was = [list(side) for side in op.padding]
    now = [[side[1], side[0]] if side[0] != side[1] else [side[0] - 1, side[1] + 1] for side in was]
    changed = again(model, config={op.name: {"padding": now}})
    return changed, seeded(op, f"padding {was} to {now}", *readers(model, op))


def same_replaced(model: Model, draw: Draw) -> Result:
    """Padding "same" replaced by explicit zeros, all on the other side than Keras puts the larger part."""
    places = []
    for op in operations(model, *CONV[:2]):
        size = op.input.shape
        if op.padding == "same" and size[1] and size[2] and set(op.dilation_rate) == {1}:
            total = [
                max((-(-n // s) - 1) * s + k - n, 0)
                for n, s, k in zip(size[1:3], op.strides, op.kernel_size, strict=True)
            ]
            if max(total):
                places.append((op, total))
    op, total = draw.pick(places, lambda place: place[0].name)
    sizes = [[-(-t // 2) if t % 2 else t, t // 2 if t % 2 else 0] for t in total]
    pad = layers.ZeroPadding2D(sizes, name=fresh(model, "pad"))

    def call(other: Layer, args: Any) -> Any:
        return other(pad(args)) if other.name == op.name else NotImplemented

    changed = again(model, call=call, config={op.name: {"padding": "valid"}})
    return changed, seeded(op, f"padding same to {pad.padding}", pad.name)


def dilated(model: Model, draw: Draw) -> Result:
    places = [
        op
        for op in operations(model, *CONV[:2])
        if op.padding == "same" and set(op.strides) == {1} == set(op.dilation_rate) and max(op.kernel_size) > 1
    ]
    op = draw.pick(places, lambda op: op.name)
    return again(model, config={op.name: {"dilation_rate": [2, 2]}}), seeded(op, "dilation_rate 1 to 2")


def epsilon(model: Model, draw: Draw) -> Result:
    op = draw.pick(operations(model, layers.BatchNormalization, layers.LayerNormalization), lambda op: op.name)
    now = op.epsilon + draw.strength
    return again(model, config={op.name: {"epsilon": now}}), seeded(op, f"epsilon {op.epsilon:g} to {now:g}")


def alpha(model: Model, draw: Draw) -> Result:
    places = operations(model, layers.LeakyReLU, layers.ELU)
    op = draw.pick(places, lambda op: op.name)
    name = "alpha" if isinstance(op, layers.ELU) else "negative_slope"
    was = float(getattr(op, name))
    now = was + draw.strength
    return again(model, config={op.name: {name: now}}), seeded(op, f"{name} {was:g} to {now:g}")


def limit(model: Model, draw: Draw) -> Result:
    places = [op for op in operations(model, layers.ReLU) if op.max_value]
    places += [op for op in operations(model) if _activation(op) == "relu6"]
    op = draw.pick(places, lambda op: op.name)
    was = 6.0 if _activation(op) == "relu6" else float(op.max_value)
    now = was / (1 + 6 * draw.strength)
    if isinstance(op, layers.ReLU):
        return again(model, config={op.name: {"max_value": now}}), seeded(op, f"max {was:g} to {now:g}")
    if isinstance(op, layers.Activation):
        new = layers.ReLU(max_value=now, name=op.name)
        return again(model, replaced={op.name: new}), seeded(op, f"max {was:g} to {now:g}")
    raise NoPlace


def kernel(model: Model, draw: Draw) -> Result:
    op = draw.pick([op for op in operations(model, *POOLS) if op.padding == "same"], lambda op: op.name)
    was = list(op.pool_size)
    now = [size + 2 for size in was]
    changed = again(model, config={op.name: {"pool_size": now, "strides": list(op.strides)}})
    return changed, seeded(op, f"pool_size {was} to {now}")


def window(model: Model, draw: Draw) -> Result:
    """One pixel taken from the end of what a layer reads and put in front: its pads moved, at a "valid" layer."""
    places = [op for op in operations(model, *POOLS, *CONV[:2]) if op.padding == "valid" and max(_kernel(op)) > 1]
    op = draw.pick([op for op in places if len(op.input.shape) == 4], lambda op: op.name)
    pad = layers.ZeroPadding2D([[1, 0], [1, 0]], name=fresh(model, "pad"))
    cut = layers.Cropping2D([[0, 1], [0, 1]], name=fresh(model, "crop"))

    def call(other: Layer, args: Any) -> Any:
        return other(cut(pad(args))) if other.name == op.name else NotImplemented

    return again(model, call=call), seeded(op, "reads from one pixel before", pad.name, cut.name)


def _kernel(op: Layer) -> tuple[int, ...]:
    return tuple(getattr(op, "kernel_size", None) or op.pool_size)


# --- CG


def _activation(op: Layer) -> str:
    """The activation that a layer holds, by name; "" for none."""
    value = getattr(op, "activation", None)
    name = getattr(value, "__name__", "") if value is not None else ""
    return "" if name == "linear" else str(name)


def activation_removed(model: Model, draw: Draw) -> Result:
    fused = [op for op in operations(model, *CONV, layers.Dense) if _activation(op)]
    op = draw.pick([*operations(model, *ACTIVATING), *fused], lambda op: op.name)
    fault = seeded(op, "activation removed", *makers(op), *readers(model, op))
    if not isinstance(op, ACTIVATING):
        return again(model, config={op.name: {"activation": "linear"}}), fault

    def call(other: Layer, args: Any) -> Any:
        return args if other.name == op.name else NotImplemented

    return again(model, call=call), fault


def branch_dropped(model: Model, draw: Draw) -> Result:
    places = [op for op in operations(model, layers.Add) if len({tuple(t.shape) for t in op.input}) == 1]
    op = draw.pick(places, lambda op: op.name)
    side = int(draw.random.integers(len(op.input)))

    def call(other: Layer, args: Any) -> Any:
        return args[side] if other.name == op.name else NotImplemented

    fault = seeded(op, f"replaced by its input {side}", *makers(op), *readers(model, op))
    return again(model, call=call), fault


def node_inserted(model: Model, draw: Draw) -> Result:
    types = (*CONV, layers.Add, layers.BatchNormalization, layers.Dense, layers.Concatenate)
    op = draw.pick(operations(model, *types), lambda op: op.name)
    what = draw.pick(("relu", "sigmoid", "tanh", "softsign"))
    layer = layers.Activation(what, name=fresh(model, "activation"))
    near = (op.name, *readers(model, op))
    return after(model, op, layer), seeded(layer, f"{what} inserted after {op.name}", *near)


def softmax_added(model: Model, draw: Draw) -> Result:
    out = draw.pick([t._keras_history.operation for t in model.outputs], lambda op: op.name)
    layer = layers.Softmax(name=fresh(model, "softmax"))
    return after(model, out, layer), seeded(layer, "inserted at the output", out.name)


def activation_replaced(model: Model, draw: Draw) -> Result:
    fused = [op for op in operations(model, *CONV, layers.Dense) if _activation(op)]
    op = draw.pick([*operations(model, *ACTIVATING), *fused], lambda op: op.name)
    what = draw.pick([name for name in ("relu", "sigmoid", "tanh", "elu", "hard_swish") if name != _activation(op)])
    fault = seeded(op, f"replaced by {what}")
    if isinstance(op, layers.Activation) or not isinstance(op, ACTIVATING):
        return again(model, config={op.name: {"activation": what}}), fault
    return again(model, replaced={op.name: layers.Activation(what, name=op.name)}), fault


def pooling_replaced(model: Model, draw: Draw) -> Result:
    op = draw.pick(operations(model, *POOLS), lambda op: op.name)
    other = POOLS[1] if isinstance(op, POOLS[0]) else POOLS[0]
    new = other(op.pool_size, op.strides, op.padding, op.data_format, name=op.name)
    return again(model, replaced={op.name: new}), seeded(op, "maximum and average exchanged")


def arithmetic_replaced(model: Model, draw: Draw) -> Result:
    op = draw.pick(operations(model, layers.Add), lambda op: op.name)
    other = draw.pick((layers.Multiply, layers.Subtract, layers.Maximum, layers.Average))
    return again(model, replaced={op.name: other(name=op.name)}), seeded(op, f"replaced by {other.__name__}")


def branches_swapped(model: Model, draw: Draw) -> Result:
    places = [
        (op, i)
        for op in operations(model, layers.Concatenate)
        for i in range(len(op.input) - 1)
        if op.input[i].shape == op.input[i + 1].shape
    ]
    op, i = draw.pick(places, lambda place: place[0].name)

    def call(other: Layer, args: Any) -> Any:
        if other.name != op.name:
            return NotImplemented
        parts = list(args)
        parts[i], parts[i + 1] = parts[i + 1], parts[i]
        return other(parts)

    return again(model, call=call), seeded(op, f"inputs {i} and {i + 1} swapped")


def outputs_swapped(model: Model, draw: Draw) -> Result:
    outputs = list(model.outputs)
    if len(outputs) < 2 or outputs[0].shape != outputs[1].shape:
        raise NoPlace
    outputs[0], outputs[1] = outputs[1], outputs[0]
    names = [t._keras_history.operation.name for t in outputs[:2]]
    changed = keras.Model(model.inputs, outputs, name=model.name)
    detail = f"outputs {names[1]} and {names[0]} swapped"
    return changed, Seeded("", names[0], "", detail, (names[1], "output_0", "output_1"))


def output_added(model: Model, draw: Draw) -> Result:
    op = draw.pick(operations(model, *CONV, layers.Add), lambda op: op.name)
    return keras.Model(model.inputs, [*model.outputs, op.output]), seeded(op, "its output is one of the model's too")


KINDS: dict[str, dict[str, Kind]] = {
    "PP": {"channels flipped": channels_flipped, "input scaled": input_scaled},
    "ID": {"other size": other_size, "height and width swapped": height_and_width_swapped},
    "TSS": {
        "axes turned": axes_turned, "input turned": input_turned, "before Flatten": before_flatten, "reread": reread,
    },
    "WB": {"weights": weights, "bias": bias, "normalisation": normalisation, "slope": slope},
    "LH": {
        "pads moved": pads_moved, "same replaced": same_replaced, "dilated": dilated, "epsilon": epsilon,
        "alpha": alpha, "limit": limit, "kernel": kernel,
    },
    "CG": {
        "activation removed": activation_removed, "branch dropped": branch_dropped, "node inserted": node_inserted,
        "softmax added": softmax_added, "activation replaced": activation_replaced,
        "pooling replaced": pooling_replaced, "arithmetic replaced": arithmetic_replaced,
        "branches swapped": branches_swapped, "outputs swapped": outputs_swapped, "output added": output_added,
        "nodes that move pads": window,
    },
}  # fmt: skip
