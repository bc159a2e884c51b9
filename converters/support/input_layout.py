"""Give a model's image inputs the other layout: one transpose behind each input. Worker side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..hop_function import InputPermutation


def permute_onnx_inputs(path: str, target: str, permutation: InputPermutation) -> None:
    """Write the ONNX model with its inputs in the other layout; names stay as they are."""
    import onnx

    model = onnx.load(path)
    for index, name in enumerate(permutation.names):
        entry = next(i for i in model.graph.input if i.name == name)
        inner = f"{name}/as_converted"
        for node in model.graph.node:
            node.input[:] = [inner if used == name else used for used in node.input]
        sizes = [type(d)() for d in entry.type.tensor_type.shape.dim]
        for size, old in zip(sizes, entry.type.tensor_type.shape.dim, strict=True):
            size.CopyFrom(old)
        for position, axis in enumerate(permutation.axes):
            entry.type.tensor_type.shape.dim[axis].CopyFrom(sizes[position])
        node = onnx.helper.make_node("Transpose", [name], [inner], name=f"{name}/layout", perm=list(permutation.axes))
        model.graph.node.insert(index, node)
        if name in [o.name for o in model.graph.output]:
            raise ValueError(f"{name!r} is both input and output")
    del model.graph.value_info[:]
    onnx.save(model, target)


def permuted_shape(shape: Sequence[Any], axes: Sequence[int]) -> list[Any]:
    """Return the new input's shape: ``transpose(axes)`` of it is ``shape``."""
    new = list(shape)
    for position, axis in enumerate(axes):
        new[axis] = shape[position]
    return new


def permute_keras_inputs(model: Any, permutation: InputPermutation) -> Any:
    """Return the Keras model behind a Permute for each named input."""
    import keras

    from ...runtimes.tensorflow import model as tensorflow_model

    inputs, passed = [], []
    for tensor in model.inputs:
        if tensor.name not in permutation.names:
            inputs.append(keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=tensor.name))
            passed.append(inputs[-1])
            continue
        shape = permuted_shape(tensor.shape, permutation.axes)
        inputs.append(keras.Input(batch_shape=shape, dtype=tensor.dtype, name=tensor.name))
        passed.append(keras.layers.Permute(permutation.axes[1:], name=f"{tensor.name}_layout")(inputs[-1]))
    outputs = model(tensorflow_model.packed(model, passed), training=False)
    return keras.Model(tensorflow_model.packed(model, inputs), outputs)


def permute_function_inputs(function: Any, specs: Any, permutation: InputPermutation) -> Any:
    """Return a SavedModel signature as a concrete function whose named inputs have the other layout.

    ``specs`` are the signature's own, by input name.
    """
    import tensorflow as tf

    names, axes = permutation.names, permutation.axes
    signature = {
        name: tf.TensorSpec(permuted_shape(s.shape, axes) if name in names else s.shape, s.dtype, name=name)
        for name, s in specs.items()
    }

    @tf.function  # type: ignore[untyped-decorator, unused-ignore]
    def call(**tensors: Any) -> Any:
        return function(**{n: tf.transpose(t, axes) if n in names else t for n, t in tensors.items()})

    return call.get_concrete_function(**signature)
