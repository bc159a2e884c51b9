"""Keras models and their mutants: ``python -m benchmarks.mutating.keras_models NAME WANTED...``.

WANTED is ``SEED:FORMAT:FOLDER``. SEED 0 is the healthy model. FORMAT is ``keras``, ``tf``, ``tflite``,
``tflite-int8`` or ``onnx``. Writes ``FOLDER/model.<suffix>``, ``FOLDER/inputs.npz`` and ``FOLDER/mutation.json``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from benchmarks.mutating.drawing import LEAST_CHANGE, ROWS, Mutation, change, images, wanted, write

Array = np.ndarray[Any, Any]


class Builder:
    """Builds a model layer by layer, one of them mutated, and keeps the places where a mutation could be."""

    def __init__(self, mutation: Mutation | None) -> None:
        self.mutation = mutation
        self.places: list[tuple[str, str]] = []

    def is_mutated(self, kind: str, place: str) -> bool:
        self.places.append((kind, place))
        return self.mutation is not None and (self.mutation.kind, self.mutation.place) == (kind, place)

    def conv(self, x: Any, name: str, filters: int, size: int = 3, activation: str | None = "relu") -> Any:
        if size == 3 and self.is_mutated("padding moved", name):
            x = layers.ZeroPadding2D(((2, 0), (2, 0)))(x)
            x = layers.Conv2D(filters, size, padding="valid", name=name)(x)
        else:
            x = layers.Conv2D(filters, size, padding="same", name=name)(x)
        return self.activated(x, name, activation)

    def dense(self, x: Any, name: str, units: int, activation: str | None = None) -> Any:
        return self.activated(layers.Dense(units, name=name)(x), name, activation)

    def activated(self, x: Any, name: str, activation: str | None) -> Any:
        if activation is None or self.is_mutated("activation removed", name):
            return x
        return layers.Activation(activation, name=f"{name}_{activation}")(x)

    def outputs(self, *tensors: Any) -> list[Any]:
        """The outputs; two of one shape may be swapped."""
        if len({tuple(t.shape) for t in tensors}) < len(tensors) and self.is_mutated("outputs swapped", "outputs"):
            return [*reversed(tensors)]
        return list(tensors)


def unet(b: Builder) -> keras.Model:
    """A mask of 4 classes at each position of a picture."""
    x = picture = keras.Input((32, 32, 3), name="picture")
    first = b.conv(x, "down1", 8)
    second = b.conv(layers.MaxPooling2D()(first), "down2", 16)
    x = b.conv(layers.MaxPooling2D()(second), "middle", 16)
    x = b.conv(layers.Concatenate()([layers.UpSampling2D()(x), second]), "up2", 16)
    x = b.conv(layers.Concatenate()([layers.UpSampling2D()(x), first]), "up1", 8)
    x = b.conv(x, "mask_logits", 4, 1, None)
    return keras.Model(picture, b.activated(x, "mask", "softmax"))


def yolo(b: Builder) -> keras.Model:
    """Rows of centre and size (in pixels), and of objectness and 3 class scores, one for each cell of a grid."""
    x = picture = keras.Input((32, 32, 3), name="picture")
    for number, filters in enumerate((8, 16, 16)):
        x = layers.MaxPooling2D()(b.conv(x, f"stem{number}", filters))
    x = b.conv(x, "neck", 24)
    centre = b.conv(x, "centre", 2, 1, "sigmoid")
    size = b.conv(x, "size", 2, 1, "sigmoid")
    scores = b.conv(x, "scores", 4, 1, "sigmoid")
    cells = np.stack(np.meshgrid(np.arange(4.0), np.arange(4.0)), -1)[None].astype(np.float32)
    centre = (centre + cells) * 8.0
    boxes = layers.Concatenate(name="grid")([centre, size * 32.0])
    # Apart from each other: scores beside pixels in one int8 tensor would have steps of an eighth.
    return keras.Model(
        picture, [layers.Reshape((16, 4), name="boxes")(boxes), layers.Reshape((16, 4), name="scores_of_boxes")(scores)]
    )


def heads(b: Builder) -> keras.Model:
    """Class logits, three numbers, and an embedding of a picture."""
    x = picture = keras.Input((24, 24, 3), name="picture")
    x = layers.MaxPooling2D()(b.conv(x, "stem", 8))
    x = layers.MaxPooling2D()(b.conv(x, "body", 16))
    x = layers.Flatten()(b.conv(x, "top", 8))
    logits = b.dense(x, "logits", 6)
    numbers = b.dense(b.dense(x, "hidden", 12, "tanh"), "numbers", 3)
    return keras.Model(picture, b.outputs(logits, numbers, b.dense(x, "embedding", 8, "tanh")))


def tokens(b: Builder) -> keras.Model:
    """A label for each of 12 tokens, with a mask of those that count."""
    ids, mask = keras.Input((12,), dtype="int32", name="ids"), keras.Input((12,), dtype="int32", name="mask")
    x = layers.Embedding(50, 16, name="table")(ids)
    query, key, value = (b.dense(x, name, 16) for name in ("query", "key", "value"))
    scores = ops.matmul(query, ops.transpose(key, (0, 2, 1))) * 0.5
    if not b.is_mutated("mask dropped", "attention"):
        scores = scores + (ops.cast(ops.expand_dims(mask, 1), "float32") - 1.0) * 1e9
    x = x + ops.matmul(ops.softmax(scores, axis=-1), value)
    x = layers.LayerNormalization(name="norm")(x)
    x = x + b.dense(b.dense(x, "wide", 32, "relu"), "narrow", 16)
    return keras.Model([ids, mask], b.dense(x, "token_logits", 5))


def two_inputs(b: Builder) -> keras.Model:
    """Two vectors of one shape from a picture and numbers beside it."""
    picture, numbers = keras.Input((16, 16, 3), name="picture"), keras.Input((6,), name="numbers")
    x = layers.MaxPooling2D()(b.conv(picture, "stem", 8))
    x = layers.Flatten()(b.conv(x, "body", 8))
    x = layers.Concatenate()([x, b.dense(numbers, "side", 16, "relu")])
    x = b.dense(x, "joined", 24, "relu")
    return keras.Model([picture, numbers], b.outputs(b.dense(x, "left", 4), b.dense(x, "right", 4)))


MODELS: dict[str, Callable[[Builder], keras.Model]] = {
    "U-Net": unet,
    "YOLO-like head": yolo,
    "multi-head": heads,
    "token classifier": tokens,
    "two inputs": two_inputs,
}

HEADS = ("mask_logits", "centre", "size", "scores", "logits", "numbers", "embedding", "token_logits", "left", "right")
CLASS_AXES: dict[str, tuple[int | None, ...]] = {
    "U-Net": (-1,),
    "YOLO-like head": (None, None),
    "multi-head": (-1, None, None),
    "token classifier": (-1,),
    "two inputs": (-1, -1),
}
"""The axis of each output along which a class is chosen."""


def inputs_of(model: keras.Model, seed: int) -> dict[str, Array]:
    random = np.random.default_rng(seed)
    arrays: dict[str, Array] = {}
    for tensor in model.inputs:
        shape = (ROWS, *tensor.shape[1:])
        if tensor.name == "ids":
            arrays["ids"] = random.integers(0, 50, shape).astype(np.int32)
        elif tensor.name == "mask":
            arrays["mask"] = (np.arange(shape[1]) < random.integers(4, 13, (ROWS, 1))).astype(np.int32)
        elif len(shape) == 4:
            arrays[tensor.name] = images(random, *shape)
        else:
            arrays[tensor.name] = random.normal(size=shape).astype(np.float32)
    return arrays


def healthy(name: str) -> tuple[keras.Model, list[tuple[str, str]]]:
    """The model with seeded weights and biases, and the places for mutations."""
    keras.utils.set_random_seed(7)
    builder = Builder(None)
    model = MODELS[name](builder)
    random = np.random.default_rng(7)
    for variable in model.variables:
        if variable.path.endswith("bias"):
            variable.assign(random.normal(size=variable.shape) * 0.3)
        elif variable.path.split("/")[-2] in HEADS:  # outputs that move more than int8 rounds, as trained ones do
            variable.assign(variable * 3.0)
    for layer in model.layers:
        if isinstance(layer, layers.Conv2D | layers.Dense):
            builder.places += [(kind, layer.name) for kind in ("weights scaled", "bias moved", "channels swapped")]
        if isinstance(layer, layers.Conv2D) and layer.kernel.shape[0] == 3:
            builder.places.append(("axes swapped", layer.name))
    return model, builder.places


def mutated(name: str, seed: int, arrays: dict[str, Array], *, is_quantized: bool) -> tuple[keras.Model, Mutation]:
    """A mutant whose outputs move far enough. Raises ValueError where none of 64 draws does."""
    model, places = healthy(name)
    random = np.random.default_rng(seed)
    kinds = sorted({kind for kind, _ in places})
    kinds = kinds[seed % len(kinds) :] + kinds[: seed % len(kinds)]  # each kind has its turn
    before = _results(model, arrays)
    for attempt in range(64):
        at = [place for place in places if place[0] == kinds[attempt // 8 % len(kinds)]]
        mutation = Mutation(*at[random.integers(len(at))])
        mutant = MODELS[name](Builder(mutation))
        for layer in mutant.layers:
            if layer.weights:
                layer.set_weights(model.get_layer(layer.name).get_weights())
        _change_weights(mutant, mutation, random)
        moved = change(before, _results(mutant, arrays), CLASS_AXES[name], labels=is_quantized)
        if moved >= LEAST_CHANGE[is_quantized]:
            return mutant, Mutation(mutation.kind, mutation.place, moved)
    raise ValueError(f"no mutation of {name} moves an output far enough")


def _results(model: keras.Model, arrays: dict[str, Array]) -> list[Array]:
    results = model([arrays[tensor.name] for tensor in model.inputs], training=False)
    return [np.asarray(part) for part in (results if isinstance(results, list) else [results])]


def _change_weights(model: keras.Model, mutation: Mutation, random: np.random.Generator) -> None:
    if mutation.kind not in ("weights scaled", "bias moved", "channels swapped", "axes swapped"):
        return
    layer = model.get_layer(mutation.place)
    kernel, bias = (weight.copy() for weight in layer.get_weights())
    first, second = random.choice(len(bias), 2, replace=False)
    if mutation.kind == "weights scaled":
        kernel *= 1.7
    elif mutation.kind == "bias moved":
        bias[first] += 1.5
    elif mutation.kind == "channels swapped":
        kernel[..., [first, second]], bias[[first, second]] = kernel[..., [second, first]], bias[[second, first]]
    else:
        kernel = kernel.transpose(1, 0, 2, 3)
    layer.set_weights([kernel, bias])


def save(model: keras.Model, format_name: str, folder: Path, arrays: dict[str, Array]) -> None:
    """Write the model as ``folder/model.<suffix>``."""
    if format_name == "keras":
        model.save(folder / "model.keras")
    elif format_name == "tf":
        model.export(folder / "model_savedmodel", verbose=False)
    elif format_name == "onnx":
        _results(model, arrays)  # Keras exports only what has been called
        model.export(folder / "model.onnx", format="onnx", verbose=False)
    else:
        import tensorflow as tf

        model.export(folder / "exported", verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "exported"))
        if format_name == "tflite-int8":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: (
                {name: array[row : row + 1] for name, array in arrays.items()} for row in range(ROWS // 2)
            )
        (folder / "model.tflite").write_bytes(converter.convert())


def main() -> None:
    name = sys.argv[1]
    for text in sys.argv[2:]:
        seed, format_name, folder = wanted(text)
        model, _ = healthy(name)
        arrays = inputs_of(model, 1)
        mutation = None
        if seed:
            model, mutation = mutated(name, seed, arrays, is_quantized=format_name.endswith("int8"))
        np.savez(folder / "inputs.npz", **arrays)
        save(model, format_name, folder, arrays)
        write(folder, mutation)


if __name__ == "__main__":
    main()
