"""What a fault type proposes for a parting of Target and Source, and how a proposal is tried on the spot.

Child side. A proposal is tried where it stands: the few nodes between agreement and the parting are run with the
edits made, on the Source's own activations. What then still differs was not the fault.
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
    """A repair and the fault that it is for: ``node`` is the Target's, ``origin`` the Source's (or "").

    ``proven``: whether a single change proves itself where it makes the node's output agree. Numbers that were worked
    out to make it agree prove nothing.
    """

    type: str
    node: str
    origin: str
    edits: tuple[Edit, ...]
    evidence: Mapping[str, Any] = field(default_factory=dict)
    proven: bool = True

    @property
    def words(self) -> str:
        return "; ".join(edit.words for edit in self.edits)


def outcome(walk: Walk, nodes: Sequence[onnx.NodeProto], tensor: str, edits: Sequence[Edit]) -> Array | None:
    """What these nodes give for ``tensor`` with the edits made; None where they then do not run."""
    steps = walk.target
    read = dict.fromkeys(name for node in nodes for name in (*node.input, *captured(node)) if name)
    made = {name for node in nodes for name in node.output}
    extra = {name for edit in edits for node in getattr(edit, "added", ()) for name in node.input}
    outside = [n for n in (*read, *(e for e in extra if e not in read)) if n not in made and n not in steps.constants]
    if any(name not in walk.values for name in outside if name in steps.maker or name in steps.inputs):
        return None
    given = {name: walk.values[name] for name in outside if name in walk.values}
    graph = onnx.helper.make_graph(
        list(nodes),
        "segment",
        [
            onnx.helper.make_tensor_value_info(n, onnx.helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for n, a in given.items()
        ],
        [onnx.ValueInfoProto(name=tensor)],
        [numpy_helper.from_array(steps.constants[n], n) for n in (*read, *extra) if n in steps.constants],
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
        result = session(model).run([wanted], given)[0]
    except Exception:  # noqa: BLE001 - a proposal that does not run is no repair
        return None
    return result if isinstance(result, np.ndarray) else None


def holds(walk: Walk, parting: Divergence, edits: Sequence[Edit]) -> bool:
    """Do the nodes of the parting, so edited, give what the Source gives?"""
    result = outcome(walk, parting.nodes, parting.target, edits)
    if result is None:
        return False
    return walk.contents.fits(Match(parting.source, parting.arrangement, parting.apart), result)


def constants(steps: GraphRunner, node: onnx.NodeProto) -> list[tuple[int, str, Array]]:
    """The constant inputs of a node: number, name, array."""
    return [(i, name, steps.constants[name]) for i, name in enumerate(node.input) if name in steps.constants]


def fitted(array: Array, wanted: Array, nearest: int = 4) -> list[Array]:
    """The array in every layout that has the wanted shape, nearest to the wanted values first."""
    if array.size != wanted.size:
        return []
    found: list[tuple[float, int, Array]] = []
    for way in arrangements((1, *array.shape), (1, *wanted.shape)):
        laid = way.of(array[None])[0].astype(wanted.dtype)
        found.append((float(np.abs(laid.astype(np.float64) - wanted).mean()) if wanted.size else 0.0, len(found), laid))
    return [laid for _, _, laid in sorted(found, key=lambda one: one[:2])[:nearest]]


def same(a: Array, b: Array) -> bool:
    """Equal but for rounding."""
    if a.shape != b.shape:
        return False
    if a.dtype.kind != "f":
        return bool(np.array_equal(a, b))
    scale = float(np.abs(a).max(initial=0.0))
    return bool(np.allclose(a, b, rtol=1e-5, atol=1e-6 * scale, equal_nan=True))
