"""CG, computation graph: nodes that are missing, too many or others; outputs too many or in another order.

The nodes between agreement and divergence are replaced by the Source's nodes for the same tensor, in the Target's
layout; smaller changes are those of ``missing_nodes``. Worker side.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import onnx

from ..alignment.tensor_pairs import candidate_layouts
from ..alignment.walk import Divergence, Walk
from ..graph.edits import Edit, Give, Rewire
from ..graph.runner import LAYOUT, computing_nodes
from . import batchnorm_folding, weights
from .codes import FaultCode
from .fault_type import FaultType, nowhere
from .missing_nodes import insertions, readers, removals
from .operators import WEIGHTED, effective_operators
from .proposal import Proposal, constants, fitted, same
from .source_nodes import build

MAX_LAYOUTS = 2  # in which an inner tensor of a divergence may lie
WINDOWED = frozenset({"Conv", "ConvTranspose", "MaxPool", "AveragePool"})
MOVING = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose")


def propose(walk: Walk, divergence: Divergence) -> Iterator[Proposal]:
    """Take a node out, then put missing nodes before the first one, then replace all nodes by the Source's."""
    yield from removals(walk, divergence)
    yield from insertions(walk, divergence)
    yield from replacements(walk, divergence)


def replacements(walk: Walk, divergence: Divergence) -> Iterator[Proposal]:
    """Replace the nodes of the divergence by the Source's."""
    built = build(walk, divergence.origins, divergence.source, divergence.arrangement)
    if built is None or not divergence.nodes or not divergence.origins:
        return
    added, values, new = built
    kinds = [[n.op_type for n in computing_nodes(chain)] for chain in (divergence.nodes, divergence.origins)]
    words = f"{', '.join(kinds[0]) or 'nothing'} replaced by the Source's {', '.join(kinds[1]) or 'tensor'}"
    edit = Rewire(words, divergence.target, new, readers(walk, divergence.target) or None, added, values)
    node, source_node = nodes_to_name(divergence)
    code = type_of_replacement(walk, divergence)
    if code == "TSS" and (moving := surplus_moving_nodes(divergence)):
        node = moving[0]
    evidence: dict[str, Any] = {
        "operator": node.op_type,
        "target_operators": kinds[0],
        "source_operators": kinds[1],
    }
    if code == "WB" and (tensors := weights.likeness(walk, node, source_node)):
        evidence["tensors"] = tensors
    yield Proposal(code, node.name, source_node.name, (edit,), evidence)


def first_replacements(walk: Walk, divergence: Divergence) -> Iterator[Proposal]:
    """Replace the first nodes of a divergence by the Source's first ones, where others follow on both sides."""
    for node in computing_nodes(divergence.nodes)[:-1]:
        for source_node in computing_nodes(divergence.origins)[:-1]:
            tensor, source = node.output[0], source_node.output[0]
            value, content = walk.values.get(tensor), walk.contents.tensors.get(source)
            if value is None or content is None or value.size != content.size or value.ndim != content.ndim:
                continue
            for layout in candidate_layouts(walk, tensor, source, node)[:MAX_LAYOUTS]:
                inner = walk.diverging(tensor, source, layout)
                done = {n.name for n in (*inner.nodes, *inner.origins)}
                chains = (divergence.nodes, divergence.origins)
                nodes, origins = (tuple(n for n in chain if n.name not in done) for chain in chains)
                left = replace(divergence, nodes=nodes, origins=origins)
                for proposal in replacements(walk, inner):
                    yield replace(proposal, repairs=inner, leaves=left)


def type_of_replacement(walk: Walk, divergence: Divergence) -> str:
    """Tell the fault type of a whole divergence by what differs, operators that only scale and shift set aside."""
    chains = (walk.target, divergence.nodes), (walk.source, divergence.origins)
    operators, source_operators = (effective_operators(*chain) for chain in chains)
    if sorted(operators) != sorted(source_operators):
        return "CG"
    if not operators:
        moved = {n.op_type for n in divergence.nodes} | {n.op_type for n in divergence.origins}
        return "TSS" if moved <= LAYOUT else "WB"
    settings = [_window_settings(nodes) for nodes in (divergence.nodes, divergence.origins)]
    if settings[0] != settings[1] or set(operators) == {"Clip"}:
        return "LH"
    values, wanted = (
        [array for n in chain[1] for *_, array in constants(chain[0], n) if array.dtype.kind == "f"] for chain in chains
    )
    moving = surplus_moving_nodes(divergence)
    if not values or not wanted:
        return "TSS" if moving else "CG"
    is_alike = all(any(same(value, laid) for other in wanted for laid in fitted(other, value)) for value in values)
    if moving and (is_alike or batchnorm_folding.folded_alike(walk, divergence)):
        return "TSS"  # the same operators on the same weights: what differs is the order of the values
    return "WB"


