"""Models on the way from Source to Target, and what the person asked of the conversion. Values; nothing runs here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..comparison.comparators import TOP1, Comparator
from ..comparison.comparison import Comparison
from ..comparison.tolerance import Tolerance
from ..formats import Format
from ..models.input_mapping import InputMapping
from ..models.loaded_model import LoadedModel

MAX_REWRITES_LISTED = 4  # kinds of rewriting that a message names


@dataclass(frozen=True)
class ConversionOptions:
    """What the person asked of the conversion; see the options of the same names. ``timeout`` is in seconds."""

    tolerance: Tolerance
    timeout: float
    input_layout: str
    quantize: str
    opset: int | None
    signature: str | None
    repair: bool = True
    repair_time: float = 300.0
    comparator: Comparator = TOP1
    engine: str = "onnxruntime"
    auto_env: bool = False


@dataclass(frozen=True)
class ConvertedModel:
    """A model on the way: the Source itself, what a hop wrote, or the Target (the last one).

    ``mapping`` says how the Source's inputs become its own. ``attempts`` are the numbers, in the report's ``route``,
    of the hops that led to it; ``comparison`` is with the Source on a few inputs, None for the Source itself.
    """

    model: LoadedModel
    mapping: tuple[InputMapping, ...]
    attempts: tuple[int, ...] = ()
    comparison: Comparison | None = None

    @property
    def format(self) -> Format:
        return self.model.format


@dataclass(frozen=True)
class Rewritten:
    """An ONNX file in an equivalent form, and what was rewritten: name of the rewrite, node, operator, fault type."""

    path: Path
    changes: tuple[Mapping[str, str], ...]

    @property
    def words(self) -> str:
        """Say what was rewritten, by operator: "Gelu at act (gelu); 2 Relu (max)"."""
        nodes: dict[tuple[str, str], list[str]] = {}
        for change in self.changes:
            nodes.setdefault((change["operator"], change["rewrite"]), []).append(change["node"])
        kinds = [_rewrite_words(operator, rewrite, names) for (operator, rewrite), names in nodes.items()]
        more = len(kinds) - MAX_REWRITES_LISTED
        return "; ".join(kinds[:MAX_REWRITES_LISTED] + ([f"and {more} more"] if more > 0 else []))


def _rewrite_words(operator: str, rewrite: str, nodes: list[str]) -> str:
    """Say that this rewrite was made at these nodes; ``operator`` is empty where it concerns the whole graph."""
    if not operator:
        return rewrite
    if len(nodes) == 1:
        return f"{operator} at {nodes[0]} ({rewrite})"
    return f"{len(nodes)} {operator} ({rewrite})"
