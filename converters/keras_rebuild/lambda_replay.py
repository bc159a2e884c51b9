"""Replay a Lambda's function as Keras operations and layers, whatever axis order its tensors are held in.

`replay` traces the function with `tf.function` and sends each graph operation through `BUILDERS`. Whatever
depends on constants alone is folded; shape arithmetic is folded too, the batch size standing in as `UNKNOWN`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from . import op_builders as build
from . import shape_builders as shape
from .emitter import Emitter, Value
from .op_call import UNKNOWN, Builder, Call

SHAPE_MOVERS = {
    "StridedSlice",
    "Slice",
    "Pack",
    "ConcatV2",
    "GatherV2",
    "Cast",
    "Identity",
    "ExpandDims",
    "Squeeze",
}

# fmt: off
BUILDERS: dict[str, Builder] = {
    **{name: (lambda call, x: x) for name in ("Identity", "EnsureShape", "PreventGradient", "CheckNumerics")},
    **{
        name: build.unary(function)
        for name, function in {
            "Abs": ops.abs, "Ceil": ops.ceil, "Cos": ops.cos, "Elu": ops.elu, "Erf": ops.erf,
            "Exp": ops.exp, "Expm1": ops.expm1, "Floor": ops.floor, "IsNan": ops.isnan, "Log": ops.log,
            "Log1p": ops.log1p, "LogicalNot": ops.logical_not, "Neg": ops.negative,
            "OnesLike": ops.ones_like, "Reciprocal": ops.reciprocal, "Relu": ops.relu, "Relu6": ops.relu6,
            "Round": ops.round, "Rsqrt": ops.rsqrt, "Selu": ops.selu, "Sigmoid": ops.sigmoid,
            "Sign": ops.sign, "Sin": ops.sin, "Softplus": ops.softplus, "Softsign": ops.softsign,
            "Sqrt": ops.sqrt, "Square": ops.square, "StopGradient": ops.stop_gradient, "Tanh": ops.tanh,
            "ZerosLike": ops.zeros_like,
        }.items()
    },
    **{
        name: build.binary(function)
        for name, function in {
            "Add": ops.add, "AddN": ops.add, "AddV2": ops.add, "Div": ops.true_divide,
            "DivNoNan": ops.divide_no_nan, "Equal": ops.equal, "FloorDiv": ops.floor_divide,
            "FloorMod": ops.mod, "Greater": ops.greater, "GreaterEqual": ops.greater_equal,
            "Less": ops.less, "LessEqual": ops.less_equal, "LogicalAnd": ops.logical_and,
            "LogicalOr": ops.logical_or, "Maximum": ops.maximum, "Minimum": ops.minimum,
            "Mul": ops.multiply, "NotEqual": ops.not_equal, "Pow": ops.power, "RealDiv": ops.true_divide,
            "Sub": ops.subtract,
        }.items()
    },
    **{
        name: build.reduction(function)
        for name, function in {
            "All": ops.all, "Any": ops.any, "Max": ops.max, "Mean": ops.mean, "Min": ops.min,
            "Prod": ops.prod, "Sum": ops.sum,
        }.items()
    },
    "ArgMax": build.arg(ops.argmax),
    "ArgMin": build.arg(ops.argmin),
    "AvgPool": build.pool(keras.layers.AveragePooling2D),
    "BatchMatMulV2": build.matmul,
    "BiasAdd": build.bias_add,
    "BroadcastTo": shape.broadcast_to,
    "Cast": lambda call, x: call.emit.elementwise(call.name, build.cast_to(call.attr("DstT").name), x),
    "ConcatV2": shape.concat,
    "Conv2D": build.convolution,
    "DepthwiseConv2dNative": build.convolution,
    "Einsum": build.einsum,
    "ExpandDims": shape.expand_dims,
    "GatherV2": shape.gather,
    "LRN": build.lrn,
    "LeakyRelu": lambda call, x: call.emit.elementwise(
        call.name, partial(ops.leaky_relu, negative_slope=float(call.attr("alpha"))), x
    ),
    "LogSoftmax": build.softmax(ops.log_softmax),
    "MatMul": build.matmul,
    "MaxPool": build.pool(keras.layers.MaxPooling2D),
    "MirrorPad": shape.mirror_pad,
    "Pack": shape.pack,
    "Pad": shape.pad_constant,
    "PadV2": shape.pad_constant,
    "Reshape": shape.reshape,
    "ResizeBilinear": build.resize("bilinear"),
    "ResizeNearestNeighbor": build.resize("nearest"),
    "ReverseV2": shape.reverse,
    "SelectV2": lambda call, *xs: call.emit.elementwise(call.name, ops.where, *xs),
    "Slice": shape.slice_,
    "Softmax": build.softmax(ops.softmax),
    "Split": shape.even_split,
    "SplitV": shape.sized_split,
    "SquaredDifference": lambda call, x, y: call.emit.elementwise(
        call.name, ops.square, call.emit.elementwise(f"{call.name}_difference", ops.subtract, x, y)
    ),
    "Squeeze": shape.squeeze,
    "StridedSlice": shape.strided_slice,
    "Tile": shape.tile,
    "Transpose": lambda call, x, perm: call.emit.transpose(x, call.ints(perm, "the permutation")),
    "Unpack": shape.unpack,
}
# fmt: on


def replay(emitter: Emitter, layer: str, function: Callable[[Any], Any], inputs: Any) -> Any:
    """Build `function(inputs)` from Keras operations; inputs and result hold Values and numpy constants.

    Raises `UnsupportedOperation` for the first graph operation without an exact equivalent.
    """
    flat = list(keras.tree.flatten(inputs))
    values = [item for item in flat if isinstance(item, Value)]

    def body(*tensors: Any) -> Any:
        queue = list(tensors)
        filled = [queue.pop(0) if isinstance(item, Value) else item for item in flat]
        return function(keras.tree.pack_sequence_as(inputs, filled))

    specs = [tf.TensorSpec(value.shape, value.dtype) for value in values]
    concrete = tf.function(body, autograph=False).get_concrete_function(*specs)
    graph = concrete.graph
    known: dict[Any, Any] = {tensor.ref(): value for tensor, value in zip(graph.inputs, values, strict=False)}
    known |= {inner.ref(): outer.numpy() for outer, inner in graph.captures}
    needed = _needed(graph.outputs)
    main = [op for op in needed if op.type not in ("Const", "Identity", "Transpose", "Placeholder", "NoOp")]
    groups, absorbed = _grouped_convolutions(needed, graph.inputs[: len(values)])
    # closing(), for `with session` would make the graph current and weights would be set in it, in vain
    with closing(tf.compat.v1.Session(graph=graph)) as session:
        for op in needed:
            if op.type == "Placeholder" or op in absorbed:
                continue
            results: Any
            sources: list[Any] = [known.get(tensor.ref()) for tensor in op.inputs]
            call = Call(emitter, op, layer, layer if op in main[-1:] else f"{layer}_{op.type.lower()}")
            if op in groups:
                source, convolutions, biases = groups[op]
                kernel = np.concatenate([known[conv.inputs[1].ref()] for conv in convolutions], axis=-1)
                bias = np.concatenate([known[add.inputs[1].ref()] for add in biases]) if biases else None
                results = build.convolution(
                    Call(emitter, convolutions[0], layer, layer), known[source.ref()], kernel, bias
                )
            elif op.type == "Shape" and isinstance(sources[0], Value):
                results = np.array([UNKNOWN if size is None else size for size in sources[0].shape], np.int64)
            elif not any(isinstance(item, Value) for item in sources):
                if op.type not in SHAPE_MOVERS and any(np.any(np.equal(item, UNKNOWN)) for item in sources):
                    raise call.refuse("arithmetic on the batch size")
                results = session.run(
                    op.outputs,
                    feed_dict={tensor.name: x for tensor, x in zip(op.inputs, sources, strict=True)},
                )
            elif op.type in BUILDERS:
                results = BUILDERS[op.type](call, *sources)
            else:
                raise call.refuse("")
            results = results if isinstance(results, list) else [results]
            known.update({tensor.ref(): value for tensor, value in zip(op.outputs, results, strict=True)})
    outputs = [known[tensor.ref()] for tensor in graph.outputs]
    return keras.tree.pack_sequence_as(concrete.structured_outputs, outputs)


def _needed(outputs: Any) -> list[Any]:
    """Return the operations that `outputs` depend on, in an order in which they can run."""
    seen: set[Any] = set()
    stack = [tensor.op for tensor in outputs]
    while stack:
        op = stack.pop()
        if op not in seen:
            seen.add(op)
            stack += [tensor.op for tensor in op.inputs]
    return [op for op in outputs[0].graph.get_operations() if op in seen] if outputs else []


def _grouped_convolutions(needed: list[Any], inputs: list[Any]) -> tuple[dict[Any, Any], set[Any]]:
    """Find every ConcatV2 of equal Conv2Ds (all or none with BiasAdd) over one Split, all along channels.

    Returns {concat: (tensor that is split, the Conv2Ds, the BiasAdds)} and the operations that these absorb.
    """
    variable = {tensor.op for tensor in inputs}
    for op in needed:
        if any(tensor.op in variable for tensor in op.inputs):
            variable.add(op)
    groups: dict[Any, Any] = {}
    absorbed: set[Any] = set()
    for concat in (op for op in needed if op.type == "ConcatV2"):
        heads = [tensor.op for tensor in concat.inputs[:-1]]
        biases = heads if all(op.type == "BiasAdd" for op in heads) else []
        convolutions = [op.inputs[0].op for op in biases] or heads
        if any(op.type != "Conv2D" or op.get_attr("data_format") != b"NHWC" for op in convolutions):
            continue
        split = convolutions[0].inputs[0].op
        fits = (
            split.type == "Split"
            and [op.inputs[0].ref() for op in convolutions] == [tensor.ref() for tensor in split.outputs]
            and {_axis(split.inputs[0], 4), _axis(concat.inputs[-1], 4)} == {3}
            and not any(op.inputs[1].op in variable for op in [*convolutions, *biases])
            and len({(op.inputs[1].shape, str(_settings(op))) for op in convolutions}) == 1
            and all(len(tensor.consumers()) == 1 for op in [*convolutions, *biases, split] for tensor in op.outputs)
        )
        if fits:
            groups[concat] = (split.inputs[1], convolutions, biases)
            absorbed.update(convolutions, biases, [split])
    return groups, absorbed


def _axis(tensor: Any, rank: int) -> int | None:
    value = tf.get_static_value(tensor)
    return None if value is None else int(value) % rank


def _settings(op: Any) -> list[Any]:
    return [op.get_attr(key) for key in ("strides", "padding", "explicit_paddings", "dilations")]
