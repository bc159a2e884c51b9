"""Find where a converter's result leaves its Source, of which there is no view to believe: only its own activations.

The Source's graph is the trace that its own framework gives (``runtimes/*/trace.py:trace``): operators by their native
names and every tensor between them. The result is walked on it as in ``walking``; nothing can be mended here, since
the Source's operators are not ONNX's. Child side.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from ...runtimes.trace_store import TraceRecord
from ..alignment.matching import Contents
from ..alignment.walk import Divergence, Walk
from ..faults import tensor_structure
from ..faults.proposal import Array, holds
from ..graph.runner import LAYOUT, GraphRunner, core
from .locate import canonical

FAULTS = 8  # a converter's that are looked for, at most
PREPARING = frozenset({"Resize", "Upsample", "Mul", "Add", "Sub", "Div"})


def locate(
    target: str,
    given: Mapping[str, Array],
    store: str,
    records: Sequence[TraceRecord],
    outputs: Sequence[Array],
    *,
    is_unquantized: bool,
    tflite: bool,
) -> dict[str, Any]:
    """The nodes of the view ``target`` that give what no tensor of the traced Source holds, in order.

    ``given`` are the view's inputs, ``outputs`` the Source's outputs for them in the view's order. Gives ``faults``
    (type, target_node, source_node, source_layer, evidence) and ``model_runs``. ``is_unquantized`` is False for
    quantised models. ``tflite``: the view is of such a file, and the evidence names the operators as TFLite does.
    """
    ours, theirs = GraphRunner(canonical(target)), GraphRunner(graph(records))
    with np.load(store) as stored:
        contents = Contents({one.tensor: stored[one.key] for one in records}, is_unquantized=is_unquantized)
    ends = [next((m.name for m in contents.find(array)), "") for array in outputs]
    walk = Walk(ours, theirs, contents, given, ends)
    layers = {one.tensor: one.layer for one in records}
    found: list[dict[str, Any]] = []
    while (frontier := walk.frontier()) and len(found) < FAULTS:
        parting = next(_reordered(walk, frontier[0]), None)
        if parting is not None:
            found.append(_moved(walk, parting, frontier[0], layers))
            walk.patch(parting)
            continue
        parting = _parting(walk, frontier[0])
        if parting is None:
            node = frontier[0]
            found.append(_plain("CG", node.name, node.output[0], "", "", {"operator": node.op_type}))
            break
        found.append(_told(walk, parting, layers))
        walk.patch(parting)
    for one in found if tflite else ():
        evidence = one["evidence"]
        evidence["tflite_operator"] = tflite_word(evidence.get("source_operator") or evidence["operator"])
    return {"faults": found, "model_runs": 1 + -(-walk.runs // max(1, len(ours.nodes)))}


def _reordered(walk: Walk, node: onnx.NodeProto) -> Iterator[Divergence]:
    """Find tensors at the node that hold the right values in the wrong order, and that another order repairs."""
    for divergence in tensor_structure.localise(walk, node):
        if any(holds(walk, divergence, proposal) for proposal in tensor_structure.propose(walk, divergence)):
            yield divergence


def graph(records: Sequence[TraceRecord]) -> onnx.ModelProto:
    """The trace as a graph: operators that move values about by ONNX's names, all others by their own."""
    nodes, inputs = [], []
    for one in records:
        if one.operator == "input":
            inputs.append(onnx.ValueInfoProto(name=one.tensor))
            continue
        kind = MOVING.get(plain_kind(one.operator), one.operator)
        nodes.append(onnx.helper.make_node(kind, list(one.inputs), [one.tensor], one.node))
    ends = [onnx.ValueInfoProto(name=nodes[-1].output[0])] if nodes else []
    return onnx.helper.make_model(onnx.helper.make_graph(nodes, "trace", inputs, ends))


MOVING = {
    "view": "Reshape", "reshape": "Reshape", "flatten": "Flatten", "permute": "Transpose", "transpose": "Transpose",
    "squeeze": "Squeeze", "unsqueeze": "Unsqueeze", "expanddims": "Unsqueeze", "contiguous": "Identity",
    "clone": "Identity", "identity": "Identity", "dropout": "Dropout", "cast": "Cast", "tocopy": "Cast",
}  # fmt: skip


def plain_kind(operator: str) -> str:
    """``aten.avg_pool2d.default``, ``AvgPool`` and ``AVERAGE_POOL_2D`` -> ``averagepool``."""
    name = operator.removeprefix("aten.").partition(".")[0].strip("_").lower().replace("_", "")
    name = re.sub(r"(2d|3d|1d|v\d+|native|nd)$", "", re.sub(r"(v\d+)$", "", name))
    name = re.sub(r"^avgpool", "averagepool", name)
    return SAME.get(name, name)


SAME = {
    "upsamplenearest": "resize", "upsamplebilinear": "resize", "upsamplebicubic": "resize", "interpolate": "resize",
    "resizearea": "resize", "resizebilinear": "resize", "resizebicubic": "resize", "resizenearestneighbor": "resize",
    "upsample": "resize", "biasadd": "add", "addv": "add", "cat": "concat", "concatv": "concat", "mm": "matmul",
    "linear": "gemm", "addmm": "gemm", "depthwiseconv": "conv", "convolution": "conv", "realdiv": "div",
    "concatenation": "concat", "constantpad": "pad", "padv": "pad", "mirrorpad": "pad", "clipbyvalue": "clip",
    "hardtanh": "clip", "clamp": "clip", "mean": "reducemean", "sum": "reducesum", "amax": "reducemax",
}  # fmt: skip


