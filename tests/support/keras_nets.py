"""Scripts that make small Keras models."""

from __future__ import annotations

AREA = """
import keras
keras.utils.set_random_seed(0)
layers = keras.layers
inputs = keras.Input((12, 9, 3), name="image")
x = layers.Resizing(5, 6, interpolation="area", name="smaller")(inputs)
x = layers.Flatten()(layers.Conv2D(4, 3, activation="relu", name="conv")(x))
keras.Model(inputs, layers.Dense(5, name="head")(x)).save("source.keras")
"""