def surplus_moving_nodes(divergence: Divergence) -> list[onnx.NodeProto]:
    """List the Target's nodes that reshape or transpose, reshaping ones first; none where the Source has as many."""
    nodes, source_nodes = (
        [n for n in chain if n.op_type in MOVING] for chain in (divergence.nodes, divergence.origins)
    )
    return sorted(nodes, key=lambda n: MOVING.index(n.op_type)) if len(nodes) > len(source_nodes) else []


def nodes_to_name(divergence: Divergence) -> tuple[onnx.NodeProto, onnx.NodeProto]:
    """Choose the node of each side to name: the first that the other side has no like of, else the weightiest."""
    nodes = computing_nodes(divergence.nodes) or list(divergence.nodes)
    source_nodes = computing_nodes(divergence.origins) or list(divergence.origins)
    kinds, source_kinds = ([n.op_type for n in chain] for chain in (nodes, source_nodes))
    odd = [n for n in nodes if n.op_type not in source_kinds]
    missing = [n for n in source_nodes if n.op_type not in kinds]
    weighted = [n for n in nodes if n.op_type in WEIGHTED | {"BatchNormalization", "PRelu"}]
    node = (odd or weighted or nodes)[0]
    like = [n for n in source_nodes if n.op_type == node.op_type]
    return node, (like or missing or source_nodes)[0]


def _window_settings(nodes: Sequence[onnx.NodeProto]) -> list[Any]:
    settings: list[Any] = []
    for node in computing_nodes(nodes):
        if node.op_type in WINDOWED:
            settings.append(sorted(str(a) for a in node.attribute if a.name not in ("kernel_shape",)))
        elif node.op_type == "Pad":
            settings.append("Pad")
    return settings


def outputs(walk: Walk, names: Mapping[str, str]) -> tuple[tuple[Edit, ...], dict[str, Any], str, str] | None:
    """Make the Target give what the Source gives, all of it, in its order; None where it does already.

    ``names`` are the Source's outputs and what the Target calls them. Returns edits, evidence, the node to name
    and the output that it makes.
    """
    output_names: list[tuple[str, str]] = []
    for index, name in enumerate(walk.order):
        holding = [t for t, matches in walk.aligned.items() if any(m.name == name for m in matches)]
        target_output = walk.target.outputs[index] if index < len(walk.target.outputs) else None
        plain = [t for t in holding if _as_given(walk, t, name)]
        if target_output in plain:
            output_names.append((str(target_output), names.get(name, str(target_output))))
        elif plain:
            # The last tensor that holds it, unless another output of the Target does.
            others = [t for t in plain if t in walk.target.outputs]
            output_names.append(((others or plain)[-1], names.get(name, target_output or name)))
        else:
            return None
    have = list(walk.target.outputs)
    if [tensor for tensor, _ in output_names] == have:
        return None
    output_tensors = [tensor for tensor, _ in output_names]
    if set(output_tensors) <= set(have) and len(have) > len(output_tensors):
        words = f"{len(have) - len(output_tensors)} outputs too many taken away"
    elif set(output_tensors) == set(have):
        words = "outputs put in the Source's order"
    else:
        words = f"the output is taken from {output_tensors[0]}"
    extra = next((t for t in have if t not in output_tensors), have[0])
    node = walk.target.maker.get(extra)
    evidence = {"operator": node.op_type if node is not None else "", "difference": words, "outputs": have}
    return (Give(words, tuple(output_names)),), evidence, node.name if node is not None else extra, extra


def _as_given(walk: Walk, tensor: str, name: str) -> bool:
    """Does the Target's tensor hold the Source's output as it is, or in another layout of the same sizes?"""
    match = next(m for m in walk.aligned[tensor] if m.name == name)
    return match.arrangement.plain or walk.contents.tensors[name].ndim > 2


COMPUTATION_GRAPH = FaultType(FaultCode.CG, nowhere, propose, keeps_operators=False)
