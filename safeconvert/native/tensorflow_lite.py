"""TFLite files in TensorFlow's own interpreter: another build of the kernels than LiteRT's. Child side."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from .light_models import THREADS, interpreted
from .loaded import register


def load(path: str, flavour: str) -> dict[str, Any]:
    """Load the file and register it; gives its signature."""
    return register(path, interpreted(tf.lite.Interpreter(model_path=path, num_threads=THREADS)))
