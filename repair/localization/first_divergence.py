"""Find where a Target leaves its Source by their own activations alone, where there is no view to walk along.

Both traces come from the models' own runtimes. Nothing is run again, so only the first fault on each way through the
graph is found: what stands behind it holds other values for that reason alone. Child side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...runtimes.trace_store import Store, TraceRecord
from ..alignment.matching import Contents
from ..faults.proposal import Array
from ..graph.runner import GraphRunner
from .locate import canonical
from .trace_search import plain_kind

Records = Sequence[TraceRecord]


def trace(path: str, arrays: Mapping[str, Array], store: str) -> list[TraceRecord]:
    """Write an ONNX model's activations into ``store``, as the other formats' ``runtimes/*/trace.py`` do.

    The graph is made canonical first, as it is for the walk.
    """
    steps = GraphRunner(canonical(path))
    values = steps.everything(arrays)
    kept = {name: value for name, value in values.items() if value.dtype.kind == "f" and value.ndim}
    order = {node.name: i for i, node in enumerate(steps.nodes)}
    with Store(store) as written:
        for name, value in kept.items():
            node = steps.maker.get(name)
            if node is None:
                written.add(value, tensor=name, node=name, layer="", operator="input", inputs=[])
            else:
                inputs = [tensor for tensor in steps.dynamic(node) if tensor in kept]
                written.add(value, tensor=name, node=node.name, layer="", operator=node.op_type, inputs=inputs)
        return sorted(written.records, key=lambda record: order.get(record.node, -1))


def departures(
    source: tuple[str, Records], target: tuple[str, Records], *, is_unquantized: bool = True
) -> list[dict[str, Any]]:
    """The Target's operators that read what the Source holds and give what it does not, and lead to nothing it does.

    Each with the Source's operator that reads the same content and is most like it, and a fault type by their kinds.
    """
    (their_store, theirs), (our_store, ours) = source, target
    with np.load(their_store) as stored:
        contents = Contents({one.tensor: stored[one.key] for one in theirs}, is_unquantized=is_unquantized)
    aligned: dict[str, set[str]] = {}
    with np.load(our_store) as stored:
        for one in ours:
            if matches := contents.find(stored[one.key]):
                aligned[one.tensor] = {match.name for match in matches}
    readers: dict[str, list[str]] = {}
    for one in ours:
        for name in one.inputs:
            readers.setdefault(name, []).append(one.tensor)
    lost: set[str] = set()
    for one in reversed(ours):
        name = one.tensor
        after = readers.get(name, [])
        if name not in aligned and (not after or any(reader in lost for reader in after)):
            lost.add(name)
    found = []
    for one in ours:
        if one.tensor in lost and not lost.intersection(one.inputs) and one.operator != "input":
            known = set().union(*(aligned.get(name, set()) for name in one.inputs)) if one.inputs else set()
            found.append(_departure(one, known, aligned, theirs, ours))
    return found


def same(source: tuple[str, Records], target: tuple[str, Records]) -> dict[str, str]:
    """The Source's first tensor that holds what a tensor of the Target holds, in any layout, by the Target's names.

    Of several, one that comes of the same kind of operator.
    """
    (their_store, theirs), (our_store, ours) = source, target
    with np.load(their_store) as stored:
        contents = Contents({one.tensor: stored[one.key] for one in theirs})
    places = {one.tensor: place for place, one in enumerate(theirs)}
    kinds = {one.tensor: plain_kind(one.operator) for one in theirs}
    found = {}
    with np.load(our_store) as stored:
        for one in ours:
            if matches := contents.find(stored[one.key]):
                names, kind = [match.name for match in matches], plain_kind(one.operator)
                alike = [name for name in names if kinds[name] == kind]
                found[one.tensor] = min(alike or names, key=places.__getitem__)
    return found


def _departure(
    one: TraceRecord, known: set[str], aligned: Mapping[str, set[str]], theirs: Records, ours: Records
) -> dict[str, Any]:
    taken = set().union(*aligned.values()) if aligned else set()
    options = [r for r in theirs if known.intersection(r.inputs) and r.tensor not in taken]
    kind = plain_kind(one.operator)
    like = [r for r in options if plain_kind(r.operator) == kind]
    if not like and kind == "pad":  # the Source may pad within the operator that reads it
        next_kinds = {plain_kind(r.operator) for r in ours if one.tensor in r.inputs}
        like = [r for r in options if plain_kind(r.operator) in next_kinds]
    origin = next(iter(like or options), None)
    evidence = {
        "operator": one.operator,
        "source_operator": "" if origin is None else origin.operator,
        "difference": "gives what no tensor of the Source holds, on inputs that the Source holds",
        "target_shape": list(one.shape),
        "source_shape": None if origin is None else list(origin.shape),
    }
    return {
        "type": "LH" if like else "CG",
        "target": one,
        "source": origin,
        "evidence": evidence,
    }