def _parting(walk: Walk, node: onnx.NodeProto) -> Divergence | None:
    """The smallest pair of tensors behind the node from which the walk goes on; else the likeliest by its place."""
    first: Divergence | None = None
    for tensor, source in walk.pairs(node):
        for way in walk.candidate_layouts(tensor, source, node):
            parting = walk.diverging(tensor, source, way)
            if walk.continues(tensor, way.of(walk.contents.tensors[source]), source):
                return parting
            if first is None and _kinds(parting.nodes) == _kinds(parting.origins):
                first = parting
    return first


def _kinds(nodes: Sequence[onnx.NodeProto]) -> list[str]:
    return [plain_kind(node.op_type) for node in core(nodes)]


def _told(walk: Walk, parting: Divergence, layers: Mapping[str, str]) -> dict[str, Any]:
    ours, theirs = core(parting.nodes) or list(parting.nodes), core(parting.origins) or list(parting.origins)
    kinds = [plain_kind(node.op_type) for node in theirs]
    # Where both do the same at the end, the fault is named by what only one of them does before it.
    node = _odd(ours, theirs)
    origin = _odd(theirs, ours) if theirs else None
    evidence = {
        "operator": node.op_type,
        "source_operator": "" if origin is None else origin.op_type,
        "target_operators": [n.op_type for n in ours],
        "source_operators": [n.op_type for n in theirs],
        "local_difference": parting.apart if np.isfinite(parting.apart) else None,
        "target_tensor": parting.target,
        "source_tensor": parting.source,
    }
    kind = "CG"
    if not core(parting.nodes) and not core(parting.origins):
        kind = "TSS"
    elif _kinds(ours) == kinds:
        kind = "LH"
    resizing = kind == "LH" and plain_kind(node.op_type) == "resize"
    if resizing and layers.get(parting.source) and _at_input(walk, parting):
        kind = "PP"
    name = "" if origin is None else origin.name
    layer = "" if origin is None else layers.get(origin.output[0], "")
    return _plain(kind, node.name, node.output[0], name, layer or layers.get(parting.source, ""), evidence)


def _odd(nodes: Sequence[onnx.NodeProto], others: Sequence[onnx.NodeProto]) -> onnx.NodeProto:
    """The last of the nodes of a kind that the others lack, or the last of all where that is no difference."""
    kinds = {plain_kind(node.op_type) for node in others}
    odd = [node for node in nodes if plain_kind(node.op_type) not in kinds]
    return odd[-1] if 0 < len(odd) < len(nodes) else nodes[-1]


def _moved(walk: Walk, parting: Divergence, reader: onnx.NodeProto, layers: Mapping[str, str]) -> dict[str, Any]:
    """The right content in a wrong order: what put it in order in the Source is what the converter lost."""
    holders = [parting.target, *(name for node in parting.nodes for name in walk.target.dynamic(node))]
    same = {match.name for name in holders for match in walk.aligned.get(name, ())} | {parting.source}
    same |= {match.name for match in walk.contents.find(walk.wanted(parting))}
    ordered = [n for node in walk.source.nodes for n in node.output if n in same]
    nodes = walk.source.between(ordered[-1], ordered[:1]) if ordered else []
    doing = core(nodes) or nodes
    origin = doing[-1] if doing else None
    node = parting.nodes[-1] if parting.nodes else reader
    evidence = {
        "operator": node.op_type,
        "source_operator": "" if origin is None else origin.op_type,
        "target_operators": [n.op_type for n in parting.nodes],
        "source_operators": [n.op_type for n in doing],
        "difference": "the same values in another order",
        "axes": list(parting.arrangement.perm),
        "target_tensor": parting.target,
        "source_tensor": parting.source,
    }
    name, layer = ("", "") if origin is None else (origin.name, layers.get(origin.output[0], ""))
    return _plain("CG" if core(nodes) else "TSS", node.name, node.output[0], name, layer, evidence)


def _at_input(walk: Walk, parting: Divergence) -> bool:
    """Does nothing but moving and scaling stand between the model's input and these nodes?"""
    before = walk.target.between(parting.target, ())
    inner = {node.name for node in parting.nodes}
    return all(n.op_type in LAYOUT | PREPARING for n in before if n.name not in inner)


def tflite_word(operator: str) -> str:
    """What TFLite calls an operator, by its schema; "" where it has none of that kind."""
    from ai_edge_litert import schema_py_generated as schema

    words = [word for word in vars(schema.BuiltinOperator) if word.isupper()]
    return next((word for word in words if plain_kind(word) == plain_kind(operator)), "")


def _plain(kind: str, node: str, tensor: str, origin: str, layer: str, evidence: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": kind,
        "target_node": node,
        "target_tensor": tensor,
        "source_node": origin,
        "source_layer": layer,
        "evidence": dict(evidence),
    }
