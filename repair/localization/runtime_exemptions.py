"""Is a fault that was found the runtime's? The Target's nodes run alone in another, on the Source's activations.

Child side; works on the Target that ``locate.locate`` looked at last.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from ..alignment.matching import Array, Contents
from ..alignment.runtime_differences import told
from ..graph.runner import alone, session
from . import locate
from .session import HELD


def canonical(path: str, target: str) -> None:
    """Write the view in the words in which ``locate`` compares it, so that another runtime runs the same graph."""
    onnx.save(locate.canonical(path), target)


def segment(index: int, path: str) -> dict[str, Any] | None:
    """Write the nodes of a finding as a model of their own.

    Gives the "arrays" that it takes, out of the Source's activations, and the "tensor" that it gives; None where the
    finding has no nodes that run alone.
    """
    held = HELD["last"]
    found, walk = held.found[index], held.walk
    names = set(found.evidence.get("target_nodes", ()))
    tensor = found.evidence.get("target_tensor")
    if walk is None or not names or tensor not in walk.aligned:
        return None
    nodes = [node for node in walk.target.nodes if node.name in names]
    made = {name for node in nodes for name in node.output}
    read = {name for node in nodes for name in walk.target.dynamic(node)} - made
    if tensor not in made or not read.issubset(walk.values):
        return None
    arrays = {name: walk.values[name] for name in sorted(read)}
    onnx.save(alone(nodes, walk.target.model, arrays, walk.target.constants, [tensor]), path)
    return {"arrays": arrays, "tensor": tensor}


def excuse(index: int, path: str, arrays: dict[str, Array], theirs: Array) -> dict[str, Any] | None:
    """Does the other runtime give, for the nodes of this finding, what the Source gives, where onnxruntime does not?

    ``theirs`` is its result for the segment at ``path``. Then it is the runtimes that differ, and not the models,
    unless ONNX's own reference gives what onnxruntime gives: two of three say that the Target is wrong. Gives both
    values (``runtimes.told``), or None where the finding stands.
    """
    held = HELD["last"]
    assert held.walk is not None
    contents: Contents = held.walk.contents
    tensor = str(held.found[index].evidence["target_tensor"])
    match = held.walk.aligned[tensor][0]
    wanted = match.arrangement.of(contents.tensors[match.name])
    if not contents.apart(wanted, theirs) <= contents.limit:
        return None
    model = onnx.load(path)
    ours = session(model).run([tensor], arrays)[0]
    reference = _reference(model, arrays)
    if reference is not None and contents.apart(ours, reference) <= contents.limit:
        return None
    return told(np.asarray(ours), theirs)


def _reference(model: onnx.ModelProto, arrays: dict[str, Array]) -> Array | None:
    """What ONNX's reference gives; None where it does not run these nodes."""
    try:
        return np.asarray(ReferenceEvaluator(model).run(None, arrays)[0])
    except Exception:  # noqa: BLE001 - whatever it raises, it has no say
        return None
