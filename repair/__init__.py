"""The six fault types of FetaFix (arXiv 2312.15101), one file each, as one list of values: ``FAULT_TYPES``.

A fault is located by local replay: of a Target beside its Source by walking the one on the other's activations
(``walking``, ``locating``), of a converter by converting each node alone (``replay``). The files named here say what
may be wrong at the place that was found, from the mildest change to the gravest, and one gate (``proposals.holds``)
accepts only what makes the Target compute what the Source computes there. All of it runs in child processes.
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
    FaultType("ID", "input dimensions", "dimensions"),
    FaultType("TSS", "tensor shape and structure", "structure"),
    FaultType("WB", "weights and biases", "weights"),
    FaultType("LH", "layer hyperparameters", "hyperparameters"),
    FaultType("CG", "computation graph", "computation"),
)
