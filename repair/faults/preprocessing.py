"""PP, preprocessing: what happens to an image before the model's first layer, on either side of the model's input.

Where both models are fed one identical tensor and agree, the fault is in the pipeline around them; where they do not,
and the first weighted layer is not yet reached, it is preprocessing built into a model. Child side.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from ..alignment.walk import Divergence, Walk
from ..graph.edits import Rewire
from ..graph.runner import LAYOUT, core
from . import computation_graph
from .proposal import Proposal

PREPARING = frozenset(
    {"Mul", "Add", "Sub", "Div", "BatchNormalization", "Clip"}
    | {"Gather", "GatherND", "Slice", "Split", "Concat", "Resize", "Upsample"}
)
"""Operators of preprocessing: channel order, scaling, mean and standard deviation, resizing and cropping."""
LONGEST = 6  # nodes that prepare, one behind the other
CHANNELS = 4  # of an image, at most
LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "MaxPool", "AveragePool", "GlobalAveragePool", "Relu"})


def prepares(walk: Walk, parting: Divergence, proposal: Proposal) -> bool:
    """Is what the proposal changes part of the preparing of the image, ahead of every layer of the model?"""
    node = next((n for n in walk.target.nodes if n.name == proposal.node), None)
    if node is None:
        return False
    kinds = proposal.evidence.get("missing") or ([] if mixes(walk, node) else [node.op_type])
    if not set(kinds) <= PREPARING | LAYOUT:
        return False
    return not _layers_before(walk, node)


def mixes(walk: Walk, node: onnx.NodeProto) -> bool:
    """Is this a convolution that only scales and reorders the channels of an image, pixel by pixel?"""
    if node.op_type != "Conv" or node.input[1] not in walk.target.constants:
        return False
    weights = walk.target.constants[node.input[1]]
    out, taken = weights.shape[:2]
    return bool(out <= CHANNELS and weights[0].size == taken and ((weights.reshape(out, -1) != 0).sum(1) == 1).all())


def _layers_before(walk: Walk, node: onnx.NodeProto) -> bool:
    """Does any layer of the model stand between the graph's inputs and this node?"""
    pending, seen = list(walk.target.dynamic(node)), set()
    while pending:
        maker = walk.target.maker.get(pending.pop())
        if maker is None or maker.name in seen:
            continue
        seen.add(maker.name)
        if maker.op_type in LAYERS and not mixes(walk, maker):
            return True
        pending += walk.target.dynamic(maker)
    return False


def propose(walk: Walk, node: onnx.NodeProto) -> Iterator[tuple[Divergence, Proposal]]:
    """The preparing at an input as a whole: several nodes at once are others than the Source's, or too many."""
    if not set(walk.target.dynamic(node)) <= set(walk.target.inputs) or node.op_type not in PREPARING:
        return
    for nodes in _chains(walk, node):
        tensor = nodes[-1].output[0]
        for source in _prepared(walk):
            for way in walk.candidate_layouts(tensor, source, node):
                content = way.of(walk.contents.tensors[source])
                value = walk.values.get(tensor)
                if value is not None and value.shape != content.shape:
                    continue
                if not walk.continues_from(tensor, content, source):
                    continue
                origins = walk.source.between(source, ())
                built = computation_graph.build(walk, origins, source, way)
                if built is None:
                    continue
                added, constants, new = built
                kinds = [[n.op_type for n in core(side)] for side in (nodes, origins)]
                words = f"{' and '.join(kinds[0])} at the input replaced by {' and '.join(kinds[1]) or 'nothing'}"
                readers = tuple(n.name for n in walk.target.readers.get(tensor, ()))
                edit = Rewire(words, tensor, new, readers, added, constants)
                evidence = {"operator": node.op_type, "target_operators": kinds[0], "source_operators": kinds[1]}
                apart = float("inf") if value is None else walk.contents.apart(content, value)
                parting = Divergence(tensor, source, way, tuple(nodes), tuple(origins), apart, value)
                yield parting, Proposal("PP", node.name, origins[-1].name if origins else "", (edit,), evidence)


def _chains(walk: Walk, node: onnx.NodeProto) -> Iterator[list[onnx.NodeProto]]:
    """The nodes of preparing from this one on: two of them, three, and so on; one alone where it has no setting that
    could be another."""
    chain = [node]
    if node.op_type in ("Gather", "GatherND", "Slice"):
        yield list(chain)
    while len(chain) < LONGEST:
        readers = walk.target.readers.get(chain[-1].output[0], ())
        following = [one for one in readers if one.op_type in PREPARING | LAYOUT]
        if len(following) != 1 or any(name in walk.target.maker for name in _others(walk, following[0], chain[-1])):
            return
        chain.append(following[0])
        yield list(chain)


def _others(walk: Walk, node: onnx.NodeProto, before: onnx.NodeProto) -> list[str]:
    return [name for name in walk.target.dynamic(node) if name not in before.output]


def _prepared(walk: Walk) -> list[str]:
    """The Source's inputs, and what its own preparing makes of them."""
    found = [name for name in walk.source.inputs if name in walk.contents.tensors]
    for name in list(found):
        while True:
            readers = walk.source.readers.get(name, ())
            following = [one for one in readers if one.op_type in PREPARING | LAYOUT]
            if len(following) != 1 or len(found) > LONGEST:
                break
            name = following[0].output[0]
            if name in walk.contents.tensors:
                found.append(name)
    return found[::-1]  # what the Source's layers read is the likeliest
