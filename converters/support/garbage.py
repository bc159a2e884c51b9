"""Collect garbage often while a converter rebuilds a graph many times. Worker side.

tf2onnx copies the graph for each of its optimisations, weights and all, and the copies hold each other: only the
garbage collector frees them, which by itself runs too seldom for objects that are few and large.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

THRESHOLDS = (700, 5, 5)  # as gc.set_threshold takes them


@contextlib.contextmanager
def lean() -> Iterator[None]:
    """Collect garbage often, and look only at what is made inside of the block."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()  # a full collection waits for a share of what is there to be new: frameworks do not count now
    gc.set_threshold(*THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
