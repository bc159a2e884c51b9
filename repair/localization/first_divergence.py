"""Find where a Target first diverges from its Source by the two models' own activations, where there is no ONNX view.

Both traces come from the models' own runtimes. Nothing is run again, so only the first fault on each path through the
graph is found: the tensors behind it hold other values for that reason alone. Worker side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ...runtimes.trace_store import Store, TraceRecord
from ..alignment.matching import Contents
from ..faults.proposal import Array
from ..graph.runner import GraphRunner
from .finding import TraceDivergence
from .locate import canonical
from .trace_search import plain_kind

Records = Sequence[TraceRecord]
Trace = tuple[str, Records]
"""A model's activations: the file that they are stored in, and a record of each."""


def trace(path: str, arrays: Mapping[str, Array], store: str) -> list[TraceRecord]:
    """Write an ONNX model's activations into ``store``, as the other formats' ``runtimes/*/trace.py`` do.

    The graph is made canonical first, as it is for the walk.
    """
    steps = GraphRunner(canonical(path))
    values = steps.everything(arrays)
    float_values = {name: value for name, value in values.items() if value.dtype.kind == "f" and value.ndim}
    order = {node.name: i for i, node in enumerate(steps.nodes)}
    with Store(store) as written:
        for name, value in float_values.items():
            node = steps.maker.get(name)
            if node is None:
                written.add(value, tensor=name, node=name, layer="", operator="input", inputs=[])
            else:
                inputs = [tensor for tensor in steps.dynamic(node) if tensor in float_values]
                written.add(value, tensor=name, node=node.name, layer="", operator=node.op_type, inputs=inputs)
        return sorted(written.records, key=lambda record: order.get(record.node, -1))


def first_divergences(source: Trace, target: Trace, *, is_unquantized: bool = True) -> tuple[TraceDivergence, ...]:
    """Find the Target's operators whose inputs match Source tensors, but whose output leads to nothing that matches.

    Each is paired with the Source's operator that reads the same content and is most like it. The fault type is LH if
    the two are of one kind, and CG otherwise.
    """
    (source_store, source_records), (target_store, target_records) = source, target
    contents = _contents(source_store, source_records, is_unquantized=is_unquantized)
    aligned: dict[str, set[str]] = {}
    with np.load(target_store) as stored:
        for record in target_records:
            if matches := contents.find(stored[record.key]):
                aligned[record.tensor] = {match.name for match in matches}
    lost = _lost_tensors(target_records, aligned)
    divergences = []
    for record in target_records:
        if record.tensor in lost and not lost.intersection(record.inputs) and record.operator != "input":
            read = set[str]().union(*(aligned.get(name, set()) for name in record.inputs))
            divergences.append(_divergence(record, read, aligned, source_records, target_records))
    return tuple(divergences)


def _contents(store: str, records: Records, *, is_unquantized: bool = True) -> Contents:
    with np.load(store) as stored:
        values = {record.tensor: stored[record.key] for record in records}
    return Contents(values, is_unquantized=is_unquantized)


def _lost_tensors(records: Records, aligned: Mapping[str, set[str]]) -> set[str]:
    """The tensors that match none of the Source's, as all tensors on some path from them to an output do."""
    readers: dict[str, list[str]] = {}
    for record in records:
        for name in record.inputs:
            readers.setdefault(name, []).append(record.tensor)
    lost: set[str] = set()
    for record in reversed(records):
        following = readers.get(record.tensor, [])
        if record.tensor not in aligned and (not following or any(reader in lost for reader in following)):
            lost.add(record.tensor)
    return lost


def match_by_content(source: Trace, target: Trace) -> dict[str, str]:
    """For each tensor of the Target that some tensor of the Source equals in any layout, return the first such tensor.

    Of several, it is one that the same kind of operator computed.
    """
    (source_store, source_records), (target_store, target_records) = source, target
    contents = _contents(source_store, source_records)
    positions = {record.tensor: position for position, record in enumerate(source_records)}
    kinds = {record.tensor: plain_kind(record.operator) for record in source_records}
    matched = {}
    with np.load(target_store) as stored:
        for record in target_records:
            if matches := contents.find(stored[record.key]):
                names, kind = [match.name for match in matches], plain_kind(record.operator)
                of_this_kind = [name for name in names if kinds[name] == kind]
                matched[record.tensor] = min(of_this_kind or names, key=positions.__getitem__)
    return matched


def _divergence(
    target: TraceRecord,
    read: set[str],
    aligned: Mapping[str, set[str]],
    source_records: Records,
    target_records: Records,
) -> TraceDivergence:
    """The divergence at a Target's operator; ``read`` are the Source's tensors that its inputs match."""
    matched = set[str]().union(*aligned.values())
    readers = [record for record in source_records if read.intersection(record.inputs) and record.tensor not in matched]
    kind = plain_kind(target.operator)
    of_this_kind = [record for record in readers if plain_kind(record.operator) == kind]
    if not of_this_kind and kind == "pad":  # the Source may pad within the operator that reads it
        next_kinds = {plain_kind(record.operator) for record in target_records if target.tensor in record.inputs}
        of_this_kind = [record for record in readers if plain_kind(record.operator) in next_kinds]
    source = next(iter(of_this_kind or readers), None)
    evidence = {
        "operator": target.operator,
        "source_operator": "" if source is None else source.operator,
        "difference": "gives what no tensor of the Source holds, on inputs that the Source holds",
        "target_shape": list(target.shape),
        "source_shape": None if source is None else list(source.shape),
    }
    return TraceDivergence("LH" if of_this_kind else "CG", source, target, evidence)
