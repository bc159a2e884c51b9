"""The six fault types by code and name, for workers and for the parent process: nothing else is imported here."""

from __future__ import annotations

import enum


class FaultCode(enum.Enum):
    """The fault types of FetaFix (arXiv 2312.15101), in its order: the code that reports give, and the paper's name.

    Each has a value in ``fault_types.FAULT_TYPES`` that finds and repairs it.
    """

    PP = "preprocessing"
    ID = "input dimensions"
    TSS = "tensor shape and structure"
    WB = "weights and biases"
    LH = "layer hyperparameters"
    CG = "computation graph"
