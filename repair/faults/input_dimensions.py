"""ID, input dimensions: a Target that was made for another size of image than it is run on.

Its declared sizes tell: constants that follow from them, such as the window of a global pooling or the sizes of a
Reshape, hold what fits the declared image. Inputs that do not take the Source's arrays at all are declared anew before
there is anything to walk on (``strategies/input_shapes``, by ``graph/input_shapes``). Worker side.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import onnx

from ..alignment.tensor_pairs import candidate_layouts, paired_tensors
from ..alignment.walk import Divergence, Walk
from ..graph.edits import DeclareInput, SetAttributes, SetConstant
from ..graph.input_shapes import declared_sizes, following_edits, shapes_as_declared
from .codes import FaultCode
from .fault_type import FaultType
from .proposal import Proposal


def localise(walk: Walk, node: onnx.NodeProto) -> Iterator[Divergence]:
    """Find what the node should compute, if its constants follow from sizes that an input declares and has not."""
    if not _size_edits(walk, (node,)):
        return
    for tensor, source in paired_tensors(walk, node):
        for layout in candidate_layouts(walk, tensor, source, node) if tensor in node.output else ():
            yield walk.diverging(tensor, source, layout)


def propose(walk: Walk, divergence: Divergence) -> Iterator[Proposal]:
    """Let the constants follow from the sizes that the inputs have, and declare these."""
    edits = _size_edits(walk, divergence.nodes)
    if not edits or not divergence.origins:
        return
    node = next(node for node in divergence.nodes if node.name == edits[0].node)
    inputs = _misdeclared(walk)
    declared = [DeclareInput(f"{sizes} declared for {name}", name, sizes) for name, (_, sizes) in inputs.items()]
    evidence: dict[str, Any] = {
        "operator": node.op_type,
        "target_shape": next(iter(inputs.values()))[0],
        "source_shape": next(iter(inputs.values()))[1],
        "inputs": list(inputs),
    }
    yield Proposal("ID", node.name, divergence.origins[-1].name, (*edits, *declared), evidence)


def _misdeclared(walk: Walk) -> Mapping[str, tuple[list[int], list[int]]]:
    """The inputs that declare other sizes behind the batch than they have: declared and actual sizes by name."""
    misdeclared = {}
    for value in walk.target.model.graph.input:
        array = walk.values.get(value.name)
        sizes = declared_sizes(value)
        fixed = [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
        if array is None or value.name in walk.target.constants or len(sizes) != array.ndim:
            continue
        if any(size and size != actual for size, actual in zip(fixed[1:], array.shape[1:], strict=True)):
            misdeclared[value.name] = (sizes, [fixed[0], *array.shape[1:]])
    return misdeclared


def _size_edits(walk: Walk, nodes: Sequence[onnx.NodeProto]) -> list[SetConstant | SetAttributes]:
    """Change the constants of these nodes that hold sizes for the declared input."""
    if not _misdeclared(walk):
        return []
    try:
        before = shapes_as_declared(walk.target)
    except Exception:  # noqa: BLE001 - a model that does not run on what it declares tells nothing
        return []
    now = {name: array.shape for name, array in walk.values.items()}
    return [edit for node in nodes for edit in following_edits(node, walk.target.constants, before, now)]


INPUT_DIMENSIONS = FaultType(FaultCode.ID, localise, propose)
