"""Keras Sources of the benchmark: seeded weights, small variants.

    python benchmarks/architecture_sources/keras_nets.py NAME FOLDER

writes ``model.keras`` and ``inputs.json``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[2]))

from benchmarks.architecture_sources.inputs import Input, write

layers = keras.layers
Net = tuple[Any, list[Input]]
SEED, SPREAD = 0, 0.1
LENGTH, WORDS = 24, 300


def application(name: str, size: int = 224, **settings: Any) -> Callable[[], Net]:
    def build() -> Net:
        model = getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3), **settings)
        return model, [Input(model.inputs[0].name, (size, size, 3), "pixels")]  # it scales them itself

    return build


def text(name: str = "ids") -> tuple[Any, Input]:
    return keras.Input((LENGTH,), dtype="int64", name=name), Input(name, (LENGTH,), "ids", WORDS - 1)


def transformer() -> Net:
    ids, described = text()
    positions = layers.Embedding(LENGTH, 48)(keras.ops.arange(LENGTH))
    x = layers.Embedding(WORDS, 48)(ids) + positions
    for _ in range(2):
        attended = layers.MultiHeadAttention(4, 12)(x, x)
        x = layers.LayerNormalization(epsilon=1e-6)(x + attended)
        x = layers.LayerNormalization(epsilon=1e-6)(x + layers.Dense(48)(layers.Dense(96, activation="gelu")(x)))
    return keras.Model(ids, layers.Dense(6)(layers.GlobalAveragePooling1D()(x))), [described]


def recurrent() -> Net:
    ids, described = text()
    x = layers.Bidirectional(layers.LSTM(24, return_sequences=True))(layers.Embedding(WORDS, 16)(ids))
    return keras.Model(ids, layers.Dense(5)(layers.GRU(20)(x))), [described]


def unet() -> Net:
    def block(x: Any, width: int) -> Any:
        for _ in range(2):
            x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(width, 3, padding="same")(x)))
        return x

    image = keras.Input((64, 64, 3), name="image")
    first = block(image, 12)
    second = block(layers.MaxPooling2D()(first), 24)
    third = block(layers.MaxPooling2D()(second), 48)
    up = layers.UpSampling2D(interpolation="bilinear")(third)
    fourth = block(layers.Concatenate()([up, second]), 24)
    up = layers.Conv2DTranspose(12, 2, strides=2)(fourth)
    out = layers.Conv2D(4, 1)(block(layers.Concatenate()([up, first]), 12))
    return keras.Model(image, out), [Input("image", (64, 64, 3))]


def two_inputs() -> Net:
    image, table = keras.Input((32, 32, 3), name="image"), keras.Input((10,), name="table")
    x = layers.GlobalMaxPooling2D()(layers.SeparableConv2D(16, 3, activation="swish")(image))
    y = layers.Dense(16, activation="tanh")(table)
    joined = layers.Concatenate()([x, y, layers.Multiply()([x, y])])
    outputs = {"score": layers.Dense(3, name="score")(joined), "value": layers.Dense(1, name="value")(joined)}
    return keras.Model([image, table], outputs), [Input("image", (32, 32, 3)), Input("table", (10,))]


NETS: dict[str, Callable[[], Net]] = {
    "keras_mobilenetv3": application("MobileNetV3Small"),
    "keras_transformer": transformer,
    "keras_bilstm_gru": recurrent,
    "keras_unet": unet,
    "keras_two_inputs": two_inputs,
    "keras_efficientnetv2b0": application("EfficientNetV2B0"),
    "keras_convnext_tiny": application("ConvNeXtTiny"),
    "keras_densenet121": application("DenseNet121"),
    "keras_nasnetmobile": application("NASNetMobile"),
    "keras_resnet50v2": application("ResNet50V2"),
    "keras_xception": application("Xception", 299),
}


def shake(model: Any) -> None:
    """Make random what is constant: biases of 0, scales of 1, the statistics of batch normalisations."""
    random = np.random.default_rng(SEED)
    for variable in model.variables:
        value = keras.ops.convert_to_numpy(variable)
        if value.size > 1 and value.dtype.kind == "f" and (value == value.flat[0]).all():
            moved = value + SPREAD * random.normal(size=value.shape)
            variable.assign(np.abs(moved) if "variance" in variable.path else moved)


def main() -> None:
    name, folder = sys.argv[1], Path(sys.argv[2])
    keras.utils.set_random_seed(SEED)
    model, inputs = NETS[name]()
    shake(model)
    model.save(folder / "model.keras")
    write(inputs, folder / "inputs.json")


if __name__ == "__main__":
    main()
