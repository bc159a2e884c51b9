"""TFLiteConverter with Optimize.DEFAULT, as its documentation shows it. Run in a process of its own.

python -m benchmarks.paper_cases.tflite_converter MODEL OUT
"""

from __future__ import annotations

import sys
from pathlib import Path

import tensorflow as tf


def convert(source: str, out: str) -> None:
    if Path(source).is_dir():
        converter = tf.lite.TFLiteConverter.from_saved_model(source)
    else:
        converter = tf.lite.TFLiteConverter.from_keras_model(tf.keras.models.load_model(source, compile=False))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    Path(out).write_bytes(converter.convert())


if __name__ == "__main__":
    convert(*sys.argv[1:])
