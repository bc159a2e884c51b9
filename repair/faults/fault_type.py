"""What a fault type is: a code, a name, where to look for it, and what to propose against it. Worker side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import onnx

from ..alignment.walk import Divergence, Walk
from .codes import FaultCode
from .proposal import Proposal


@dataclass(frozen=True)
class FaultType:
    """One of the six fault types, as its file defines it.

    ``localise(walk, node)`` finds, at a node where the walk stopped, the divergences that only this type explains, such
    as content that lies in another order. A type without any is asked at pairs of tensors alone (``nowhere``).
    ``propose(walk, divergence)`` yields repairs that may explain a divergence, wherever it was found, the mildest
    first; it yields nothing where the type does not apply. Neither of them decides: ``localization.explanation``
    tries every proposal on the spot. ``keeps_operators`` is False for a type whose repairs exchange operators: those
    explain any difference, so they are believed only where what follows agrees with the Source.
    """

    kind: FaultCode
    localise: Callable[[Walk, onnx.NodeProto], Iterator[Divergence]]
    propose: Callable[[Walk, Divergence], Iterator[Proposal]]
    keeps_operators: bool = True

    @property
    def code(self) -> str:
        """The code in reports, such as ``WB``."""
        return self.kind.name

    @property
    def name(self) -> str:
        """The paper's name, such as ``weights and biases``."""
        return self.kind.value


def nowhere(walk: Walk, node: onnx.NodeProto) -> Iterator[Divergence]:
    """Find no divergence: for a type that no place alone tells, and that is asked at every pair of tensors."""
    return iter(())
