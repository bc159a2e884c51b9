"""Handles of what workers do with a loaded model, and of what a single runtime can do alone.

What every runtime does is a field of :class:`safeconvert.workers.runtime.Runtime`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .remote import remote

if TYPE_CHECKING:
    from ..runtimes import registry
    from ..runtimes.litert import float_weights, single_operators, tensorflow_interpreter
    from ..runtimes.tensorflow import model as tensorflow_model
    from ..runtimes.tvm import model as tvm_model

RUN = remote("runtimes.registry", "run", lambda: registry.run)
RUN_ONCE = remote("runtimes.registry", "run_once", lambda: registry.run_once)
RUN_SINGLE_THREADED = remote("runtimes.registry", "run_single_threaded", lambda: registry.run_single_threaded)
RUN_AT = remote("runtimes.registry", "run_at", lambda: registry.run_at)
CHANGING_OPERATORS = remote("runtimes.registry", "changing_operators", lambda: registry.changing_operators)
FORGET = remote("runtimes.registry", "forget", lambda: registry.forget)

LAYER_NAMES = remote("runtimes.tensorflow.model", "layer_names", lambda: tensorflow_model.layer_names)

ROUNDED_WEIGHTS = remote("runtimes.litert.float_weights", "rounded_weights", lambda: float_weights.rounded_weights)
MATCH_ROUNDINGS = remote("runtimes.litert.float_weights", "match_roundings", lambda: float_weights.match_roundings)
RESTORE_FLOAT_WEIGHTS = remote(
    "runtimes.litert.float_weights", "restore_float_weights", lambda: float_weights.restore_float_weights
)
ROUNDING_COSTS = remote("runtimes.litert.float_weights", "rounding_costs", lambda: float_weights.rounding_costs)

SPLIT_OPERATORS = remote(
    "runtimes.litert.single_operators", "split_operators", lambda: single_operators.split_operators
)
LARGEST_DIFFERENCES = remote(
    "runtimes.litert.tensorflow_interpreter", "largest_differences", lambda: tensorflow_interpreter.largest_differences
)

TVM_ACTIVATIONS = remote("runtimes.tvm.model", "activations", lambda: tvm_model.activations)
