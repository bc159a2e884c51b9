"""CG, computation graph: nodes that are missing, too many or others, outputs too many or in another order.

The nodes between agreement and parting are replaced by the Source's nodes for the same tensor, in the Target's layout;
smaller changes are those of ``rebuilding``. Child side.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from ...runtimes.tensor_layout import TensorLayout
from ..alignment.walk import Divergence, Walk
from ..graph.edits import Edit, Give, Rewire
from ..graph.runner import LAYOUT, GraphRunner, core
from . import batchnorm_folding, weights
from .proposal import Array, Proposal, fitted, same
from .proposal import constants as held


def in_place(walk: Walk, parting: Divergence) -> Iterator[Proposal]:
    """The nodes of the parting replaced by the Source's."""
    built = build(walk, parting.origins, parting.source, parting.arrangement)
    if built is None or not parting.nodes or not parting.origins:
        return
    added, constants, new = built
    ours, theirs = [n.op_type for n in core(parting.nodes)], [n.op_type for n in core(parting.origins)]
    edit = Rewire(
        f"{', '.join(ours) or 'nothing'} replaced by the Source's {', '.join(theirs) or 'tensor'}",
        parting.target,
        new,
        readers(walk, parting.target) if walk.target.readers.get(parting.target) else None,
        added,
        constants,
    )
    if parting.target in walk.target.outputs:
        edit = Rewire(edit.words, edit.before, edit.after, None, added, constants)
    node, origin = culprit(parting)
    fault = kind(walk, parting)
    if fault == "TSS" and (moved := moving(parting)):
        node = moved[0]
    evidence: dict[str, Any] = {
        "operator": node.op_type,
        "target_operators": ours,
        "source_operators": theirs,
    }
    if fault == "WB" and (tensors := weights.likeness(walk, node, origin)):
        evidence["tensors"] = tensors
    yield Proposal(fault, node.name, origin.name, (edit,), evidence)


def kind(walk: Walk, parting: Divergence) -> str:
    """The fault type of a whole parting: by what differs once operators that only scale and shift are set aside."""
    sides = (walk.target, parting.nodes), (walk.source, parting.origins)
    ours, theirs = (telling(*side) for side in sides)
    if sorted(ours) != sorted(theirs):
        return "CG"
    if not ours:
        moved = {n.op_type for n in parting.nodes} | {n.op_type for n in parting.origins}
        return "TSS" if moved <= LAYOUT else "WB"
    settings = [_settings(nodes) for nodes in (parting.nodes, parting.origins)]
    if settings[0] != settings[1] or set(ours) == {"Clip"}:
        return "LH"
    have, wanted = (
        [array for n in side[1] for *_, array in held(side[0], n) if array.dtype.kind == "f"] for side in sides
    )
    if not have or not wanted:
        return "TSS" if moving(parting) else "CG"
    alike = all(any(same(one, laid) for other in wanted for laid in fitted(other, one)) for one in have)
    if moving(parting) and (alike or batchnorm_folding.folded_alike(walk, parting)):
        return "TSS"  # the same operators on the same weights: what differs is how the values lie
    return "WB"


def moving(parting: Divergence) -> list[onnx.NodeProto]:
    """The Target's nodes that reshape or turn, those that reshape first; none where the Source has as many."""
    kinds = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose")
    ours, theirs = ([n for n in side if n.op_type in kinds] for side in (parting.nodes, parting.origins))
    return sorted(ours, key=lambda n: kinds.index(n.op_type)) if len(ours) > len(theirs) else []


def culprit(parting: Divergence) -> tuple[onnx.NodeProto, onnx.NodeProto]:
    """The node of each side to name: the first that the other side has no like of, else the weightiest."""
    ours, theirs = core(parting.nodes) or list(parting.nodes), core(parting.origins) or list(parting.origins)
    kinds = [n.op_type for n in theirs]
    odd = [n for n in ours if n.op_type not in kinds]
    others = [n.op_type for n in ours]
    missing = [n for n in theirs if n.op_type not in others]
    weighty = [n for n in ours if n.op_type in weights.WEIGHTED | {"BatchNormalization", "PRelu"}]
    node = (odd or weighty or ours)[0]
    like = [n for n in theirs if n.op_type == node.op_type]
    return node, (like or missing or theirs)[0]


SCALING = frozenset({"BatchNormalization", "Mul", "Add", "Sub", "Div", "Pad"})


ALSO = {"Gemm": "MatMul"}


def telling(steps: GraphRunner, nodes: Sequence[onnx.NodeProto]) -> list[str]:
    """The operators of these nodes, but for those that only scale, shift and pad by constants."""
    chosen = [n for n in core(nodes) if n.op_type not in SCALING or len(steps.dynamic(n)) > 1]
    kinds = [ALSO.get(n.op_type, n.op_type) for n in chosen]
    if "Min" in kinds or "Max" in kinds:  # limits in two steps
        kinds = ["Clip" if kind in ("Min", "Max", "Relu") else kind for kind in kinds]
    return [kind for i, kind in enumerate(kinds) if kind != "Clip" or kinds[i - 1 : i] != ["Clip"]]


def _settings(nodes: Sequence[onnx.NodeProto]) -> list[Any]:
    found: list[Any] = []
    for node in core(nodes):
        if node.op_type in ("Conv", "ConvTranspose", "MaxPool", "AveragePool"):
            found.append(sorted(str(a) for a in node.attribute if a.name not in ("kernel_shape",)))
        elif node.op_type == "Pad":
            found.append("Pad")
    return found


def readers(walk: Walk, tensor: str) -> tuple[str, ...] | None:
    if tensor in walk.target.outputs:
        return None
    return tuple(node.name for node in walk.target.readers.get(tensor, ()))


