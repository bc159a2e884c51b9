"""Locate every fault of a Target by walking it on the Source's activations, and hold a repair ready for each.

Worker side: both models are ONNX views. ``locate`` holds the faults and their repairs in a session (``session.py``), by
whose id later calls write a Target with some of them repaired. The parent decides, over all inputs, which are needed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import onnx
from onnx import numpy_helper

from ...runtimes.tensor_layout import TensorLayout
from .. import rewrites
from ..alignment.matching import Contents
from ..alignment.runtime_differences import RuntimeActivations
from ..alignment.walk import Walk
from ..faults import computation_graph, tensor_structure
from ..faults.operators import WEIGHTED
from ..faults.proposal import Array
from ..faults.source_nodes import build
from ..graph.edits import Edit, Rewire
from ..graph.runner import GraphRunner, core
from .explanation import UNRELATED, explain, located_fault
from .finding import LocateResult
from .session import LocalizationSession, LocatedFault, hold, make_room

FAULTS = 400  # at most, in one Target


def locate(
    source: str,
    target: str,
    arrays: Mapping[str, Array],
    given: Mapping[str, Array],
    order: Sequence[str],
    *,
    is_unquantized: bool = True,
    seconds: float = 300.0,
    activations: str | None = None,
) -> LocateResult:
    """Locate the Target's faults on these few inputs, and hold them in a session of this worker.

    ``arrays`` are the Source view's inputs, ``given`` the same content as the Target's view takes it (batch first),
    ``order`` the Source's outputs in the order in which the Target should give them. ``is_unquantized`` is False for
    quantised models. The search ends after ``seconds``. ``activations`` is the file of what another runtime gave for
    the Source (``RuntimeActivations``); without one, onnxruntime runs it.
    """
    make_room()
    deadline = time.monotonic() + seconds
    models = [canonical(path) for path in (source, target)]
    theirs, ours = (GraphRunner(model) for model in models)
    contents: Contents
    if activations is None:
        contents = Contents(theirs.everything(arrays), is_unquantized=is_unquantized)
    else:
        contents = RuntimeActivations(activations, is_unquantized=is_unquantized)
    walk = Walk(ours, theirs, contents, given, order)
    found: list[LocatedFault] = []
    why = ""
    for _ in range(FAULTS):
        frontier = walk.frontier()
        if not frontier or walk.complete():
            break
        if time.monotonic() > deadline:
            why = "the time for repair was over"
            break
        tried = (explain(walk, node, deadline) for node in frontier)
        explained = next((one for one in tried if one is not None), None)
        if explained is None:
            node = frontier[0]
            found.append(_unexplained(walk, node))
            why = f"no repair was found for what {node.op_type} {node.name} gives"
            break
        parting, proposals = explained
        new = [located_fault(walk, parting, one) for one in proposals]
        # Behind content that lay wrong and is right now, a fault is found once more, as it is without the other.
        found = [one for one in found if not any(_again(one, other) for other in new)] + new
        walk.patch(parting, afresh=True)
        if unrelated_weights(ours, found) > UNRELATED and len(found) >= 4:
            why = "most of the weights looked at have nothing to do with the Source's"
            break
    for own, name in zip(ours.outputs, order, strict=False) if not why else ():
        for parting, proposal in islice(tensor_structure.at_output(walk, own, name), 1):
            found.append(located_fault(walk, parting, proposal))
            walk.patch(parting)
    found.sort(key=lambda one: ours.index.get(one.target_node, len(ours.nodes)))
    if not why:
        found += _ends(walk, dict(zip(order, ours.outputs, strict=False)))
    aligned = {name: matches[0] for name, matches in walk.aligned.items()}
    session_id = hold(
        LocalizationSession(models[1], found, given, contents.tensors, aligned, None if activations is None else walk)
    )
    return LocateResult(
        session_id=session_id,
        faults=tuple(fault.summary() for fault in found),
        model_runs=1 + -(-walk.runs // max(1, len(ours.nodes))),
        nodes_run=walk.runs,
        unrelated_weights=unrelated_weights(ours, found),
        stop_reason=why,
        aligned_tensors=len(walk.aligned),
        runtime_differences=(
            contents.exempt_differences(ours, theirs, walk.aligned) if isinstance(contents, RuntimeActivations) else ()
        ),
    )


def canonical(path: str) -> onnx.ModelProto:
    """The model as both sides are compared: opset 13 at least, named nodes, constants as initializers.

    Nothing else is brought into one form: what is written otherwise and computes the same is bound by its content.
    """
    model, _ = rewrites.rewrite(onnx.load(path), names=())
    return in_real_numbers(model)


def in_real_numbers(model: onnx.ModelProto) -> onnx.ModelProto:
    """What is computed from constants alone, as weights held as integers are, becomes the numbers that come of it."""
    steps = GraphRunner(model)
    kept = []
    for node in steps.nodes:
        if steps.dynamic(node) or not node.input:
            kept.append(node)
            continue
        for name, value in zip([n for n in node.output if n], steps.run(node, {}), strict=True):
            steps.constants[name] = value
            model.graph.initializer.append(numpy_helper.from_array(value, name))
    del model.graph.node[:]
    model.graph.node.extend(kept)
    return model


def _again(one: LocatedFault, other: LocatedFault) -> bool:
    """Are these the same fault, found in two places?"""
    alike = one.words == other.words or one.evidence["target_tensor"] == other.evidence["target_tensor"]
    return (one.type, one.target_node) == (other.type, other.target_node) and alike


def _unexplained(walk: Walk, node: onnx.NodeProto) -> LocatedFault:
    evidence: dict[str, Any] = {"operator": node.op_type, "says": walk.failed.get(node.name, "")}
    return LocatedFault("CG", node.name, node.output[0], "", evidence, (), "no repair was found")


def _ends(walk: Walk, names: Mapping[str, str]) -> Iterator[LocatedFault]:
    """What is wrong with the Target's outputs though all behind them is right."""
    held = {match.name for matches in walk.aligned.values() for match in matches}
    for index, name in enumerate(walk.order):
        content = walk.contents.tensors.get(name)
        if name in held or content is None:  # a constant is no tensor that the Source computes
            continue
        nodes = walk.source.between(name, held)
        arrangement = TensorLayout(tuple(range(content.ndim)), tuple(content.shape[1:]))
        built = build(walk, nodes, name, arrangement) if index < len(walk.target.outputs) else None
        kinds = [n.op_type for n in core(nodes)]
        own = walk.target.outputs[min(index, len(walk.target.outputs) - 1)]
        maker = walk.target.maker.get(own)
        edits: tuple[Edit, ...] = ()
        if built is not None:
            added, constants, new = built
            edits = (Rewire(f"the missing {' and '.join(kinds)} put at the end", own, new, None, added, constants),)
        evidence = {"operator": kinds[-1] if kinds else "", "difference": "missing nodes", "missing": kinds}
        last = nodes[-1].name if nodes else name
        words = edits[0].words if edits else "no repair was found"
        yield LocatedFault("CG", maker.name if maker is not None else own, own, last, evidence, edits, words)
    if all(name in held for name in walk.order):
        ends = computation_graph.outputs(walk, names)
        if ends is not None:
            given, evidence, node, extra = ends
            held_by = walk.aligned.get(extra)
            origin = held_by[0].name if held_by else ""
            maker = walk.source.maker.get(origin)
            words, name = given[0].words, "" if maker is None else maker.name
            yield LocatedFault("CG", node, extra, name, evidence, given, words, source_tensor=origin)


def unrelated_weights(steps: GraphRunner, found: Sequence[LocatedFault]) -> float:
    """Share of the weighted nodes looked at so far whose weights have nothing to do with the Source's."""
    strange, last = 0, 0
    for one in found:
        last = max(last, steps.index.get(one.target_node, 0))
        tensors = one.evidence.get("tensors", ())
        heavy = [t for t in tensors if t["role"] == "weights"]
        strange += one.type == "WB" and any(t["correlation"] < UNRELATED for t in heavy)
    weighted = sum(
        1
        for node in steps.nodes[: last + 1]
        if node.op_type in WEIGHTED and any(name in steps.constants for name in node.input)
    )
    return strange / weighted if weighted else 0.0
