"""Find where a converter's result diverges from a Source of which only the activations are known, and no ONNX graph.

The Source's graph is the trace that its own framework gives (``runtimes/*/trace.py:trace``): its operators and every
tensor between them. The result is walked along it as in ``alignment/walk``. Nothing can be repaired here, since the
Source's operators are not ONNX's. Worker side.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnx

from ...runtimes.trace_store import TraceRecord
from ..alignment.matching import Contents
from ..alignment.tensor_pairs import candidate_layouts, paired_tensors
from ..alignment.walk import Divergence, Walk
from ..faults import tensor_structure
from ..faults.proposal import Array, holds
from ..graph.runner import LAYOUT, GraphRunner, computing_nodes
from .finding import TraceFault, TraceSearchResult
from .locate import canonical

MAX_FAULTS = 8  # of one converter that are looked for
PREPARING = frozenset({"Resize", "Upsample", "Mul", "Add", "Sub", "Div"})


def locate(
    target: str,
    target_inputs: Mapping[str, Array],
    store: str,
    records: Sequence[TraceRecord],
    outputs: Sequence[Array],
    *,
    is_unquantized: bool,
    tflite: bool,
) -> TraceSearchResult:
    """Find the nodes of the view ``target`` whose output no tensor of the traced Source holds, in order.

    ``target_inputs`` are the view's inputs, ``outputs`` the Source's outputs for them in the view's order.
    ``is_unquantized`` is False for quantised models. With ``tflite`` the view was made of a TFLite file, and the
    evidence names the operators as TFLite does.
    """
    runner = GraphRunner(canonical(target))
    with np.load(store) as stored:
        tensors = {record.tensor: stored[record.key] for record in records}
    contents = Contents(tensors, is_unquantized=is_unquantized)
    ends = [next((match.name for match in contents.find(array)), "") for array in outputs]
    walk = Walk(runner, GraphRunner(graph(records)), contents, target_inputs, ends)
    faults = _faults(walk, {record.tensor: record.layer for record in records})
    if tflite:
        faults = [_with_tflite_operator(fault) for fault in faults]
    return TraceSearchResult(tuple(faults), 1 + -(-walk.runs // max(1, len(runner.nodes))))


def _with_tflite_operator(fault: TraceFault) -> TraceFault:
    operator = fault.evidence.get("source_operator") or fault.evidence["operator"]
    return replace(fault, evidence={**fault.evidence, "tflite_operator": tflite_operator(operator)})


def _faults(walk: Walk, layers: Mapping[str, str]) -> list[TraceFault]:
    """Name one fault after the other, each time going on behind it; ``layers`` are those of the Source's tensors."""
    faults: list[TraceFault] = []
    while (frontier := walk.frontier()) and len(faults) < MAX_FAULTS:
        node = frontier[0]
        divergence = next(_reordered(walk, node), None)
        if divergence is not None:
            faults.append(_order_fault(walk, divergence, node))
        elif (divergence := _likeliest(walk, node)) is not None:
            faults.append(_operator_fault(walk, divergence, layers))
        else:
            faults.append(TraceFault("CG", node.name, node.output[0], "", {"operator": node.op_type}))
            break
        walk.patch(divergence)
    return faults


def _reordered(walk: Walk, node: onnx.NodeProto) -> Iterator[Divergence]:
    """Find tensors at the node that hold the right values in the wrong order, and that another order repairs."""
    for divergence in tensor_structure.localise(walk, node):
        if any(holds(walk, divergence, proposal) for proposal in tensor_structure.propose(walk, divergence)):
            yield divergence


def graph(records: Sequence[TraceRecord]) -> onnx.ModelProto:
    """Make a graph of the trace: operators that move values have ONNX's names, all others the framework's."""
    nodes, inputs = [], []
    for record in records:
        if record.operator == "input":
            inputs.append(onnx.ValueInfoProto(name=record.tensor))
            continue
        kind = MOVING.get(plain_kind(record.operator), record.operator)
        nodes.append(onnx.helper.make_node(kind, list(record.inputs), [record.tensor], record.node))
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


def _likeliest(walk: Walk, node: onnx.NodeProto) -> Divergence | None:
    """Find the smallest pair of tensors behind the node from which the walk goes on; else the likeliest pair."""
    first: Divergence | None = None
    for tensor, source in paired_tensors(walk, node):
        for layout in candidate_layouts(walk, tensor, source, node):
            divergence = walk.diverging(tensor, source, layout)
            if walk.continues(tensor, layout.of(walk.contents.tensors[source]), source):
                return divergence
            if first is None and _kinds(divergence.nodes) == _kinds(divergence.origins):
                first = divergence
    return first


