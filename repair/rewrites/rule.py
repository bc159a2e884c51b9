"""The values that equivalent-form rewriting speaks in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import onnx_ir as ir


@dataclass(frozen=True)
class Refused:
    """A rewrite looked at its own kind of node and will not touch this one; not an error."""

    reason: str


Outcome = bool | Refused
"""True: the graph was changed. False: nothing to do here. Refused: should be, cannot be, and why."""


@dataclass(frozen=True)
class Rewrite:
    """One way to write a node as an equivalent subgraph.

    `apply` keeps the names, types and shapes of the node's outputs. It must not hit what it wrote itself.
    `fault_type` is the paper's code (LH, CG, TSS, WB, ID) of the converter fault that the form avoids.
    `undoes` names rewrites of which this one is the inverse: it is not applied to what they wrote.
    """

    name: str
    operators: frozenset[str]
    fault_type: str
    why: str
    apply: Callable[[ir.Model, ir.Node], Outcome]
    undoes: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Applied:
    """A rewrite that took place; `node` is the name the node had in the model given."""

    rewrite: str
    node: str
    op_type: str
    fault_type: str


@dataclass(frozen=True)
class Skipped:
    """A rewrite that refused, and why."""

    rewrite: str
    node: str
    op_type: str
    reason: str


class NotConvertible(Exception):
    """No adapter takes this operator from one opset to another."""

    def __init__(self, op_type: str, source: int, target: int) -> None:
        super().__init__(f"{op_type} cannot be taken from opset {source} to {target}: no adapter and no function body")
        self.op_type = op_type
        self.source = source
        self.target = target
