"""What a fault type proposes for a divergence of Target and Source, and how a proposal is tried on the spot.

Worker side. A proposal is tried where it stands: the few nodes between agreement and divergence are run with its edits
made, on the Source's own activations. If their output still differs, what was changed was not the fault.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from ...runtimes.tensor_layout import arrangements
from ..alignment.matching import Match
from ..alignment.walk import Divergence, Walk
from ..graph.edits import Edit, Rewire
from ..graph.runner import GraphRunner, captured, session

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Proposal:
    """A repair, and the fault that it repairs.

    ``type`` is the fault type's code, ``target_node`` the name of the node at fault and ``source_node`` that of the
    Source's node in its place ("" where there is none); ``evidence`` goes into the report.

    ``also`` are repairs of further nodes that make the output agree only together with this one. ``takes_several``:
    several arrays change at once, so it is tried after the single changes of every type. ``is_fitted``: its numbers
    were computed so as to make the output agree, so that agreement at the node alone proves nothing. ``is_exact``: the
    output has to be equal value for value, since it may come close by chance. ``tested_at`` is the divergence whose
    tensor shows that the repair is right, and ``repairs`` the one that the edits repair (None: the one proposed for);
    ``leaves`` is what they leave of the one proposed for.
    """

    type: str
    target_node: str
    source_node: str
    edits: tuple[Edit, ...]
    evidence: Mapping[str, Any] = field(default_factory=dict)
    also: tuple[Proposal, ...] = ()
    takes_several: bool = False
    is_fitted: bool = False
    is_exact: bool = False
    tested_at: Divergence | None = None
    repairs: Divergence | None = None
    leaves: Divergence | None = None

    @property
    def all(self) -> tuple[Proposal, ...]:
        """This proposal and those that belong to it."""
        return (self, *self.also)

    @property
    def all_edits(self) -> tuple[Edit, ...]:
        return tuple(edit for proposal in self.all for edit in proposal.edits)

    @property
    def words(self) -> str:
        return "; ".join(edit.words for edit in self.edits)


def holds(walk: Walk, divergence: Divergence, proposal: Proposal) -> bool:
    """Do the divergence's nodes, with the proposal's edits made, compute what the Source computes?"""
    divergence = proposal.tested_at or divergence
    result = outcome(walk, divergence.nodes, divergence.target, proposal.all_edits)
    if result is None:
        return False
    if proposal.is_exact:
        return bool(np.array_equal(walk.wanted(divergence), result))
    return walk.contents.fits(Match(divergence.source, divergence.arrangement, divergence.difference), result)


def outcome(walk: Walk, nodes: Sequence[onnx.NodeProto], tensor: str, edits: Sequence[Edit]) -> Array | None:
    """Compute ``tensor`` by these nodes with the edits made; None where they then do not run."""
    steps = walk.target
    read = dict.fromkeys(name for node in nodes for name in (*node.input, *captured(node)) if name)
    computed = {name for node in nodes for name in node.output}
    added = {name for edit in edits for node in getattr(edit, "added", ()) for name in node.input}
    outside = [name for name in dict.fromkeys((*read, *added)) if name not in computed and name not in steps.constants]
    if any(name not in walk.values for name in outside if name in steps.maker or name in steps.inputs):
        return None
    values = {name: walk.values[name] for name in outside if name in walk.values}
    segment = list(nodes)
    if tensor not in computed:  # nothing to run: the edits alone compute it from what it holds
        if tensor not in walk.values:
            return None
        values[f"{tensor}/held"] = walk.values[tensor]
        values.pop(tensor, None)
        segment.append(onnx.helper.make_node("Identity", [f"{tensor}/held"], [tensor], f"{tensor}/held"))
    graph = onnx.helper.make_graph(
        segment,
        "segment",
        [
            onnx.helper.make_tensor_value_info(n, onnx.helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for n, a in values.items()
        ],
        [onnx.ValueInfoProto(name=tensor)],
        [numpy_helper.from_array(steps.constants[n], n) for n in (*read, *added) if n in steps.constants],
    )
    model = onnx.helper.make_model(graph, opset_imports=steps.model.opset_import, ir_version=steps.model.ir_version)
    walk.runs += len(nodes)
    wanted = tensor
    try:
        for edit in edits:
            edit.make(model)
            if isinstance(edit, Rewire) and edit.before == tensor and edit.nodes is not None:
                # What reads the tensor stands outside the segment and reads the new one from now on.
                wanted = edit.after
                model.graph.output.append(onnx.ValueInfoProto(name=wanted))
        result = session(model).run([wanted], values)[0]
    except Exception:  # noqa: BLE001 - a proposal that does not run is no repair
        return None
    return result if isinstance(result, np.ndarray) else None


def constants(steps: GraphRunner, node: onnx.NodeProto) -> list[tuple[int, str, Array]]:
    """List the constant inputs of a node: index, name, array."""
    return [(i, name, steps.constants[name]) for i, name in enumerate(node.input) if name in steps.constants]


def fitted(array: Array, wanted: Array, nearest: int = 4) -> list[Array]:
    """Lay the array out in every way that has the wanted shape, nearest to the wanted values first."""
    if array.size != wanted.size:
        return []
    ranked: list[tuple[float, int, Array]] = []
    for layout in arrangements((1, *array.shape), (1, *wanted.shape)):
        laid = layout.of(array[None])[0].astype(wanted.dtype)
        mean = float(np.abs(laid.astype(np.float64) - wanted).mean()) if wanted.size else 0.0
        ranked.append((mean, len(ranked), laid))
    return [laid for _, _, laid in sorted(ranked, key=lambda entry: entry[:2])[:nearest]]


def same(a: Array, b: Array) -> bool:
    """Equal but for rounding."""
    if a.shape != b.shape:
        return False
    if a.dtype.kind != "f":
        return bool(np.array_equal(a, b))
    scale = float(np.abs(a).max(initial=0.0))
    return bool(np.allclose(a, b, rtol=1e-5, atol=1e-6 * scale, equal_nan=True))