def _kinds(nodes: Sequence[onnx.NodeProto]) -> list[str]:
    return [plain_kind(node.op_type) for node in computing_nodes(nodes)]


def _operator_fault(walk: Walk, divergence: Divergence, layers: Mapping[str, str]) -> TraceFault:
    """Describe other values than the Source's, by the operators of both sides that differ."""
    nodes = computing_nodes(divergence.nodes) or list(divergence.nodes)
    source_nodes = computing_nodes(divergence.origins) or list(divergence.origins)
    # Where both sides end in the same operator, the fault is named by what only one of them has before it.
    node = _odd_one_out(nodes, source_nodes)
    source_node = _odd_one_out(source_nodes, nodes) if source_nodes else None
    evidence = {
        "operator": node.op_type,
        "source_operator": "" if source_node is None else source_node.op_type,
        "target_operators": [n.op_type for n in nodes],
        "source_operators": [n.op_type for n in source_nodes],
        "local_difference": divergence.difference if np.isfinite(divergence.difference) else None,
        "target_tensor": divergence.target,
        "source_tensor": divergence.source,
    }
    code = "CG"
    if not computing_nodes(divergence.nodes) and not computing_nodes(divergence.origins):
        code = "TSS"
    elif _kinds(nodes) == [plain_kind(n.op_type) for n in source_nodes]:
        code = "LH"
    is_resize = code == "LH" and plain_kind(node.op_type) == "resize"
    if is_resize and layers.get(divergence.source) and _is_at_input(walk, divergence):
        code = "PP"
    return TraceFault(code, node.name, node.output[0], "" if source_node is None else source_node.name, evidence)


def _odd_one_out(nodes: Sequence[onnx.NodeProto], others: Sequence[onnx.NodeProto]) -> onnx.NodeProto:
    """Choose the last node of a kind that the others lack; the last of all where they lack every kind or none."""
    kinds = {plain_kind(node.op_type) for node in others}
    odd = [node for node in nodes if plain_kind(node.op_type) not in kinds]
    return odd[-1] if 0 < len(odd) < len(nodes) else nodes[-1]


def _order_fault(walk: Walk, divergence: Divergence, reader: onnx.NodeProto) -> TraceFault:
    """Describe the right values in the wrong order: the Source's operators that order them are what was lost."""
    holders = [divergence.target, *(name for node in divergence.nodes for name in walk.target.dynamic(node))]
    same = {match.name for name in holders for match in walk.aligned.get(name, ())} | {divergence.source}
    same |= {match.name for match in walk.contents.find(walk.wanted(divergence))}
    in_graph_order = [name for node in walk.source.nodes for name in node.output if name in same]
    nodes = walk.source.between(in_graph_order[-1], in_graph_order[:1]) if in_graph_order else []
    source_nodes = computing_nodes(nodes) or nodes
    source_node = source_nodes[-1] if source_nodes else None
    node = divergence.nodes[-1] if divergence.nodes else reader
    evidence = {
        "operator": node.op_type,
        "source_operator": "" if source_node is None else source_node.op_type,
        "target_operators": [n.op_type for n in divergence.nodes],
        "source_operators": [n.op_type for n in source_nodes],
        "difference": "the same values in another order",
        "axes": list(divergence.arrangement.perm),
        "target_tensor": divergence.target,
        "source_tensor": divergence.source,
    }
    name = "" if source_node is None else source_node.name
    return TraceFault("CG" if computing_nodes(nodes) else "TSS", node.name, node.output[0], name, evidence)


def _is_at_input(walk: Walk, divergence: Divergence) -> bool:
    """Does nothing but moving and scaling stand between the model's input and these nodes?"""
    before = walk.target.between(divergence.target, ())
    inner = {node.name for node in divergence.nodes}
    return all(n.op_type in LAYOUT | PREPARING for n in before if n.name not in inner)


def tflite_operator(operator: str) -> str:
    """Look up what TFLite calls an operator, in its schema; "" where it has none of that kind."""
    from ai_edge_litert import schema_py_generated as schema

    words = [word for word in vars(schema.BuiltinOperator) if word.isupper()]
    return next((word for word in words if plain_kind(word) == plain_kind(operator)), "")
