"""PP, preprocessing: what is done to an image before the model's first layer, on either side of the model's input.

If both models agree on one identical tensor, the fault is in the pipeline around them; if they do not,
and the first weighted layer is not yet reached, it is preprocessing built into a model. Worker side.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from ..alignment.tensor_pairs import candidate_layouts
from ..alignment.walk import Divergence, Walk
from ..graph.edits import Rewire
from ..graph.runner import LAYOUT, computing_nodes
from .codes import FaultCode
from .fault_type import FaultType
from .proposal import Proposal
from .source_nodes import build

PREPARING = frozenset(
    {"Mul", "Add", "Sub", "Div", "BatchNormalization", "Clip"}
    | {"Gather", "GatherND", "Slice", "Split", "Concat", "Resize", "Upsample"}
)
"""Operators of preprocessing: channel order, scaling, mean and standard deviation, resizing and cropping."""
MAX_NODES = 6  # of preprocessing, one behind the other
MAX_CHANNELS = 4  # of an image
LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "MaxPool", "AveragePool", "GlobalAveragePool", "Relu"})


def is_before_layers(walk: Walk, proposal: Proposal) -> bool:
    """Does the proposal change a node that prepares the image, ahead of every layer of the model?"""
    node = next((n for n in walk.target.nodes if n.name == proposal.target_node), None)
    if node is None:
        return False
    kinds = proposal.evidence.get("missing") or ([] if is_channel_mix(walk, node) else [node.op_type])
    if not set(kinds) <= PREPARING | LAYOUT:
        return False
    return not _layers_before(walk, node)


def is_channel_mix(walk: Walk, node: onnx.NodeProto) -> bool:
    """Is this a convolution that only scales and reorders the channels of an image, pixel by pixel?"""
    if node.op_type != "Conv" or node.input[1] not in walk.target.constants:
        return False
    weights = walk.target.constants[node.input[1]]
    channels_out, channels_in = weights.shape[:2]
    is_pixelwise = weights[0].size == channels_in
    return bool(
        channels_out <= MAX_CHANNELS and is_pixelwise and ((weights.reshape(channels_out, -1) != 0).sum(1) == 1).all()
    )


def _layers_before(walk: Walk, node: onnx.NodeProto) -> bool:
    """Does any layer of the model stand between the graph's inputs and this node?"""
    pending, seen = list(walk.target.dynamic(node)), set()
    while pending:
        maker = walk.target.maker.get(pending.pop())
        if maker is None or maker.name in seen:
            continue
        seen.add(maker.name)
        if maker.op_type in LAYERS and not is_channel_mix(walk, maker):
            return True
        pending += walk.target.dynamic(maker)
    return False


def localise(walk: Walk, node: onnx.NodeProto) -> Iterator[Divergence]:
    """Find chains of preprocessing nodes at an input that compute something else than the Source's preprocessing."""
    if not set(walk.target.dynamic(node)) <= set(walk.target.inputs) or node.op_type not in PREPARING:
        return
    for nodes in _chains(walk, node):
        tensor = nodes[-1].output[0]
        for source in _prepared(walk):
            for layout in candidate_layouts(walk, tensor, source, node):
                content, value = layout.of(walk.contents.tensors[source]), walk.values.get(tensor)
                if value is not None and value.shape != content.shape:
                    continue
                if walk.continues_from(tensor, content, source):
                    origins = tuple(walk.source.between(source, ()))
                    difference = float("inf") if value is None else walk.contents.difference(content, value)
                    yield Divergence(
                        tensor, source, layout, tuple(nodes), origins, difference, value, node, is_confirmed=True
                    )


def propose(walk: Walk, divergence: Divergence) -> Iterator[Proposal]:
    """Replace a chain of preprocessing nodes at an input by the Source's."""
    nodes, tensor = divergence.nodes, divergence.target
    if not divergence.is_confirmed or not nodes or not _is_preprocessing(walk, divergence):
        return
    built = build(walk, divergence.origins, divergence.source, divergence.arrangement)
    if built is None:
        return
    added, constants, new = built
    kinds = [[n.op_type for n in computing_nodes(chain)] for chain in (nodes, divergence.origins)]
    words = f"{' and '.join(kinds[0])} at the input replaced by {' and '.join(kinds[1]) or 'nothing'}"
    readers = tuple(n.name for n in walk.target.readers.get(tensor, ()))
    evidence = {"operator": nodes[0].op_type, "target_operators": kinds[0], "source_operators": kinds[1]}
    source_node = divergence.origins[-1].name if divergence.origins else ""
    edit = Rewire(words, tensor, new, readers, added, constants)
    yield Proposal("PP", nodes[0].name, source_node, (edit,), evidence)


def _is_preprocessing(walk: Walk, divergence: Divergence) -> bool:
    """Is the divergence that of a chain at an input, against an input of the Source or what it makes of it?"""
    chains = ([node.name for node in chain] for chain in _chains(walk, divergence.nodes[0]))
    is_at_input = set(walk.target.dynamic(divergence.nodes[0])) <= set(walk.target.inputs)
    names = [node.name for node in divergence.nodes]
    return is_at_input and divergence.source in _prepared(walk) and names in list(chains)


def _chains(walk: Walk, node: onnx.NodeProto) -> Iterator[list[onnx.NodeProto]]:
    """Yield the preprocessing nodes from this one on: two of them, three, and so on.

    One alone counts only where it has no setting that could be another.
    """
    chain = [node]
    if node.op_type in ("Gather", "GatherND", "Slice"):
        yield list(chain)
    while len(chain) < MAX_NODES:
        readers = walk.target.readers.get(chain[-1].output[0], ())
        following = [reader for reader in readers if reader.op_type in PREPARING | LAYOUT]
        if len(following) != 1 or any(name in walk.target.maker for name in _others(walk, following[0], chain[-1])):
            return
        chain.append(following[0])
        yield list(chain)


def _others(walk: Walk, node: onnx.NodeProto, before: onnx.NodeProto) -> list[str]:
    return [name for name in walk.target.dynamic(node) if name not in before.output]


def _prepared(walk: Walk) -> list[str]:
    """List the Source's inputs and what its own preprocessing makes of them, what its layers read first."""
    tensors = [name for name in walk.source.inputs if name in walk.contents.tensors]
    for name in list(tensors):
        while True:
            readers = walk.source.readers.get(name, ())
            following = [reader for reader in readers if reader.op_type in PREPARING | LAYOUT]
            if len(following) != 1 or len(tensors) > MAX_NODES:
                break
            name = following[0].output[0]
            if name in walk.contents.tensors:
                tensors.append(name)
    return tensors[::-1]


PREPROCESSING = FaultType(FaultCode.PP, localise, propose)