def build(
    walk: Walk, nodes: Sequence[onnx.NodeProto], tensor: str, arrangement: TensorLayout
) -> tuple[list[onnx.NodeProto], dict[str, Array], str] | None:
    """The Source's nodes as nodes of the Target: they read what is bound to their inputs, each in its own layout.

    Gives the nodes, their constants and the name of the result, laid out by ``arrangement``; None where an input of
    theirs is nowhere in the Target.
    """
    steps, mark = walk.source, f"repair/{len(walk.failed)}.{walk.runs}"
    added: list[onnx.NodeProto] = []
    constants: dict[str, Array] = {}
    names: dict[str, str] = {}
    made = {name for node in nodes for name in node.output}
    for name in dict.fromkeys(n for node in nodes for n in steps.read(node) if n not in made):
        if name in steps.constants:
            names[name] = f"{mark}/{name}"
            constants[names[name]] = steps.constants[name]
            continue
        placed = restored(walk, name, mark, added, constants)
        if placed is None:
            return None
        names[name] = placed
    if tensor not in made:
        placed = names.get(tensor) or restored(walk, tensor, mark, added, constants)
        if placed is None:
            return None
        names[tensor] = placed
    for node in nodes:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        if any(a.type == onnx.AttributeProto.GRAPH for a in node.attribute):
            return None
        copy.name = f"{mark}/{node.name}"
        copy.input[:] = [names[n] if n else "" for n in node.input]
        for name in node.output:
            if name:
                names[name] = f"{mark}/{name}"
        copy.output[:] = [names[n] if n else "" for n in node.output]
        added.append(copy)
    content = walk.contents.tensors[tensor]
    new = laid(names[tensor], content.shape, arrangement, f"{mark}/laid", added, constants)
    return added, constants, new


def restored(walk: Walk, name: str, mark: str, added: list[onnx.NodeProto], constants: dict[str, Array]) -> str | None:
    """A Target's tensor with the content of the Source's ``name``, in the Source's own layout."""
    for tensor, matches in walk.aligned.items():
        match = next((m for m in matches if m.name == name), None)
        if match is None:
            continue
        shape = walk.contents.tensors[name].shape
        arrangement = match.arrangement
        turned = tuple(shape[axis] for axis in arrangement.perm)
        current, base = tensor, f"{mark}/{name}/restored"
        if turned[1:] != arrangement.shape:
            current = _node("Reshape", [current, _ints(constants, f"{base}/sizes", [-1, *turned[1:]])], base, added)
        if not arrangement.plain:
            inverse = [int(i) for i in np.argsort(arrangement.perm)]
            current = _node("Transpose", [current], f"{base}/turned", added, perm=inverse)
        return current
    return None


def laid(
    tensor: str,
    shape: Sequence[int],
    arrangement: TensorLayout,
    base: str,
    added: list[onnx.NodeProto],
    constants: dict[str, Array],
) -> str:
    """Add the nodes that bring a tensor into an arrangement; gives the name of the result."""
    current = tensor
    if not arrangement.plain:
        current = _node("Transpose", [current], f"{base}/turned", added, perm=list(arrangement.perm))
    if tuple(shape[axis] for axis in arrangement.perm)[1:] != arrangement.shape:
        sizes = _ints(constants, f"{base}/sizes", [-1, *arrangement.shape])
        current = _node("Reshape", [current, sizes], f"{base}/shaped", added)
    if current == tensor:
        current = _node("Identity", [current], f"{base}/same", added)
    return current


def _ints(constants: dict[str, Array], name: str, values: Sequence[int]) -> str:
    constants[name] = np.asarray(values, np.int64)
    return name


def _node(kind: str, inputs: Sequence[str], name: str, added: list[onnx.NodeProto], **attributes: Any) -> str:
    added.append(onnx.helper.make_node(kind, list(inputs), [name], name, **attributes))
    return name


def outputs(walk: Walk, names: Mapping[str, str]) -> tuple[tuple[Edit, ...], dict[str, Any], str, str] | None:
    """The edit that makes the Target give what the Source gives, all of it, in its order; None where it does.

    ``names`` are the Source's outputs and what the Target calls them. Gives edits, evidence, the node to name
    and the output that it makes.
    """
    given: list[tuple[str, str]] = []
    for index, name in enumerate(walk.order):
        holding = [t for t, matches in walk.aligned.items() if any(m.name == name for m in matches)]
        own = walk.target.outputs[index] if index < len(walk.target.outputs) else None
        plain = [t for t in holding if _as_given(walk, t, name)]
        if own in plain:
            given.append((str(own), names.get(name, str(own))))
        elif plain:
            # The last tensor that holds it, unless another output of the Target does.
            others = [t for t in plain if t in walk.target.outputs]
            given.append(((others or plain)[-1], names.get(name, own or name)))
        else:
            return None
    have = list(walk.target.outputs)
    if [tensor for tensor, _ in given] == have:
        return None
    kept = [tensor for tensor, _ in given]
    if set(kept) <= set(have) and len(have) > len(kept):
        words = f"{len(have) - len(kept)} outputs too many taken away"
    elif set(kept) == set(have):
        words = "outputs put in the Source's order"
    else:
        words = f"the output is taken from {kept[0]}"
    extra = next((t for t in have if t not in kept), have[0])
    node = walk.target.maker.get(extra)
    evidence = {"operator": node.op_type if node is not None else "", "difference": words, "outputs": have}
    return (Give(words, tuple(given)),), evidence, node.name if node is not None else extra, extra


def _as_given(walk: Walk, tensor: str, name: str) -> bool:
    """Does the Target's tensor hold the Source's output as it is, or in another layout of the same sizes?"""
    match = next(m for m in walk.aligned[tensor] if m.name == name)
    return match.arrangement.plain or walk.contents.tensors[name].ndim > 2
