"""The six fault types of FetaFix (arXiv 2312.15101), one file each, as one list of values: ``FAULT_TYPES``.

Faults are located by local replay: a Target is walked beside its Source on the Source's activations
(``localization/locate``), and a converter is tried on each node alone (``localization/node_replay``). The files of
``faults/`` propose what may be wrong at the located place, from the mildest change to the gravest, and one gate
(``faults.proposal.holds``) accepts only what makes the Target compute what the Source computes there.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FaultType:
    """One of the six: its code in reports, its name in the paper, and the file that locates and proposes for it."""

    code: str
    name: str
    module: str


FAULT_TYPES: tuple[FaultType, ...] = (
    FaultType("PP", "preprocessing", "preprocessing"),
    FaultType("ID", "input dimensions", "input_dimensions"),
    FaultType("TSS", "tensor shape and structure", "tensor_structure"),
    FaultType("WB", "weights and biases", "weights"),
    FaultType("LH", "layer hyperparameters", "hyperparameters"),
    FaultType("CG", "computation graph", "computation_graph"),
)
