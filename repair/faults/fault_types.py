"""List the fault types, each of which is a value in a file of its own. Worker side."""

from __future__ import annotations

from . import (
    computation_graph,
    hyperparameters,
    input_dimensions,
    preprocessing,
    tensor_structure,
    weights,
)
from .fault_type import FaultType

FAULT_TYPES: tuple[FaultType, ...] = (
    tensor_structure.TENSOR_STRUCTURE,  # the values are right and lie in another order: nothing else is the matter
    preprocessing.PREPROCESSING,  # the nodes at an input as a whole, before each of them is suspected alone
    input_dimensions.INPUT_DIMENSIONS,  # constants that follow from the declared sizes of an input
    weights.WEIGHTS,  # other numbers in the same node
    hyperparameters.HYPERPARAMETERS,  # other settings of the same node
    computation_graph.COMPUTATION_GRAPH,  # other nodes: this explains anything, so it comes last
)
"""Mildest first: an earlier type is tried before a later one, so that the smallest change explains a divergence."""
